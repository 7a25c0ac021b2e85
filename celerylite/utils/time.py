"""Dates, time zones, spans of time, rates, and how they are written for people."""

from __future__ import annotations

import os
import random
import sys
import time as _time
from calendar import monthrange
from collections.abc import Callable
from datetime import date, datetime, timedelta, tzinfo
from datetime import timezone as datetime_timezone
from types import ModuleType
from typing import Any

from .iso8601 import parse_iso8601
from .objects import cached_property
from .text import pluralize

__all__ = (
    "LocalTimezone",
    "timezone",
    "maybe_timedelta",
    "delta_resolution",
    "remaining",
    "rate",
    "weekday",
    "humanize_seconds",
    "maybe_iso8601",
    "is_naive",
    "add_seconds_to_datetime",
    "subtract_datetimes",
    "make_aware",
    "localize",
    "to_utc",
    "maybe_make_aware",
    "ffwd",
    "utcoffset",
    "adjust_timestamp",
    "get_exponential_backoff_interval",
)

DAYNAMES = "sun", "mon", "tue", "wed", "thu", "fri", "sat"
WEEKDAYS = dict(zip(DAYNAMES, range(7), strict=True))
MONTHNAMES = "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"
YEARMONTHS = dict(zip(MONTHNAMES, range(1, 13), strict=True))

ZERO = timedelta(0)

#: How many of a rate's unit are in a second.
RATE_MODIFIER_MAP: dict[str, Callable[[float], float]] = {
    "s": lambda n: n,
    "m": lambda n: n / 60.0,
    "h": lambda n: n / 60.0 / 60.0,
}

TIME_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))


# -- time zones


class LocalTimezone(tzinfo):
    """The time zone of this machine as the C library knows it, for machines whose zone has no name."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        return self._there(dt).utcoffset() or ZERO

    def dst(self, dt: datetime | None) -> timedelta:
        now = _time.localtime(self._there(dt).timestamp())
        return timedelta(seconds=_time.timezone - _time.altzone) if now.tm_isdst > 0 else ZERO

    def tzname(self, dt: datetime | None) -> str:
        return self._there(dt).tzname() or "local"

    def fromutc(self, dt: datetime) -> datetime:
        here = dt.replace(tzinfo=datetime_timezone.utc).astimezone()
        # The second of two hours that look alike says so, or it would be taken for the first.
        again = here.replace(tzinfo=None).astimezone().utcoffset() != here.utcoffset()
        return here.replace(tzinfo=self, fold=int(again))

    def _there(self, dt: datetime | None) -> datetime:
        plain = dt.replace(tzinfo=None) if dt is not None else datetime.now()
        return plain.astimezone()

    def __repr__(self) -> str:
        return f"<LocalTimezone: UTC{-_time.timezone / 3600:+03.0f}>"


class _Zone:
    """The time zones one can name, and the one of this machine."""

    def tz_or_local(self, tzinfo: tzinfo | None = None) -> tzinfo:
        """The zone given, or this machine's."""
        return tzinfo if tzinfo is not None else self.local

    def to_local(self, dt: datetime, local: Any = None, orig: Any = None) -> datetime:
        """The same moment in zone `local`; a naive `dt` is read in zone `orig` (UTC)."""
        if is_naive(dt):
            dt = make_aware(dt, orig or self.utc)
        return localize(dt, self.tz_or_local(local))

    def to_system(self, dt: datetime) -> datetime:
        """The same moment on this machine's clock."""
        return localize(dt, self.local)

    def to_local_fallback(self, dt: datetime) -> datetime:
        """A naive datetime of this machine, made aware; an aware one in this machine's zone."""
        if is_naive(dt):
            return make_aware(dt, self.local)
        return localize(dt, self.local)

    def get_timezone(self, zone: str | tzinfo) -> tzinfo:
        """The zone of that name."""
        if not isinstance(zone, str):
            return zone
        if zone.upper() == "UTC":
            return self.utc
        from zoneinfo import ZoneInfo  # 10 ms, and most projects live in UTC

        return ZoneInfo(zone)

    @cached_property
    def local(self) -> tzinfo:
        """The zone of this machine."""
        return _local_zone()

    @cached_property
    def utc(self) -> tzinfo:
        """UTC."""
        return datetime_timezone.utc


def _local_zone() -> tzinfo:
    """The zone that TZ or /etc/localtime names, so that it survives pickling and shows its name."""
    name = os.environ.get("TZ", "").lstrip(":")
    if not name and sys.platform != "win32":
        target = os.path.realpath("/etc/localtime")
        name = target.partition("/zoneinfo/")[2]
    if name:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            pass  # a rule such as "CET-1CEST", which the C library understands
    return LocalTimezone()


timezone = _Zone()


def is_naive(dt: datetime) -> bool:
    """Whether the datetime does not say in which zone it is meant."""
    return dt.tzinfo is None or dt.utcoffset() is None


def make_aware(dt: datetime, tz: tzinfo) -> datetime:
    """The datetime on the clock of `tz`: a naive one gets the zone, an aware one is converted."""
    if is_naive(dt):
        dt = dt.replace(tzinfo=tz)
        # 02:30 does not exist where clocks jump from 2 to 3: a trip to UTC and back finds the time that does.
        return dt if _exists(dt) else dt.astimezone(datetime_timezone.utc).astimezone(tz)
    return dt.astimezone(tz)


def _exists(dt: datetime) -> bool:
    return dt.replace(tzinfo=None) == (
        dt.astimezone(datetime_timezone.utc).astimezone(dt.tzinfo).replace(tzinfo=None)
    )


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """The same moment on the clock of `tz`."""
    return dt.astimezone(tz)


def to_utc(dt: datetime) -> datetime:
    """The same moment in UTC; a naive datetime is taken to be in UTC."""
    return make_aware(dt, datetime_timezone.utc)


def maybe_make_aware(dt: datetime, tz: tzinfo | None = None, naive_as_utc: bool = True) -> datetime:
    """Aware, in zone `tz`; a naive datetime is read as UTC (or, with `naive_as_utc=False`, in zone `tz`)."""
    if not is_naive(dt):
        return dt
    if naive_as_utc:
        dt = to_utc(dt)
    zone = timezone.utc if tz is None else timezone.tz_or_local(tz)
    return localize(dt, zone) if naive_as_utc else make_aware(dt, zone)


def utcoffset(time: ModuleType = _time, localtime: Callable[..., Any] = _time.localtime) -> float:
    """How many hours this machine's clock is behind UTC."""
    seconds = time.altzone if localtime().tm_isdst else time.timezone
    return seconds / 3600


def adjust_timestamp(ts: float, offset: float, here: Callable[..., float] = utcoffset) -> float:
    """A local timestamp of a machine `offset` hours behind UTC, as one of this machine."""
    return ts - (offset - here()) * 3600


# -- spans


def maybe_timedelta(delta: Any) -> Any:
    """A number of seconds as a timedelta; anything else as it is."""
    if isinstance(delta, int | float):
        return timedelta(seconds=delta)
    return delta


def delta_resolution(dt: datetime, delta: timedelta) -> datetime:
    """The datetime rounded down to the largest unit of `delta`: days, hours, minutes or seconds."""
    seconds = max(delta.total_seconds(), 0)
    if seconds >= 86400:
        return dt.replace(hour=0, minute=0, second=0, microsecond=0)
    if seconds >= 3600:
        return dt.replace(minute=0, second=0, microsecond=0)
    if seconds >= 60:
        return dt.replace(second=0, microsecond=0)
    return dt


def remaining(
    start: datetime, ends_in: timedelta | ffwd, now: datetime | None = None, relative: bool = False
) -> timedelta:
    """How long it is until `start + ends_in`; `relative` rounds that moment to the unit of `ends_in`."""
    now = now or datetime.now(datetime_timezone.utc)
    end = start + ends_in
    if relative and isinstance(ends_in, timedelta):
        end = delta_resolution(end, ends_in)
    if start.tzinfo is not None and now.tzinfo is not None:
        return subtract_datetimes(end, now)
    return end.replace(tzinfo=None) - now.replace(tzinfo=None)


def add_seconds_to_datetime(dt: datetime, seconds: float) -> datetime:
    """Seconds later by the clock of the universe, also across a change to or from summer time."""
    if dt.tzinfo is None:
        return dt + timedelta(seconds=seconds)
    return (dt.astimezone(datetime_timezone.utc) + timedelta(seconds=seconds)).astimezone(dt.tzinfo)


def subtract_datetimes(end: datetime, start: datetime) -> timedelta:
    """The true span between two moments, also across a change to or from summer time."""
    if end.tzinfo is None or start.tzinfo is None:
        return end - start
    return end.astimezone(datetime_timezone.utc) - start.astimezone(datetime_timezone.utc)


class ffwd:  # the lower-case name is Celery's
    """A step forward in a datetime: fields to be set, weeks to be added, the weekday to go on to."""

    def __init__(
        self,
        year: int | None = None,
        month: int | None = None,
        weeks: int = 0,
        weekday: int | None = None,
        day: int | None = None,
        hour: int | None = None,
        minute: int | None = None,
        second: int | None = None,
        microsecond: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.year = year
        self.month = month
        # Monday is 0, as in datetime (and not as in crontab).
        self.weeks = weeks
        self.weekday = weekday
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
        self.microsecond = microsecond
        self.days = weeks * 7
        self._has_time = hour is not None or minute is not None

    def __repr__(self) -> str:
        shown = {key: value for key, value in self._fields().items() if value is not None}
        return f"ffwd({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def _fields(self, **extra: Any) -> dict[str, Any]:
        names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        fields = {name: getattr(self, name) for name in names}
        return {key: value for key, value in {**fields, **extra}.items() if value is not None}

    def __radd__(self, other: Any) -> Any:
        if not isinstance(other, date):
            return NotImplemented
        year, month = self.year or other.year, self.month or other.month
        # 31 February means the last day of it.
        day = min(monthrange(year, month)[1], self.day or other.day)
        moved = other.replace(**self._fields(year=year, month=month, day=day))
        if self.weekday is not None:
            moved += timedelta(days=(7 - moved.weekday() + self.weekday) % 7)
        return moved + timedelta(days=self.days)

    __add__ = __radd__


# -- text


def rate(r: Any) -> float:
    """A rate such as "100/m" as a number a second."""
    if not r:
        return 0
    if isinstance(r, str):
        number, _, unit = r.partition("/")
        return RATE_MODIFIER_MAP[unit or "s"](float(number)) if float(number) else 0
    return r


def weekday(name: str) -> int:
    """The number of a day by the first letters of its name; Sunday is 0."""
    abbreviation = name[0:3].lower()
    try:
        return WEEKDAYS[abbreviation]
    except KeyError:
        raise KeyError(name) from None


def yearmonth(name: str) -> int:
    """The number of a month by the first letters of its name; January is 1."""
    abbreviation = name[0:3].lower()
    try:
        return YEARMONTHS[abbreviation]
    except KeyError:
        raise KeyError(name) from None


def humanize_seconds(
    secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False
) -> str:
    """Seconds in words: "2.50 minutes"; less than one is "now", unless `microseconds` asks for fractions."""
    secs = float(format(float(secs), ".2f"))
    for unit, divider in TIME_UNITS:
        if secs >= divider:
            count = secs / divider
            return f"{prefix}{sep}{count:.2f} {pluralize(count, unit)}"
    if microseconds and secs > 0.0:
        return f"{prefix}{sep}{secs:.2f} seconds"
    return now


def maybe_iso8601(dt: Any) -> Any:
    """Text as a datetime; datetimes and None as they are."""
    if not dt:
        return None
    return dt if isinstance(dt, datetime) else parse_iso8601(dt)


def get_exponential_backoff_interval(
    factor: float, retries: int, maximum: float, full_jitter: bool = False
) -> float:
    """Seconds before the next try: twice as many each time; with `full_jitter`, a random part of them."""
    # The exponent is capped: 2 ** 100000 takes longer than any wait.
    countdown = min(maximum, factor * 2 ** min(retries, 1000))
    if full_jitter:
        countdown = random.randrange(int(countdown) + 1)
    return max(0, countdown)
