"""Reading ahead: who asks for one result after the other, in the order of the calls, gets the next ones along.

Results know the call that came next (`AsyncResult._next`), as long as somebody keeps that one's result. Only successes
are kept, which do not change any more.
"""

from __future__ import annotations

from typing import Any

#: Most results to read in one trip.
MOST = 32
#: Mean size in bytes above which one result at a time is read: nobody has asked for the others yet.
BIG = 16_384


class ReadAhead:
    """How far to read, as a file system decides it: nothing at first, then twice as much at every step in order."""

    def __init__(self) -> None:
        self._window = 1
        #: The ids that continue the order: those read last, and the one behind.
        self._near: set[str] = set()

    def others(self, result: Any) -> list[Any]:
        """The results to read along with this one, the next calls in order."""
        self._window = min(MOST, self._window * 2) if result.id in self._near else 1
        found: list[Any] = []
        following = _next(result)
        while following is not None and len(found) < self._window - 1:
            if following._cache is None:
                found.append(following)
            following = _next(following)
        self._near = {other.id for other in found}
        if following is not None:
            self._near.add(following.id)
        return found

    def weigh(self, records: list[bytes | None]) -> None:
        """Learn from what was read: stop where the records are big."""
        sizes = [len(record) for record in records if record is not None]
        if sizes and sum(sizes) > BIG * len(sizes):
            self._near = set()


def _next(result: Any) -> Any:
    reference = result._next
    return reference() if reference is not None else None
