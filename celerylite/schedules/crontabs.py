"""Celery's crontab: the minutes, hours and days at which a task is due, in the app's time zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

from celerylite.utils.time import ffwd as FastForward
from celerylite.utils.time import timezone as zones

from .base import UTC, BaseSchedule, schedstate
from .calendars import Calendar, calendar
from .fields import Cronspec, check_dates, numbers_of
from .zones import next_moment

#: The fields in the order of a cron line: name, how many values it has, the first of them.
FIELDS = (
    ("minute", 60, 0),
    ("hour", 24, 0),
    ("day_of_month", 31, 1),
    ("month_of_year", 12, 1),
    ("day_of_week", 7, 0),
)


class CalendarSchedule(BaseSchedule):
    """A schedule whose times a `Calendar` knows."""

    _times: Calendar | None = None

    def _calendar(self) -> Calendar:
        raise NotImplementedError

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time strictly after `moment`, in UTC; None if there is none within 50 years.

        A time that the clocks jump over is due as much later as they jumped, one that they strike twice the first
        time, unless the rule is for every hour: that one goes by the time that passes.
        """
        return self._remember_next(moment, lambda moment: self._next_in(moment, self.tz))

    def _next_in(self, moment: datetime, zone: tzinfo) -> datetime | None:
        times = self._times
        if times is None:
            self._times = times = self._calendar()
        return next_moment(times.next_time, moment, zone, times.every_hour)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta | None:
        """How long it is until the first time after `last_run_at`; negative if that has passed, None if never."""
        return self._until(self.next_after(last_run_at))

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether it is time for something that ran last at `last_run_at`, and in how many seconds to ask again.

        A time that was missed by more than `beat_cron_starting_deadline` seconds is let go.
        """
        state = super().is_due(last_run_at)
        deadline = self.app.conf.beat_cron_starting_deadline
        if not state.is_due or deadline is None:
            return state
        now = self.maybe_make_aware(self.now()).astimezone(UTC)
        latest = self._next_in(now - timedelta(seconds=deadline, microseconds=1), self.tz)
        return state._replace(is_due=latest is not None and latest <= now)


class crontab(CalendarSchedule):  # the lower-case name is Celery's
    """Due at the minutes, hours and days that its fields name, all of them together.

    A field is a number, a string as in cron ("*/15", "mon-fri", "1,15", "jan-mar") or an iterable of numbers; "*" is
    every. Sunday is 0. Unlike in cron, both the day of the month and the weekday must be right where both are named.
    ValueError for a field that cannot be read and for dates that there are not, such as the 30th of February.
    """

    def __init__(
        self,
        minute: Cronspec = "*",
        hour: Cronspec = "*",
        day_of_week: Cronspec = "*",
        day_of_month: Cronspec = "*",
        month_of_year: Cronspec = "*",
        **kwargs: Any,
    ) -> None:
        self._orig_minute = minute
        self._orig_hour = hour
        self._orig_day_of_week = day_of_week
        self._orig_day_of_month = day_of_month
        self._orig_month_of_year = month_of_year
        self._orig_kwargs = kwargs
        self.minute = numbers_of("minute", minute, 60, 0)
        self.hour = numbers_of("hour", hour, 24, 0)
        self.day_of_week = numbers_of("day_of_week", day_of_week, 7, 0)
        self.day_of_month = numbers_of("day_of_month", day_of_month, 31, 1)
        self.month_of_year = numbers_of("month_of_year", month_of_year, 12, 1)
        super().__init__(**kwargs)
        check_dates(self.day_of_month, self.month_of_year, repr(self))

    @classmethod
    def from_string(cls, crontab: str) -> crontab:
        """A schedule from the five fields of a cron line, such as "0 12 * * mon-fri"."""
        fields = crontab.split()
        if len(fields) != 5:
            raise ValueError(f"{crontab!r} has {len(fields)} fields; a crontab has 5: minute hour day month weekday")
        minute, hour, day_of_month, month_of_year, day_of_week = fields
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def _calendar(self) -> Calendar:
        return calendar(self.expression, both_days=True)

    @property
    def expression(self) -> str:
        """The five fields of a cron line, in numbers."""
        return " ".join(
            "*" if len(numbers) == size else ",".join(map(str, sorted(map(int, numbers))))
            for (_, size, _), numbers in zip(FIELDS, self._numbers(), strict=True)
        )

    def _numbers(self) -> tuple[frozenset[int], ...]:
        return self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week

    def remaining_delta(
        self, last_run_at: datetime, tz: str | tzinfo | None = None, ffwd: type = FastForward
    ) -> tuple[datetime, Any, datetime]:
        """`last_run_at`, the step from it to the next time, and the present, all on the clock of `tz`."""
        zone = zones.get_timezone(tz) if tz else self.tz
        last = self.maybe_make_aware(last_run_at).astimezone(zone)
        due = self._next_in(last, zone)
        assert due is not None, "a crontab is due again within 50 years"
        local = due.astimezone(zone)
        step = ffwd(
            local.year, local.month, day=local.day, hour=local.hour, minute=local.minute, second=0, microsecond=0
        )
        return last, step, self.maybe_make_aware(self.now()).astimezone(zone)

    def _key(self) -> tuple[Any, ...]:
        return self._numbers()

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, crontab) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        )
        return type(self), fields, self._orig_kwargs

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # The arguments that are no fields: `nowfun`. Nothing else of a schedule is kept.
        self._orig_kwargs = dict(state)
        super().__init__(**state)

    def __repr__(self) -> str:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_month,
            self._orig_month_of_year,
            self._orig_day_of_week,
        )
        return f"<crontab: {' '.join(map(str, fields))} (m/h/dM/MY/d)>"
