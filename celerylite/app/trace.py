"""Celery's module for running tasks, kept for the packages that patch `build_tracer`; the work is done in `execution`.

A package that monitors tasks puts a `build_tracer` of its own in the place of the one here. It is called once a task
in each task process, as `build_tracer(name, task, loader, hostname, app=app)`, and what it returns is called as
`(uuid, args, kwargs, request)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from celerylite import execution as _execution
from celerylite import states
from celerylite.app.task import Context, Task
from celerylite.execution import IGNORE_STATES, logger
from celerylite.utils.einfo import ExceptionInfo
from celerylite.utils.objects import mro_lookup

if TYPE_CHECKING:
    from celerylite.execution import Outcome

__all__ = (
    "IGNORE_STATES", "Context", "ExceptionInfo", "Task", "TraceInfo", "build_tracer", "logger", "task_has_custom",
    "trace_ok_t", "trace_task",
)  # fmt: skip


class trace_ok_t(NamedTuple):  # noqa: N801 (Celery's name)
    """What a tracer returns."""

    retval: Any
    info: TraceInfo | None
    runtime: float
    retstr: str


class TraceInfo:
    """How a task ended that did not succeed."""

    __slots__ = ("retval", "state")

    def __init__(self, state: str, retval: Any = None) -> None:
        self.state = state
        self.retval = retval


def task_has_custom(task: Task[Any, Any], attr: str) -> Any:
    """The class of a task that overrides `attr` of the base class, if one does."""
    return mro_lookup(type(task), attr, stop={Task, object}, monkey_patched=["celerylite.app.task", "celery.app.task"])


def build_tracer(
    name: str, task: Task[Any, Any], loader: Any = None, hostname: str | None = None, **options: Any
) -> Callable[..., trace_ok_t]:
    """A function that runs the task: `tracer(uuid, args, kwargs, request=None)`."""

    def trace_task(uuid: str, args: Any, kwargs: Any, request: Any = None) -> trace_ok_t:
        execution = _execution.wrapped_execution(uuid)
        if execution is None:
            outcome = _execution.apply_eager(
                task, task_id=uuid, args=args, kwargs=kwargs, request=dict(request or {}), throw=False
            )
        else:
            execution.args, execution.kwargs = args, kwargs
            outcome = _execution.run(execution)
        return _answer(outcome)

    return trace_task


def trace_task(
    task: Task[Any, Any], uuid: str, args: Any, kwargs: Any, request: Any = None, **options: Any
) -> trace_ok_t:
    """Run a task once."""
    return build_tracer(task.name, task, **options)(uuid, args, kwargs, request)


def _answer(outcome: Outcome) -> trace_ok_t:
    info = None if outcome.state == states.SUCCESS else TraceInfo(outcome.state, outcome.value)
    value = outcome.einfo if outcome.state == states.FAILURE else outcome.value
    return trace_ok_t(value, info, outcome.runtime, _execution.safe_repr(outcome.value))
