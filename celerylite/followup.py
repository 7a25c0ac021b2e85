"""What follows a finished task: callbacks, errbacks, the next step of a chain, its share in a chord, the chord's end.

Follow-ups are values (`Following`), settled together with the result and the acknowledgement by whoever settles the
task.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celerylite import states
from celerylite.backends.chords import Part
from celerylite.canvas.errbacks import called_in_place
from celerylite.context import Context
from celerylite.exceptions import ChordError
from celerylite.message import Message
from celerylite.utils.einfo import ExceptionInfo

if TYPE_CHECKING:
    from celerylite.backends.chords import Ended
    from celerylite.execution import Execution

logger = logging.getLogger("celery.app.trace")


@dataclass(slots=True)
class Following:
    """All that a task's outcome, or the end of a chord, sets off."""

    messages: list[Message] = field(default_factory=list)
    #: Chords among them: how many parts they have must be known before the first part runs.
    chords: list[Any] = field(default_factory=list)
    #: (task id, record) of later steps that will never run.
    records: list[tuple[str, Any]] = field(default_factory=list)
    #: Parts of chords that have ended herewith.
    parts: list[Part] = field(default_factory=list)

    def add(self, dispatch: Any) -> None:
        """What a signature says that sending it would send."""
        self.messages += dispatch.messages
        self.chords += dispatch.chords

    def take(self, item: Any) -> None:
        """What a task wants sent when it ends: a message, a chord to start, or all that something else sets off."""
        if isinstance(item, Message):
            self.messages.append(item)
        elif isinstance(item, Following):
            self.add(item)
            self.records += item.records
            self.parts += item.parts
        else:
            self.chords.append(item)


# -- a task has ended


def follow(execution: Execution) -> Following:
    """What a task's outcome sets off. Raises what keeps a callback from being sent."""
    context, outcome = execution.context, execution.outcome
    found = Following()
    for item in context._outbox or ():
        found.take(item)
    if outcome.state == states.SUCCESS:
        for callback in context.callbacks or ():
            _call(found, execution, callback)
        step, later = _next_step(context)
        if step:
            _call(found, execution, step, chain=later)
        _count(found, execution, states.SUCCESS)
    elif outcome.state == states.FAILURE or (outcome.state == states.REJECTED and not outcome.value.requeue):
        _fail(found, execution)
    return found


def _next_step(context: Context) -> tuple[Any, Any]:
    """The next step of the chain, and those behind it."""
    if context._steps is not None:
        step, later = context._steps.cut()
        if later is None or not step.get("subtask_type"):
            return step, later
        return step, later.read()  # what is made of several tasks has its own ways with them
    chain = context.chain
    return (chain[-1], chain[:-1]) if chain else (None, None)


def fails(execution: Execution) -> Following:
    """What a failure sets off, without anything that could raise again."""
    found = Following()
    try:
        _fail(found, execution)
    except Exception as exc:  # a border: errbacks and bodies are what the user made of them
        logger.exception("Following up the failure of task %s failed: %r", execution.context.id, exc)
    return found


def _call(found: Following, execution: Execution, signature: Any, **options: Any) -> None:
    context, app = execution.context, execution.plan.task.app
    priority = (context.delivery_info or {}).get("priority") if app.conf.task_inherit_parent_priority else None
    if priority is not None:
        options.setdefault("priority", priority)
    options.update(parent_id=context.id, root_id=context.root_id or context.id)
    found.add(app.signature(signature).collect((execution.outcome.value,), **options))


def _count(found: Following, execution: Execution, state: str) -> None:
    context = execution.context
    if context.chord and context.group:
        found.parts.append(execution.plan.task.backend.part_of(context, state, execution.outcome.value))


def _fail(found: Following, execution: Execution) -> None:
    """A task has failed: its old-style errbacks, the later steps of its chain, its part."""
    context, app, outcome = execution.context, execution.plan.task.app, execution.outcome
    if outcome.state == states.FAILURE:
        _send_errbacks(found, app, context)
    _count(found, execution, states.FAILURE)
    failure = _Failure(found, app, outcome.value, outcome.traceback, context.root_id or context.id)
    for step in context.chain or ():
        failure.step(app.signature(step))


def part_refused(backend: Any, context: Context, state: str, exc: BaseException) -> Following:
    """What it means for others that a task was refused (expired, unknown) before it could run."""
    found = Following()
    app = backend.app
    if context.chord and context.group:
        found.parts.append(backend.part_of(context, state, exc))
    failure = _Failure(found, app, exc, None, context.root_id or context.id)
    for step in context.chain or ():
        failure.step(app.signature(step))
    return found


@dataclass(slots=True)
class _Failure:
    """Steps that will never run, because something before them has failed: they fail with the same exception."""

    found: Following
    app: Any
    exc: BaseException
    traceback: str | None
    root_id: str | None

    def step(self, signature: Any, chord: Any = None) -> None:
        """Record a step, and whatever it consists of, as failed, and count it where it is part of a chord."""
        kind, options = signature.get("subtask_type"), signature["options"]
        chord = options.get("chord") or chord  # a group says it once for all its members
        if kind in ("chain", "group"):
            for task in signature["kwargs"].get("tasks") or ():
                self.step(self.app.signature(task), chord)
        elif kind == "chord":
            if signature["kwargs"].get("body"):
                self.step(self.app.signature(signature["kwargs"]["body"]), chord)
        else:
            self._one(signature, chord)
        for later in options.get("chain") or ():
            self.step(self.app.signature(later))

    def _one(self, signature: Any, chord: Any) -> None:
        context = context_of(signature, self.root_id)
        context.chord = chord
        if context.id is None:
            return
        backend = self.app.backend
        record = backend.record(context.id, states.FAILURE, self.exc, self.traceback, request=context)
        self.found.records.append((context.id, record))
        if chord and context.group:
            self.found.parts.append(backend.part_of(context, states.FAILURE, self.exc))


def context_of(signature: Any, root_id: str | None = None) -> Context:
    """What a task would see of itself if the signature were called."""
    options = signature["options"]
    return Context(
        id=options.get("task_id"), task=signature["task"], args=signature["args"], kwargs=signature["kwargs"],
        group=options.get("group_id"), group_index=options.get("group_index"), chord=options.get("chord"),
        errbacks=_listed(options.get("link_error")), root_id=options.get("root_id") or root_id,
        delivery_info={"priority": options.get("priority")}, _children=[],
    )  # fmt: skip


def _listed(value: Any) -> list[Any]:
    if not value:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


# -- errbacks


def _send_errbacks(found: Following, app: Any, context: Context) -> None:
    """Old-style errbacks get the id of the task that has failed, and are called as tasks."""
    for errback in context.errbacks or ():
        errback = app.signature(errback)
        if not called_in_place(errback):
            root_id = context.root_id or context.id
            found.add(errback.collect((context.id,), parent_id=context.id, root_id=root_id))


def call_errbacks(execution: Execution) -> None:
    """Call new-style errbacks with (request, exception, traceback), here in the worker."""
    outcome = execution.outcome
    if outcome.state == states.FAILURE:
        _call_errbacks(execution.plan.task.app, execution.context, outcome.value, outcome.traceback)


def _call_errbacks(app: Any, context: Context, exc: BaseException, traceback: str | None) -> None:
    for errback in context.errbacks or ():
        try:
            signature = app.signature(errback)
            if called_in_place(signature):
                signature(context, exc, traceback)
        except Exception:  # user code
            logger.exception("Errback %r of task %s failed", errback, context.id, extra={"action": "errback"})


# -- a chord has ended


def finish_chord(app: Any, ended: Ended) -> Following:
    """What the end of a chord's header sets off: its body, or where a part has failed what that means for the body."""
    found = Following()
    body = app.signature(ended.body)
    try:
        results = ended.results()
    except ChordError as exc:
        return _fail_chord(app, ended, body, exc)
    options = {} if ended.priority is None else {"priority": ended.priority}
    try:
        found.add(body.collect((results,), parent_id=ended.task_id, root_id=ended.root_id or ended.task_id, **options))
    except Exception as exc:  # a border: bodies that cannot be sent are the user's
        error = ChordError(f"Callback error: {exc!r}")
        error.__cause__ = exc
        return _fail_chord(app, ended, body, error)
    return found


def _fail_chord(app: Any, ended: Ended, body: Any, exc: ChordError) -> Following:
    found = Following()
    exc.__traceback__ = None  # what led here are our own functions; the cause says what happened
    info = (type(exc), exc, None)
    logger.error("Chord %r raised: %r", ended.group_id, exc, exc_info=info, extra={"action": "chord_failed"})
    try:
        _fail_body(found, app, body, exc, ExceptionInfo(info).traceback, ended)
    except Exception as error:  # a border: errbacks and bodies are what the user made of them
        logger.exception("Failing the body of chord %r failed: %r", ended.group_id, error)
    return found


def _fail_body(found: Following, app: Any, body: Any, exc: BaseException, traceback: str | None, ended: Ended) -> None:
    """Call the errbacks of a body that will never run, and record it, and the steps behind it, as failed."""
    for signature, error in _called_first(app, body, exc):
        context = context_of(signature, signature["options"].get("task_id"))
        if context.errbacks:
            _call_errbacks(app, context, error, traceback)
            _send_errbacks(found, app, context)
    root_id = ended.root_id or ended.task_id
    for signature, error in _members(app, body, exc):
        _Failure(found, app, error, traceback, root_id).step(signature, body["options"].get("chord"))


def _members(app: Any, body: Any, exc: BaseException) -> Iterator[tuple[Any, BaseException]]:
    """The signatures of which a body consists, and what each of them is told; members of a group hear of the part's own
    error, as in Celery.
    """
    if body.get("subtask_type") != "group":
        yield body, exc
        return
    for task in body["kwargs"].get("tasks") or ():
        yield app.signature(task), exc.__cause__ or exc


def _called_first(app: Any, body: Any, exc: BaseException) -> Iterator[tuple[Any, BaseException]]:
    """The tasks that a body would have begun with, or for a chord its own body: their errbacks are called."""
    for signature, error in _members(app, body, exc):
        kind, outer = signature.get("subtask_type"), _listed(signature["options"].get("link_error"))
        if kind == "chain" and signature["kwargs"].get("tasks"):
            inner = signature["kwargs"]["tasks"][0]
        elif kind == "chord":
            inner = signature["kwargs"]["body"]
        elif kind == "group":
            yield from _called_first(app, signature, error)
            continue
        else:
            yield signature, error
            continue
        inner = app.signature(inner)
        for errback in outer:
            inner.link_error(errback)
        yield from _called_first(app, inner, error)


# -- eager calls, and what STARTED says


def apply_eagerly(execution: Execution) -> None:
    """Run the follow-ups of an eager call here and now."""
    context, outcome, app = execution.context, execution.outcome, execution.plan.task.app
    if outcome.state == states.SUCCESS:
        for callback in context.callbacks or ():
            app.signature(callback).apply((outcome.value,))
    elif outcome.state == states.FAILURE:
        for errback in context.errbacks or ():
            signature = app.signature(errback)
            if not called_in_place(signature):
                signature.apply((context.id,))


def started_meta(context: Context) -> dict[str, Any]:
    """What the STARTED state records."""
    return {"pid": os.getpid(), "hostname": context.hostname}
