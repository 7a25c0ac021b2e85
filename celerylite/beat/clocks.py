"""Beat's clock: the time on which all beats agree, and whether it goes as it should. Tests hand in one of their own."""

from __future__ import annotations

import time
from collections.abc import Callable

from celerylite.utils.log import get_logger
from celerylite.utils.time import humanize_seconds

logger = get_logger("celery.beat")

#: A machine whose clock differs by more seconds from the broker's goes by the broker's.
SKEW = 1.0

#: Seconds by which the clock must be off what has passed to be called a jump.
JUMP = 2.0

#: Seconds between two comparisons with the broker's clock.
COMPARE = 60.0


class Clock:
    """The time of day, by this machine or by the broker."""

    def __init__(self) -> None:
        self._skew = 0.0
        self._shared: Callable[[], float] | None = None
        self._compared = 0.0
        self._before: tuple[float, float] | None = None

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._skew

    def monotonic(self) -> float:
        """Seconds that have passed, for spans."""
        return time.monotonic()

    def follow(self, shared: Callable[[], float]) -> None:
        """Keep to the clock of the broker where the two differ."""
        self._shared = shared
        self._compare()

    def jumped(self) -> float:
        """By how many seconds the clock has jumped since the last call; 0 if it has not."""
        if self._shared is not None and self.monotonic() - self._compared > COMPARE:
            self._compare()
        jump = self._jump()
        if jump and self._shared is not None:
            # Perhaps only ours has jumped.
            before, self._skew = self._skew, 0.0
            self._compare()
            if abs(jump + self._skew - before) < JUMP:
                jump = 0.0
        self._before = (self.time(), self.monotonic())
        return jump

    def _jump(self) -> float:
        if self._before is None:
            return 0.0
        wall, passed = self._before
        jump = (self.time() - wall) - (self.monotonic() - passed)
        return jump if abs(jump) > JUMP else 0.0

    def _compare(self) -> None:
        assert self._shared is not None
        skew = self._shared() - time.time()
        self._compared = self.monotonic()
        known, self._skew = self._skew, skew if abs(skew) > SKEW else 0.0
        if self._skew and not known:
            logger.warning(
                "beat: This machine's clock differs from the broker's by %s; going by the broker's",
                humanize_seconds(abs(skew)), extra={"action": "clock_skew", "seconds": skew},
            )  # fmt: skip
