"""The schedules that settings and packages name: `crontab(minute=0)`, `schedule(30.0)`.

Values only, so that a worker can import the beat settings of a project. Whether one is due is a
question for beat, which celerylite does not have yet: run Celery's beat beside its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from celerylite.utils.time import humanize_seconds

__all__ = ("BaseSchedule", "crontab", "schedstate", "schedule")

Cronspec = int | str | Iterable[int]


class schedstate(NamedTuple):
    """Whether a schedule is due, and in how many seconds to ask again."""

    is_due: bool
    next: float


class BaseSchedule:
    """What all schedules have in common."""

    def __init__(self, nowfun: Callable[[], datetime] | None = None, app: Any = None) -> None:
        self.nowfun = nowfun
        self.app = app

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether it is time, for a schedule that ran last at `last_run_at`."""
        raise NotImplementedError("celerylite has no beat yet; run Celery's beat beside its workers")

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long it is until the next time."""
        raise NotImplementedError("celerylite has no beat yet; run Celery's beat beside its workers")

    def _key(self) -> tuple[Any, ...]:
        return ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))


class schedule(BaseSchedule):
    """Every so many seconds, or every `timedelta`."""

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        super().__init__(nowfun, app)
        self.run_every = run_every if isinstance(run_every, timedelta) else timedelta(seconds=run_every or 0)
        self.relative = relative

    @property
    def seconds(self) -> float:
        """The interval in seconds, never negative."""
        return max(self.run_every.total_seconds(), 0)

    @property
    def human_seconds(self) -> str:
        """The interval in words."""
        return humanize_seconds(self.seconds)

    def _key(self) -> tuple[Any, ...]:
        return (self.run_every,)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_every, self.relative, self.nowfun)

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"


class crontab(BaseSchedule):
    """At the minutes, hours and days that the five fields of a crontab line name."""

    def __init__(
        self,
        minute: Cronspec = "*",
        hour: Cronspec = "*",
        day_of_week: Cronspec = "*",
        day_of_month: Cronspec = "*",
        month_of_year: Cronspec = "*",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._orig_minute = minute
        self._orig_hour = hour
        self._orig_day_of_week = day_of_week
        self._orig_day_of_month = day_of_month
        self._orig_month_of_year = month_of_year

    @classmethod
    def from_string(cls, crontab: str) -> crontab:
        """A schedule from a line such as "0 12 * * mon-fri"."""
        minute, hour, day_of_month, month_of_year, day_of_week = crontab.split()
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def _key(self) -> tuple[Any, ...]:
        return tuple(_spec(field) for field in self._fields())

    def _fields(self) -> tuple[Cronspec, ...]:
        return (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._fields()

    def __repr__(self) -> str:
        minute, hour, day_of_week, day_of_month, month_of_year = self._key()
        return f"<crontab: {minute} {hour} {day_of_month} {month_of_year} {day_of_week} (m/h/dM/MY/d)>"


def _spec(value: Cronspec) -> str:
    """A field as its text, so that 5, "5" and [5] are the same schedule."""
    return str(value) if isinstance(value, int | str) else ",".join(str(part) for part in value)
