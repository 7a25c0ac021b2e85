"""What all schedules have in common: whose clock they read, in which time zone they live, and when they are due.

A subclass says when it is next (`next_after`), or, as in Celery, how long it is until then (`remaining_estimate`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple

from celerylite._state import get_current_app
from celerylite.utils.objects import cached_property
from celerylite.utils.time import maybe_make_aware
from celerylite.utils.time import timezone as zones

UTC = timezone.utc

#: A schedule that tells the time that remains has read the clock a moment before us; this much is forgiven.
CLOCK_SLACK = 0.01


class schedstate(NamedTuple):
    """Whether a schedule is due, and in how many seconds to ask again (None: there is nothing more to come)."""

    is_due: bool
    next: float | None


class BaseSchedule:
    """A rule that says at which moments something is due.

    `nowfun` is a clock to be read in place of the app's, and `app` the app whose settings count (the current one).
    """

    def __init__(self, nowfun: Callable[[], datetime] | None = None, app: Any = None) -> None:
        self.nowfun = nowfun
        self._app = app
        # The last two questions (moment, next moment), when it was due last and now: beat asks them again and again.
        self._known: tuple[tuple[datetime, datetime | None], ...] = ()

    # -- for beat

    def next_after(self, moment: datetime) -> datetime | None:
        """The first moment that is due strictly after `moment`, in UTC; None if there is none any more.

        Here it is worked out of `remaining_estimate`, on the whole second where it is next to one. The schedules of
        this package compute it, so that any number of beats come to the same answer.
        """
        remaining = self.remaining_estimate(moment)
        if remaining is None:
            return None
        due = self.maybe_make_aware(self.now()).astimezone(UTC) + remaining
        rounded = (due + timedelta(seconds=0.5)).replace(microsecond=0)
        return rounded if abs((due - rounded).total_seconds()) <= CLOCK_SLACK else due

    def remaining_estimate(self, last_run_at: datetime) -> timedelta | None:
        """How long it is until the first time after `last_run_at`; negative if that has passed, None if never."""
        raise NotImplementedError(
            f"{type(self).__name__} must define remaining_estimate(last_run_at) or next_after(moment)"
        )

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether it is time for something that ran last at `last_run_at`, and in how many seconds to ask again."""
        remaining = _seconds(self.remaining_estimate(last_run_at))
        if remaining is None or remaining > 0:
            return schedstate(False, remaining)
        return schedstate(True, self._next_from_now())

    def _next_from_now(self) -> float | None:
        return _seconds(self.remaining_estimate(self.now()))

    def _remember_next(self, moment: datetime, compute: Callable[[datetime], datetime | None]) -> datetime | None:
        # Local times that look equal may be an hour apart: compared in UTC.
        moment = self.maybe_make_aware(moment).astimezone(UTC)
        for known, due in self._known:
            if known == moment:
                return due
        due = compute(moment)
        self._known = (*self._known[-1:], (moment, due))
        return due

    def _until(self, due: datetime | None) -> timedelta | None:
        return None if due is None else due - self.maybe_make_aware(self.now()).astimezone(UTC)

    # -- the clock and the time zone

    def now(self) -> datetime:
        """The present by the schedule's clock."""
        return (self.nowfun or self.app.now)()

    def maybe_make_aware(self, dt: datetime, naive_as_utc: bool = True) -> datetime:
        """The moment in the schedule's zone if it names none; it is then read as UTC (or as a local time)."""
        return maybe_make_aware(dt, self.tz, naive_as_utc=naive_as_utc)

    def to_local(self, dt: datetime) -> datetime:
        """The moment on this machine's clock where `enable_utc` is off; else as it is."""
        return dt if self.utc_enabled else zones.to_local_fallback(dt)

    @property
    def app(self) -> Any:
        """The app whose clock and settings count."""
        return self._app if self._app is not None else get_current_app()

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @cached_property
    def tz(self) -> tzinfo:
        """The time zone in which the schedule is meant: the app's."""
        return self.app.timezone

    @cached_property
    def utc_enabled(self) -> bool:
        """Whether the app keeps its times in UTC."""
        return self.app.conf.enable_utc

    # -- values

    def _key(self) -> tuple[Any, ...]:
        """What makes two schedules of one class equal."""
        return (id(self),)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseSchedule):
            return NotImplemented
        return self is other or self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def _seconds(remaining: timedelta | None) -> float | None:
    return None if remaining is None else max(remaining.total_seconds(), 0.0)
