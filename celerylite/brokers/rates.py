"""The arithmetic of rate limits: who may start now, and until when the others wait.

One `Line` a task. It gives a start every `period` seconds. Who comes too early gets a place of its own in the line, so
that a thousand of them are fetched a few times each, not again and again. Places are times: who comes back at its time
takes a start before those who have only just come. Who comes back and finds the start taken (by another worker's
message, or because the line was held up) is put a quarter of a period behind the last such one: tight enough that no
start is lost, wide enough that they do not come all at once.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds that a start which was not used in time may be made up for, so that lateness does not lower the rate; and
#: never more than one start for each process.
MAKE_UP = 0.05
#: Parts of a period between those that wait for a second time.
AGAIN = 0.25
#: When starts have not been used for this long (seconds, and periods), nobody is coming: newcomers need not queue.
IDLE, IDLE_PERIODS = 1.0, 3.0


@dataclass(slots=True)
class Line:
    """What is known of one task's starts; all are moments of one clock."""

    #: When the next one may start.
    next: float = 0.0
    #: The first free place for newcomers.
    free: float = 0.0
    #: The first free place for those that come back in vain.
    again: float = 0.0

    def wait(self, now: float, period: float, *, processes: int = 1, back: bool = False) -> float:
        """Take a start and return 0, or take a place and return the seconds until its time; `back` for who had one."""
        make_up = min(MAKE_UP, processes * period)
        if now >= self.next and (back or now >= self.free or self.idle(now, period)):
            self.next = max(self.next, now - make_up) + period
            if not back:
                self.free = max(self.free, now + period)
            return 0.0
        earliest = self.next + make_up / 2
        if back:
            place = max(self.again, earliest)
            self.again = place + AGAIN * period
        else:
            place = max(self.free, earliest, now)
            self.free = place + period
        return max(place - now, 0.001)

    def idle(self, now: float, period: float) -> bool:
        """Whether starts are not used though somebody may wait in the line."""
        return now - self.next > max(IDLE, IDLE_PERIODS * period)
