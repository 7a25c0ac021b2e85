"""Cron arithmetic on a wall clock that knows no zones: croniter's work, kept behind one small class.

croniter is imported when the first rule is asked for its next time, which only beat does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

EPOCH = datetime(1970, 1, 1)

#: Minute, hour, day of month, month, weekday: the values that each field has.
SIZES = (60, 24, 31, 12, 7)


class Calendar:
    """The times on the wall clock that one cron expression names.

    Seconds are a sixth field, years a seventh. With `both_days`, day of month and weekday must both be right, as in
    Celery's crontab; without, either is enough where both are named, as in cron.
    """

    def __init__(self, expression: str, both_days: bool) -> None:
        from croniter import croniter  # lazy: 30 ms, and only beat needs it

        self._cron: Any = croniter(expression, 0, day_or=not both_days)
        #: Whether no hour is left out.
        self.every_hour = self.numbers(1) is None
        # croniter keeps the time it was asked for in itself.
        self._lock = Lock()

    def next_time(self, after: datetime) -> datetime | None:
        """The first of them later than `after`; None if there is none within 50 years."""
        from croniter import CroniterBadDateError

        seconds = (after - EPOCH) // timedelta(seconds=1)
        with self._lock:
            try:
                due = self._cron.get_next(float, start_time=seconds)
            except CroniterBadDateError:
                return None
        return EPOCH + timedelta(seconds=due)

    def numbers(self, field: int) -> Sequence[Any] | None:
        """What a field names; None for all there is."""
        named = self._cron.expanded[field]
        return None if "*" in named or len(named) == (*SIZES, 60)[field] else named


#: Those in use, by expression and kind: 10,000 entries have far fewer rules, and croniter takes 0.1 ms to read one.
_known: WeakValueDictionary[tuple[str, bool], Calendar] = WeakValueDictionary()


def calendar(expression: str, both_days: bool = False) -> Calendar:
    """The calendar of an expression; schedules that are alike share it. ValueError if croniter cannot read it."""
    found = _known.get((expression, both_days))
    if found is None:
        found = _known[expression, both_days] = Calendar(expression, both_days)
    return found
