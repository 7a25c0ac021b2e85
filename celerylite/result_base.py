"""What all results share: the guard against waiting inside a task, and callbacks for when a result is there.

The results themselves are in `result`; nothing here knows where they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from celerylite import _state

E_WOULDBLOCK = """\
Never call result.get() within a task!
See https://docs.celeryq.dev/en/latest/userguide/tasks.html#avoid-launching-synchronous-subtasks
"""


def assert_will_not_block() -> None:
    """Raise where waiting for a result would hold up the task that runs here."""
    if _state.task_join_will_block():
        raise RuntimeError(E_WOULDBLOCK)


@contextmanager
def _join_blocks(blocks: bool) -> Iterator[None]:
    before = _state.task_join_will_block()
    _state._set_task_join_will_block(blocks)
    try:
        yield
    finally:
        _state._set_task_join_will_block(before)


def allow_join_result() -> Any:
    """A context in which a task may wait for results (`with allow_join_result(): …`)."""
    return _join_blocks(False)


def denied_join_result() -> Any:
    """A context in which waiting for a result raises."""
    return _join_blocks(True)


class ResultBase:
    """The base of all results."""

    #: The result of the task that called this one, or that came before it in a chain.
    parent: Any = None


class OnReady:
    """Callbacks for a result that becomes ready in this process: when it is waited for, or its state is read.

    Has what users reach for in vine's promise: `then`, `ready`, `value`, and being called fulfils it.
    """

    __slots__ = ("_callbacks", "ready", "value", "__weakref__")

    def __init__(self) -> None:
        self.ready = False
        #: `((result,), {})` once it is ready, as vine keeps it.
        self.value: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._callbacks: list[Callable[..., Any]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        if self.ready:
            return
        self.ready, self.value = True, (args, kwargs)
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(*args, **kwargs)

    def then(self, callback: Callable[..., Any], on_error: Callable[..., Any] | None = None) -> Any:
        """Have `callback(result)` called when it is ready, or at once; `on_error(exc)` if that raises."""
        call = callback if on_error is None else _guarded(callback, on_error)
        if self.ready and self.value is not None:
            call(*self.value[0], **self.value[1])
        else:
            self._callbacks.append(call)
        return callback

    def cancel(self) -> None:
        """Forget the callbacks."""
        self._callbacks.clear()


def _guarded(callback: Callable[..., Any], on_error: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            callback(*args, **kwargs)
        except Exception as exc:  # a border: callbacks are the user's code, and so is on_error
            on_error(exc)

    return call


class RecordFields:
    """The fields of a task's record, read from the store until the task is ready, and then remembered."""

    def _get_task_meta(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def result(self) -> Any:
        """What the task returned, or the exception; before that, whatever its state carries."""
        return self._get_task_meta()["result"]

    @property
    def info(self) -> Any:
        """The same as `result`."""
        return self._get_task_meta()["result"]

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED, or a name of the task's own."""
        return self._get_task_meta()["status"]

    @property
    def status(self) -> str:
        """The same as `state`."""
        return self._get_task_meta()["status"]

    @property
    def traceback(self) -> str | None:
        """The traceback of a task that failed."""
        return self._get_task_meta().get("traceback")

    @property
    def children(self) -> list[Any] | None:
        """Results of the tasks that this one called."""
        return self._get_task_meta().get("children")

    @property
    def date_done(self) -> datetime | None:
        """When it ended."""
        value = self._get_task_meta().get("date_done")
        return _read_date(value) if isinstance(value, str) else value

    # What follows is stored with `result_extended` only.

    @property
    def name(self) -> str | None:
        """The name of the task."""
        return self._get_task_meta().get("name")

    @property
    def args(self) -> Any:
        """Its arguments."""
        return self._get_task_meta().get("args")

    @property
    def kwargs(self) -> Any:
        """Its keyword arguments."""
        return self._get_task_meta().get("kwargs")

    @property
    def worker(self) -> str | None:
        """The node name of the worker that ran it."""
        return self._get_task_meta().get("worker")

    @property
    def retries(self) -> int | None:
        """How often it was retried."""
        return self._get_task_meta().get("retries")

    @property
    def queue(self) -> str | None:
        """The queue it came from."""
        return self._get_task_meta().get("queue")


def _read_date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # before Python 3.11 it does not know "Z" and short fractions
        from celerylite.utils.iso8601 import parse_iso8601

        return parse_iso8601(text)
