"""What all results share: the guard against waiting inside a task, and callbacks for when a result is there.

The results themselves are in `result`; nothing here knows where they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        """Have `callback(result)` called when it is ready, at once if it is so already; `on_error(exc)` if that raises."""
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
