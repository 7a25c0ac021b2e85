"""Where revoked tasks are remembered on a server, so that a revoke outlives the workers that heard of it.

A book keeps strings, each with the time at which it was written, the newest `most` of them for `expires` seconds. What
they mean is the worker's business (`worker/revoked.py`).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable


class RevokedBook(ABC):
    """See the module. Raises the connection errors of its owner."""

    @abstractmethod
    def add(self, entries: Iterable[str], *, expires: float, most: int) -> None:
        """Write these down; on return that is as safe as a message that was sent. May be repeated."""

    @abstractmethod
    def read(self, expires: float) -> dict[str, float]:
        """What was written in the last `expires` seconds, and when (seconds since the epoch), the oldest first."""


class MemoryBook(RevokedBook):
    """For the broker within one process."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}

    def add(self, entries: Iterable[str], *, expires: float, most: int) -> None:
        """Write down."""
        now = time.time()
        for entry in entries:
            self._times.pop(entry, None)
            self._times[entry] = now
        for entry in list(self._times)[: max(0, len(self._times) - most)]:
            del self._times[entry]

    def read(self, expires: float) -> dict[str, float]:
        """Everything younger than `expires`."""
        limit = time.time() - expires
        return {entry: when for entry, when in self._times.items() if when > limit}
