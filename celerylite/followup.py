"""What follows a finished task: callbacks, errbacks, the next step of a chain.

Follow-ups are messages, sent together with the result and the acknowledgement by whoever settles the task.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from celerylite import states
from celerylite.utils.functional import arity_greater

if TYPE_CHECKING:
    from celerylite.context import Context
    from celerylite.execution import Execution
    from celerylite.message import Message

logger = logging.getLogger("celery.app.trace")


def messages(execution: Execution) -> list[Message]:
    """The messages that a task's outcome sets off."""
    found = list(execution.context._outbox or ())
    state = execution.outcome.state
    if execution.context.chord:
        logger.error(
            "Task %s[%s] is part of a chord, which this release cannot count: its body will not be called. "
            "Let Celery's workers run chords.",
            execution.plan.name,
            execution.context.id,
            extra={"action": "chord_not_counted"},
        )
    if state == states.SUCCESS:
        found += _after_success(execution)
    elif state == states.FAILURE:
        found += [_message(execution, errback, (execution.context.id,)) for errback in _old_style(execution)]
    return found


def _after_success(execution: Execution) -> list[Message]:
    context = execution.context
    if not context.callbacks and not context.chain:
        return []
    found: list[Message] = []
    for callback in context.callbacks or ():
        found.append(_message(execution, callback, (execution.outcome.value,)))
    if context.chain:
        following = _signature(execution, context.chain[-1])
        found.append(_message(execution, following, (execution.outcome.value,), chain=context.chain[:-1]))
    return found


def _message(execution: Execution, signature: Any, args: tuple[Any, ...], **options: Any) -> Message:
    context = execution.context
    signature = _signature(execution, signature)
    priority = (context.delivery_info or {}).get("priority") if _inherits_priority(execution) else None
    if priority is not None:
        options.setdefault("priority", priority)
    return signature.as_message(args, parent_id=context.id, root_id=context.root_id or context.id, **options)


def _inherits_priority(execution: Execution) -> bool:
    return bool(execution.plan.task.app.conf.task_inherit_parent_priority)


def _signature(execution: Execution, signature: Any) -> Any:
    return execution.plan.task.app.signature(signature)


def _old_style(execution: Execution) -> list[Any]:
    return [errback for errback in execution.context.errbacks or () if not _is_new_style(execution, errback)]


def _is_new_style(execution: Execution, errback: Any) -> bool:
    """New-style errbacks take (request, exc, traceback) and are called in the worker; old ones get the task's id."""
    errback = _signature(execution, errback)
    task = execution.plan.task.app.tasks.get(errback.task)
    return task is not None and arity_greater(task.__header__ or task.run, 1)


def call_errbacks(execution: Execution) -> None:
    """Call new-style errbacks with (request, exception, traceback), here in the worker."""
    if execution.outcome.state != states.FAILURE:
        return
    for errback in execution.context.errbacks or ():
        try:
            if _is_new_style(execution, errback):
                outcome = execution.outcome
                _signature(execution, errback)(execution.context, outcome.value, outcome.traceback)
        except Exception:  # user code
            logger.exception("Errback %r of task %s failed", errback, execution.context.id, extra={"action": "errback"})


def apply_eagerly(execution: Execution) -> None:
    """Run the follow-ups of an eager call here and now."""
    context, outcome, app = execution.context, execution.outcome, execution.plan.task.app
    if outcome.state == states.SUCCESS:
        for callback in context.callbacks or ():
            app.signature(callback).apply((outcome.value,))
    elif outcome.state == states.FAILURE:
        for errback in _old_style(execution):
            app.signature(errback).apply((context.id,))


def started_meta(context: Context) -> dict[str, Any]:
    """What the STARTED state records."""
    return {"pid": os.getpid(), "hostname": context.hostname}
