"""Tasks that can be asked to stop, and that look for themselves whether they were.

`revoke(terminate=True)` kills; this one asks: the caller sets the state `ABORTED` in the result store, the task calls
`self.is_aborted()` now and then and ends as it sees fit.
"""

from __future__ import annotations

from typing import Any, Generic, ParamSpec, TypeVar

from celerylite.app.task import Task
from celerylite.result import AsyncResult

__all__ = ("ABORTED", "AbortableAsyncResult", "AbortableTask")

P = ParamSpec("P")
R = TypeVar("R")

#: The state of a task that was asked to stop and has not ended yet.
ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult[R], Generic[R]):
    """The result of an abortable task; see `celerylite.result.AsyncResult`."""

    def is_aborted(self) -> bool:
        """Whether the task was asked to stop and has not ended since."""
        return self.state == ABORTED

    def abort(self) -> Any:
        """Ask the task to stop. It must be the kind that looks; one that has ended keeps its result."""
        return self.backend.store_result(self.id, result=None, state=ABORTED, traceback=None)


class AbortableTask(Task[P, R], Generic[P, R]):
    """A base for tasks (`@app.task(bind=True, base=AbortableTask)`) that may be asked to stop."""

    abstract = True

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult[R]:  # noqa: N802 (Celery's name)
        """The result of one call."""
        return AbortableAsyncResult(task_id, backend=self.backend, app=self.app, **kwargs)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Whether this run was asked to stop (`task_id` asks for another one); costs a trip to the result store."""
        task_id = kwargs.get("task_id", self.request.id)
        if task_id is None:
            return False  # called as a function
        result = self.AsyncResult(task_id)
        if not isinstance(result, AbortableAsyncResult):
            raise ValueError(f"{self.name} is not abortable: its results are {type(result).__name__}")
        return result.is_aborted()
