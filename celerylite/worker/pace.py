"""How many messages a task process takes at once: one while tasks are long or unknown, a batch while they are short."""

from __future__ import annotations

#: Seconds of work that one batch should hold.
BATCH_SECONDS = 0.02
#: Weight of the newest run in the running mean.
WEIGHT = 0.1


class Pace:
    """A running mean of run times; one long run is felt at once, short ones count little by little."""

    def __init__(self, most: int) -> None:
        self.most = max(1, most)
        self._mean = 0.0
        self._size = 1

    def bound(self, most: int) -> None:
        """Take so many at most from now on."""
        self.most = max(1, most)

    def ran(self, seconds: float) -> None:
        """A task took this long, from its start to its settlement."""
        self._mean += (seconds - self._mean) * (1.0 if seconds > BATCH_SECONDS else WEIGHT)

    @property
    def mean(self) -> float:
        """The running mean, in seconds."""
        return self._mean

    def batch(self) -> int:
        """How many to take now; it at most doubles from one time to the next."""
        fits = int(BATCH_SECONDS / self._mean) if self._mean > 0 else 1
        self._size = max(1, min(fits, self._size * 2, self.most))
        return self._size
