"""A line of cron as a schedule of its own: what Celery's crontab cannot say, with croniter's grammar."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

from celerylite.utils.time import timezone as zones

from .calendars import Calendar, calendar
from .crontabs import FIELDS, CalendarSchedule
from .fields import check_dates, crontab_parser

#: H and R stand for numbers drawn at random: two beats would not draw the same.
RANDOM = re.compile(r"(^|,)[hr](\(|/|,|$)", re.IGNORECASE)

#: How many values each field of a line has, and the first of them; years as far as croniter counts.
RANGES = (*(field[1:] for field in FIELDS), (60, 0), (130, 1970))

#: The fields in which names may stand: month and weekday.
NAMED = (3, 4)
WEEKDAY = 4


class cron(CalendarSchedule):  # lower-case as its siblings
    """Due when a cron line says so: minute hour day month weekday, and then seconds and years if you like.

    Also understood are `?` for any day, 7 for Sunday, `L` (the last day of the month), `15W` (the working day nearest
    to the 15th), `5#2` (the second Friday), `L5` (the last Friday) and steps such as `5/15`. Where day of month and
    weekday are both named, either is enough, as in cron. `tz` is the time zone, by name or as a tzinfo (the app's).
    ValueError for a line that cannot be read or is never due.
    """

    def __init__(
        self,
        line: str,
        tz: str | tzinfo | None = None,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        self.line = " ".join(line.split())
        # Worked out once: beat asks for its calendar at every tick.
        self._plain = " ".join(_plain(number, field) for number, field in enumerate(self.line.split()))
        self.zone = _zone(tz) if tz else None
        if self.zone is not None:
            self.tz = self.zone
        self._check()

    def _calendar(self) -> Calendar:
        return calendar(self._plain)

    def _check(self) -> None:
        fields = self.line.split()
        if any(RANDOM.search(field) for field in fields):
            raise ValueError(f"{self.line!r}: H and R are drawn at random, and a schedule must be the same everywhere")
        try:
            times = self._calendar()
        except ValueError as error:
            raise ValueError(f"{self.line!r} is not a cron line: {error}{self._hint(fields)}") from error
        days, months = (times.numbers(field) for field in (2, 3))
        if days and "l" not in days:
            check_dates(days, months or range(1, 13), repr(self))
        if len(fields) == 6 and fields[5] == "*" and fields != ["*"] * 6:
            warnings.warn(
                f"{self.line!r} is due every second of its minutes{self._hint(fields)}", UserWarning, stacklevel=3
            )

    @staticmethod
    def _hint(fields: list[str]) -> str:
        if len(fields) != 6:
            return ""
        return f"; of six fields the last is the seconds: did you mean '{' '.join([*fields[1:], fields[0]])}'?"

    def _key(self) -> tuple[Any, ...]:
        return (self.line, self.zone)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.line, self.zone, self.nowfun)

    def __repr__(self) -> str:
        zone = f" {self.zone}" if self.zone is not None else ""
        return f"<cron: {self.line}{zone}>"


def _plain(number: int, field: str) -> str:
    """The field in plain numbers, where Celery's reader knows it; else as it is, for croniter.

    croniter reads 3-3 as all there is, and 50-10/7 as 50, 57, 5. Where there is a *, it must see it: that makes a day
    one that is not named.
    """
    if "*" in field or number >= len(RANGES) or not is_named_rightly(number, field):
        return field
    size, first = RANGES[number]
    try:
        numbers = crontab_parser(size, first).parse(field)
    except ValueError:
        if number != WEEKDAY or "7" not in field:
            return field
        return _plain_sundays(field)
    return ",".join(map(str, sorted(numbers)))


def _plain_sundays(field: str) -> str:
    """A field of weekdays in which Sunday is 7."""
    try:
        return ",".join(sorted({str(day % 7) for day in crontab_parser(8, 0).parse(field)}))
    except ValueError:
        return field


def is_named_rightly(number: int, field: str) -> bool:
    """Whether the field has letters only where names of months and weekdays may stand."""
    return number in NAMED or not any(char.isalpha() for char in field)


def _zone(name: str | tzinfo) -> tzinfo:
    try:
        return zones.get_timezone(name)
    except (KeyError, OSError):
        raise ValueError(f"There is no time zone {name!r}; write one as in 'Europe/Berlin'") from None
