"""Run one task: call it, sort how it ended, settle (store, follow up, acknowledge), run the hooks.

The steps work on one `Execution`; only `_call` runs the user's function, and it only turns what came back into an
`Outcome`. Where the result goes is the caller's business: it hands in `settle`. Nothing here knows of brokers or
workers.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from celerylite import context as _context
from celerylite import followup, signals, states
from celerylite.context import Context
from celerylite.exceptions import Ignore, Reject, Retry, WorkerTerminate
from celerylite.utils.einfo import ExceptionInfo

if TYPE_CHECKING:
    from celerylite.app.task import Task
    from celerylite.followup import Following

# Celery's names, because people configure and filter by them.
logger = logging.getLogger("celery.app.trace")

LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s"
LOG_FAILURE = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
LOG_IGNORED = "Task %(name)s[%(id)s] %(description)s"
LOG_REJECTED = "Task %(name)s[%(id)s] %(exc)s"
LOG_RETRY = "Task %(name)s[%(id)s] retry: %(exc)s"

IGNORE_STATES = frozenset((states.IGNORED, states.REJECTED))


@dataclass(slots=True)
class Outcome:
    """How an execution ended."""

    #: SUCCESS, FAILURE, RETRY, IGNORED or REJECTED.
    state: str
    #: What the function returned, or the exception that ended it.
    value: Any
    einfo: ExceptionInfo | None = None
    #: Seconds spent in the function.
    runtime: float = 0.0

    @property
    def traceback(self) -> str | None:
        """The traceback as text, where there is one."""
        return self.einfo.traceback if self.einfo is not None else None


@dataclass(slots=True)
class Plan:
    """What is known of a task before it runs, worked out once a process, so that unused features cost nothing."""

    task: Task[Any, Any]
    name: str
    run: Callable[..., Any]
    ignore_result: bool
    store_errors: bool
    track_started: bool
    #: Whether the message is acknowledged before the task starts.
    early: bool
    #: Hard and soft limit in seconds.
    limits: tuple[float | None, float | None]
    before_start: Callable[..., Any] | None
    on_success: Callable[..., Any] | None
    on_failure: Callable[..., Any] | None
    on_retry: Callable[..., Any] | None
    after_return: Callable[..., Any] | None
    #: Whether the task has no hooks that run after its outcome was settled.
    quiet: bool = True
    #: A tracer that a monitoring package put in the place of ours (`app.trace.build_tracer`).
    tracer: Callable[..., Any] | None = None


#: Receives the outcome: (execution, record for the result store or None, what follows if anything does).
Settle = Callable[["Execution", "bytes | None", "Following | None"], None]


@dataclass(slots=True)
class Execution:
    """One run of one task."""

    plan: Plan
    context: Context
    args: Any
    kwargs: dict[str, Any]
    settle: Settle
    #: Called when the task is about to run and its STARTED state is wanted.
    on_start: Callable[[bytes], None] | None = None
    #: Runs the function where a time limit may interrupt it, and nothing else.
    guard: Callable[..., Any] | None = None
    #: Known once it has ended.
    outcome: Outcome = field(init=False)

    @property
    def ignore_result(self) -> bool:
        """The call's own wish goes before the task's; some stores need the results of a chord's parts."""
        wish = self.context.ignore_result
        ignored = self.plan.ignore_result if wish is None else bool(wish)
        return ignored and not (self.context.chord and self.plan.task.backend.reads_parts)


def plan_for(task: Task[Any, Any]) -> Plan:
    """Work out what is known of a task before it runs."""
    tracer = _foreign_tracer(task)  # first, for it may put its own `run` or `__call__` in the place of the task's
    base = _base_task(task)

    def own(hook: str) -> Callable[..., Any] | None:
        method = getattr(task, hook)
        return None if getattr(method, "__func__", method) is getattr(base, hook) else method

    custom_call = _has_custom(task, "__call__", base)
    plan = Plan(
        task=task,
        name=task.name,
        run=task.__call__ if custom_call else task.run,
        ignore_result=bool(task.ignore_result),
        store_errors=bool(not task.ignore_result or task.store_errors_even_if_ignored),
        track_started=bool(task.track_started and not task.ignore_result),
        early=not task.acks_late,
        limits=(task.time_limit, task.soft_time_limit),
        before_start=own("before_start"),
        on_success=own("on_success"),
        on_failure=own("on_failure"),
        on_retry=own("on_retry"),
        after_return=own("after_return"),
        tracer=tracer,
    )
    plan.quiet = not (plan.on_success or plan.on_failure or plan.on_retry or plan.after_return or tracer)
    return plan


def _base_task(task: Any) -> Any:
    from celerylite.app.task import Task  # up one floor, once a plan: the base class decides what is custom

    return Task


def _has_custom(task: Any, attribute: str, base: type) -> bool:
    for cls in type(task).__mro__:
        if attribute in vars(cls):
            return cls is not base and cls.__module__ != base.__module__
    return False


def _foreign_tracer(task: Any) -> Callable[..., Any] | None:
    trace = sys.modules.get("celerylite.app.trace")
    build = getattr(trace, "build_tracer", None)
    if build is None or getattr(build, "__module__", "") == "celerylite.app.trace":
        return None
    return build(task.name, task, task.app.loader, None, app=task.app)


# -- the road


def execute(execution: Execution) -> Outcome:
    """Run the task from its first signal to its last; never raises what the task raises."""
    tracer = execution.plan.tracer
    if tracer is None:
        return run(execution)
    with _wrapped(execution):
        execution.context.read_chain()
        tracer(execution.context.id, execution.args, execution.kwargs, execution.context.__dict__)
    return execution.outcome


def run(execution: Execution) -> Outcome:
    """The steps of one execution."""
    plan, context = execution.plan, execution.context
    token = _context.push(plan.task, context)
    try:
        execution.outcome = _call(execution)
        finish(execution)
        return execution.outcome
    finally:
        _post(execution)
        _context.pop(token)


def _call(execution: Execution) -> Outcome:
    """Call the user's function; what comes back is an outcome, whatever it is."""
    plan = execution.plan
    started = monotonic()
    try:
        _before(execution)
        started = monotonic()
        if execution.guard is None:
            value = plan.run(*execution.args, **execution.kwargs)
        else:
            value = execution.guard(plan.run, execution.args, execution.kwargs)
        return Outcome(states.SUCCESS, value, None, monotonic() - started)
    except Reject as exc:
        return Outcome(states.REJECTED, exc, _einfo(), monotonic() - started)
    except Ignore as exc:
        return Outcome(states.IGNORED, exc, _einfo(), monotonic() - started)
    except Retry as exc:
        return Outcome(states.RETRY, exc, _einfo(), monotonic() - started)
    except WorkerTerminate:
        raise  # a cold shutdown of a worker in this very thread
    except BaseException as exc:  # a task that exits or interrupts itself has failed; its process goes on
        return Outcome(states.FAILURE, exc, _einfo(), monotonic() - started)


def _einfo() -> ExceptionInfo:
    kind, value, trace = sys.exc_info()
    # The first frames are ours; the user's traceback starts behind them.
    while trace is not None and trace.tb_next is not None and _is_ours(trace.tb_frame.f_globals.get("__name__", "")):
        trace = trace.tb_next
    return ExceptionInfo((kind, value, trace))


def _is_ours(module: str) -> bool:
    return module == __name__ or module.startswith(("celerylite.worker.", "celerylite.concurrency."))


def _before(execution: Execution) -> None:
    plan, context = execution.plan, execution.context
    if signals.task_prerun.receivers:
        signals.task_prerun.send(
            sender=plan.task, task_id=context.id, task=plan.task, args=execution.args, kwargs=execution.kwargs
        )
    if plan.track_started and execution.on_start is not None and not execution.ignore_result:
        execution.on_start(_record(execution, states.STARTED, followup.started_meta(context), None))
    if plan.before_start is not None:
        plan.before_start(context.id, execution.args, execution.kwargs)


def finish(execution: Execution) -> None:
    """Store, follow up, acknowledge, then hooks and signals; a result that cannot be written makes the task a
    failure.
    """
    context = execution.context
    follows = context._steps or context.chain  # in this order: nobody has to read long chains
    quiet = not (follows or context.callbacks or context.errbacks or context.chord or context._outbox)
    if quiet or context.is_eager:
        record, following = _record_of(execution), None
    else:
        record, following = _followed(execution)
    execution.settle(execution, record, following)
    if not quiet:
        followup.call_errbacks(execution)
    _after(execution)


def _followed(execution: Execution) -> tuple[bytes | None, Following]:
    """The record and what follows; the latter first, because its tasks are children in the record."""
    children = execution.context.children
    called = len(children)
    try:
        following = followup.follow(execution)
        return _result(execution), following
    except Exception as exc:  # user code: as below, and callbacks that cannot be sent
        _turn_into_failure(execution, exc)
        del children[called:]
        following = followup.fails(execution)
        return _result(execution), following


def _record_of(execution: Execution) -> bytes | None:
    try:
        return _result(execution)
    except Exception as exc:  # user code: results that no serializer can write
        _turn_into_failure(execution, exc)
        return _result(execution)


def _turn_into_failure(execution: Execution, exc: Exception) -> None:
    execution.outcome = Outcome(states.FAILURE, exc, ExceptionInfo(), execution.outcome.runtime)


def _result(execution: Execution) -> bytes | None:
    outcome, plan = execution.outcome, execution.plan
    state = outcome.state
    if state == states.SUCCESS:
        if execution.ignore_result:
            return None
        return _record(execution, state, outcome.value, None)
    if state == states.IGNORED or (state == states.REJECTED and getattr(outcome.value, "requeue", False)):
        return None
    if execution.ignore_result and not plan.task.store_errors_even_if_ignored:
        return None
    if state == states.RETRY:
        return _record(execution, state, outcome.value.exc, outcome.traceback)
    return _record(execution, states.FAILURE, outcome.value, outcome.traceback)


def _record(execution: Execution, state: str, value: Any, traceback: str | None) -> bytes:
    return execution.plan.task.backend.record(execution.context.id, state, value, traceback, request=execution.context)


# -- after the outcome is safe


def _after(execution: Execution) -> None:
    """Hooks, signals and the log line of the outcome; what they raise is logged."""
    outcome = execution.outcome
    try:
        if outcome.state == states.SUCCESS or outcome.state in IGNORE_STATES:
            _hooks(execution, outcome)
            return
        exc = outcome.value.exc if outcome.state == states.RETRY else outcome.value
        if isinstance(exc, BaseException):
            _while_handling(exc, lambda: _hooks(execution, outcome))
        else:
            _hooks(execution, outcome)
    except Exception:  # user code
        _log(
            logging.ERROR, LOG_FAILURE, execution, exc_info=True, description="hook failed", exc=repr(sys.exc_info()[1])
        )


def _hooks(execution: Execution, outcome: Outcome) -> None:
    _AFTER[outcome.state](execution, outcome)
    if execution.plan.after_return is not None and outcome.state in (states.SUCCESS, states.FAILURE):
        execution.plan.after_return(
            outcome.state, outcome.value, execution.context.id, execution.args, execution.kwargs, outcome.einfo
        )


def _while_handling(exc: BaseException, run: Callable[[], None]) -> None:
    """Hooks ask `sys.exc_info()` for the exception that ended the task (monitoring packages above all)."""
    traceback = exc.__traceback__
    try:
        raise exc
    except BaseException:
        exc.__traceback__ = traceback  # without the frame of this function
        run()


def _after_success(execution: Execution, outcome: Outcome) -> None:
    plan, context = execution.plan, execution.context
    if plan.on_success is not None:
        plan.on_success(outcome.value, context.id, execution.args, execution.kwargs)
    if signals.task_success.receivers:
        signals.task_success.send(sender=plan.task, result=outcome.value)
    if logger.isEnabledFor(logging.INFO):
        text = safe_repr(outcome.value, plan.task.resultrepr_maxsize)
        _log(logging.INFO, LOG_SUCCESS, execution, runtime=outcome.runtime, return_value=text)


def _after_failure(execution: Execution, outcome: Outcome) -> None:
    plan, context, exc = execution.plan, execution.context, outcome.value
    args, kwargs, einfo = execution.args, execution.kwargs, outcome.einfo
    if plan.on_failure is not None:
        plan.on_failure(exc, context.id, args, kwargs, einfo)
    if signals.task_failure.receivers:
        signals.task_failure.send(
            sender=plan.task, task_id=context.id, exception=exc, args=args, kwargs=kwargs,
            traceback=einfo.tb if einfo is not None else None, einfo=einfo,
        )  # fmt: skip
    expected = isinstance(exc, plan.task.throws or ())
    level, description = (logging.INFO, "raised expected") if expected else (logging.ERROR, "raised unexpected")
    info = None if expected or einfo is None else (type(exc), exc, einfo.tb)
    _log(level, LOG_FAILURE, execution, exc_info=info, description=description, exc=safe_repr(exc))


def _after_retry(execution: Execution, outcome: Outcome) -> None:
    plan, context, retry = execution.plan, execution.context, outcome.value
    if plan.on_retry is not None:
        plan.on_retry(retry.exc, context.id, execution.args, execution.kwargs, outcome.einfo)
    if signals.task_retry.receivers:
        signals.task_retry.send(sender=plan.task, request=context, reason=retry, einfo=outcome.einfo)
    _log(logging.INFO, LOG_RETRY, execution, exc=str(retry))


def _after_reject(execution: Execution, outcome: Outcome) -> None:
    reject = outcome.value
    text = f"reject requeue={reject.requeue}: {reject.reason}"
    _log(logging.WARNING, LOG_REJECTED, execution, exc=text, exc_info=(type(reject), reject, None))


def _after_ignore(execution: Execution, outcome: Outcome) -> None:
    _log(logging.INFO, LOG_IGNORED, execution, description="ignored")


_AFTER: dict[str, Callable[[Execution, Outcome], None]] = {
    states.SUCCESS: _after_success,
    states.FAILURE: _after_failure,
    states.RETRY: _after_retry,
    states.REJECTED: _after_reject,
    states.IGNORED: _after_ignore,
}


def _post(execution: Execution) -> None:
    if signals.task_postrun.receivers:
        outcome = execution.outcome
        signals.task_postrun.send(
            sender=execution.plan.task, task_id=execution.context.id, task=execution.plan.task,
            args=execution.args, kwargs=execution.kwargs, retval=outcome.value, state=outcome.state,
        )  # fmt: skip


def safe_repr(value: Any, maxsize: int = 1024) -> str:
    """A short text for a value, also where its own `__repr__` raises."""
    try:
        text = repr(value)
    except Exception as exc:  # user code
        return f"<unrepresentable {type(value)!r}: {type(exc).__name__}>"
    return text if len(text) <= maxsize else text[: maxsize - 3] + "..."


def _log(level: int, sentence: str, execution: Execution, exc_info: Any = None, **fields: Any) -> None:
    if not logger.isEnabledFor(level):
        return
    fields["id"] = execution.context.id
    fields["name"] = execution.context.shadow or execution.plan.name
    logger.log(
        level, sentence, fields, exc_info=exc_info, extra={"data": fields, "action": execution.outcome.state.lower()}
    )


# -- tracers of monitoring packages, eager calls


class _wrapped:
    """While a foreign tracer runs, our own innermost one (`app.trace`) finds the execution here."""

    current: list[Execution] = []

    def __init__(self, execution: Execution) -> None:
        self.execution = execution

    def __enter__(self) -> None:
        _wrapped.current.append(self.execution)

    def __exit__(self, *exc: object) -> None:
        _wrapped.current.remove(self.execution)


def wrapped_execution(task_id: str) -> Execution | None:
    """The execution with this id that a foreign tracer is running."""
    return next((execution for execution in _wrapped.current if execution.context.id == task_id), None)


def apply_eager(
    task: Task[Any, Any],
    *,
    task_id: str,
    args: Any,
    kwargs: dict[str, Any],
    request: dict[str, Any],
    throw: bool,
    store: Callable[[bytes], None] | None = None,
) -> Outcome:
    """Run a task here and now (`Task.apply`); with `throw` its exception is raised. `store` receives the record."""
    context = Context(request, id=task_id, args=args, kwargs=kwargs, is_eager=True, called_directly=False)

    def settle(execution: Execution, record: bytes | None, following: Following | None) -> None:
        if store is not None and record is not None:
            store(record)
        followup.apply_eagerly(execution)

    execution = Execution(plan_for(task), context, args, kwargs, settle)
    outcome = execute(execution)
    if throw and outcome.state == states.FAILURE:
        raise outcome.value
    return outcome
