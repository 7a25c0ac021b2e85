"""Every so often: a task is due again a fixed time after it ran, or by the clock (`relative`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from celerylite.utils.time import humanize_seconds

from .base import UTC, BaseSchedule
from .zones import moment_of

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class schedule(BaseSchedule):  # the lower-case name is Celery's
    """Due every `run_every`: a number of seconds, or a timedelta.

    With `relative` it goes by the clock: the next time is rounded down to the whole day, hour, minute or second, the
    largest of them that `run_every` reaches. Whole days are days of the calendar, even those of 23 and 25 hours.
    """

    relative: bool = False

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        # None is for subclasses that have rules of their own.
        self.run_every: Any = timedelta(seconds=run_every) if isinstance(run_every, int | float) else run_every
        self.relative = relative
        super().__init__(nowfun=nowfun, app=app)

    def next_after(self, moment: datetime) -> datetime | None:
        """The moment that lies the interval after `moment`, in UTC."""
        moment = self.maybe_make_aware(moment).astimezone(UTC)
        every = max(self.run_every, timedelta())
        return self._by_the_clock(moment, every) if self.relative else moment + every

    def _by_the_clock(self, moment: datetime, every: timedelta) -> datetime:
        due = self._days_later(moment, every) if every >= DAY else self._rounded(moment + every, every)
        # Half a second, rounded to whole ones, would be due at once and for ever.
        return due if due > moment else moment + every

    def _days_later(self, moment: datetime, every: timedelta) -> datetime:
        """The midnight so many days later; where it is missing or doubled, `moment_of` says which."""
        wall = moment.astimezone(self.tz).replace(tzinfo=None, fold=0) + every
        return moment_of(wall.replace(hour=0, minute=0, second=0, microsecond=0), self.tz)

    def _rounded(self, moment: datetime, every: timedelta) -> datetime:
        local = moment.astimezone(self.tz)
        past = timedelta(microseconds=local.microsecond)
        if every >= MINUTE:
            past += timedelta(seconds=local.second)
        if every >= HOUR:
            past += timedelta(minutes=local.minute)
        return moment - past if every >= SECOND else moment

    def remaining_estimate(self, last_run_at: datetime) -> timedelta | None:
        """How long it is until the time after `last_run_at`; negative if that has passed."""
        return self._until(self.next_after(last_run_at))

    def _next_from_now(self) -> float | None:
        return super()._next_from_now() if self.relative else self.seconds

    @property
    def seconds(self) -> float:
        """The interval in seconds, never negative."""
        return max(self.run_every.total_seconds(), 0)

    @property
    def human_seconds(self) -> str:
        """The interval in words."""
        return humanize_seconds(self.seconds)

    def _key(self) -> tuple[Any, ...]:
        return (self.run_every, self.relative)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, schedule):
            return self._key() == other._key()
        return self.run_every == other

    def __hash__(self) -> int:
        return hash(self.run_every)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_every, self.relative, self.nowfun)

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"
