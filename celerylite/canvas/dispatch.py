"""What sending a signature would send: its messages, and the chords that must be known before them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerylite.canvas.signatures import Signature
    from celerylite.message import Message
    from celerylite.result_set import GroupResult

__all__ = ("ChordStart", "Dispatch", "collecting", "current")


class ChordStart:
    """A chord whose parts are about to be sent: the result store must know it before the first part ends."""

    __slots__ = ("body", "group_id", "options", "results", "size")

    def __init__(
        self, group_id: str, size: int, results: GroupResult, body: Signature, options: dict[str, Any]
    ) -> None:
        #: The `group` header of its parts.
        self.group_id = group_id
        #: How many parts are counted before the body is sent.
        self.size = size
        #: The results of the header's members.
        self.results = results
        #: Frozen, with everything in its options that it needs to be sent.
        self.body = body
        #: Options of the call, as far as the body has not got them.
        self.options = options


class Dispatch:
    """Messages in the order in which they are to be sent, with the result that the caller gets."""

    __slots__ = ("calls", "chords", "messages", "policy", "result", "retry")

    def __init__(self) -> None:
        self.result: Any = None
        self.messages: list[Message] = []
        self.chords: list[ChordStart] = []
        #: The calls behind the messages; kept only where somebody is told of them (`after_task_publish`, `task-sent`).
        self.calls: list[Any] = []
        #: Whether and how sending is tried again, as the first call wants it.
        self.retry: bool = True
        self.policy: dict[str, Any] | None = None


#: Where calls go that are made while a signature is collected.
current: ContextVar[Dispatch | None] = ContextVar("celerylite_dispatch", default=None)


@contextmanager
def collecting(dispatch: Dispatch) -> Iterator[Dispatch]:
    """Calls that are made inside are added to `dispatch` instead of being sent."""
    token = current.set(dispatch)
    try:
        yield dispatch
    finally:
        current.reset(token)
