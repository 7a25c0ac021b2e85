"""Schedules as lines of text, both ways: "*/5 * * * *", "@hourly", "@every 90s"; for settings, stores and commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .base import BaseSchedule
from .cronlines import cron, is_named_rightly
from .crontabs import crontab
from .intervals import schedule
from .suns import solar

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
SPAN = re.compile(r"(\d+(?:\.\d+)?)(w|d|h|ms|m|s)", re.IGNORECASE)

ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)", re.DOTALL)

#: What the reader of a wrong line is told.
FORMS = "write five fields ('*/5 * * * *'), six with seconds last, '@hourly', '@every 90s' or '@every 1h30m'"


def maybe_schedule(s: Any, relative: bool = False, app: Any = None) -> Any:
    """The schedule that a number of seconds, a timedelta or a line of text stands for.

    A schedule is given the app and returned, None is None. `relative` is for numbers and timedeltas. ValueError for
    a line that cannot be read.
    """
    if s is None:
        return None
    if isinstance(s, str):
        s = from_line(s)
    elif isinstance(s, int | float | timedelta):
        return schedule(s, relative, app=app)
    s.app = app
    return s


def from_line(line: str) -> BaseSchedule:
    """The schedule that a line of text stands for; ValueError if it stands for none."""
    word, _, rest = line.strip().partition(" ")
    reader = READERS.get(word.lower())
    if reader is not None:
        return reader(rest.strip())
    if word.startswith("@"):
        return crontab.from_string(_nickname(word))
    zone = ZONE.match(line.strip())
    if zone is not None:
        return cron(NICKNAMES.get(zone[2].strip().lower(), zone[2]), tz=zone[1])
    return _from_fields(line)


def _nickname(word: str) -> str:
    try:
        return NICKNAMES[word.lower()]
    except KeyError:
        hint = "; for something to do at start use the signal beat_init" if word.lower() == "@reboot" else ""
        known = ", ".join([*NICKNAMES, *READERS])
        raise ValueError(f"{word!r} is not a schedule (known are {known}){hint}") from None


def _from_fields(line: str) -> BaseSchedule:
    fields = line.split()
    if len(fields) not in (5, 6, 7):
        raise ValueError(f"{line!r} is not a schedule: {FORMS}")
    if not _is_crontab(fields):
        return cron(line)
    minute, hour, day, month, weekday = fields
    try:
        return crontab(minute, hour, _any_day(weekday), _any_day(day), month)
    except ValueError as error:
        return _more_than_crontab(line, error)


def _is_crontab(fields: list[str]) -> bool:
    """Whether a plain crontab means the same: it is what other packages know and store."""
    if len(fields) != 5 or not all(is_named_rightly(number, field) for number, field in enumerate(fields)):
        return False
    # Where both days are named, either is enough in cron, and both must be right in a crontab.
    return "*" in (_any_day(fields[2]), _any_day(fields[4]))


def _any_day(field: str) -> str:
    return "*" if field == "?" else field


def _more_than_crontab(line: str, error: ValueError) -> cron:
    try:
        return cron(line)
    except ValueError:
        # What the crontab says is clearer than what croniter says.
        raise ValueError(f"{line!r} is not a schedule: {error}") from None


def _every(text: str) -> schedule:
    span, _, how = text.partition(" ")
    parts = SPAN.findall(span)
    if not parts or "".join(number + unit for number, unit in parts) != span or how not in ("", "relative"):
        raise ValueError(f"'@every {text}' is not a schedule: write spans such as 90s, 1h30m, 2d, 500ms")
    seconds = sum(float(number) * UNITS[unit.lower()] for number, unit in parts)
    if seconds <= 0:
        raise ValueError(f"'@every {text}' is not a schedule: the span must be longer than nothing")
    return schedule(timedelta(seconds=seconds), relative=bool(how))


def _crontab(text: str) -> crontab:
    return crontab.from_string(text)


def _solar(text: str) -> solar:
    try:
        event, latitude, longitude = text.split()
        return solar(event, float(latitude), float(longitude))
    except ValueError as error:
        raise ValueError(f"'@solar {text}' is not a schedule ('@solar sunset 52.5 13.4'): {error}") from error


READERS: dict[str, Callable[[str], BaseSchedule]] = {"@every": _every, "@crontab": _crontab, "@solar": _solar}


def to_line(schedule_: Any) -> str:
    """The line of text that stands for a schedule, so that `maybe_schedule` makes an equal one of it.

    TypeError for classes of others, which no line stands for.
    """
    kind = type(schedule_)
    if kind is schedule:
        return f"@every {_span(schedule_.run_every)}{' relative' if schedule_.relative else ''}"
    if kind is crontab:
        line = _crontab_line(schedule_)
        days = schedule_.expression.split()
        return line if "*" in (days[2], days[4]) else f"@crontab {line}"
    if kind is cron:
        return schedule_.line if schedule_.zone is None else f"CRON_TZ={schedule_.zone} {schedule_.line}"
    if kind is solar:
        return f"@solar {schedule_.event} {schedule_.lat} {schedule_.lon}"
    raise TypeError(f"{schedule_!r} cannot be written as a line of text: only {', '.join(_LINED)} can")


def _crontab_line(rule: crontab) -> str:
    """The fields as they were written, where they stand as such in a line; else in numbers."""
    fields = (
        rule._orig_minute,
        rule._orig_hour,
        rule._orig_day_of_month,
        rule._orig_month_of_year,
        rule._orig_day_of_week,
    )
    written = [str(field) for field in fields if isinstance(field, int | str)]
    if len(" ".join(written).split()) == 5 and all(
        is_named_rightly(number, text) for number, text in enumerate(written)
    ):
        return " ".join(written)
    return rule.expression


_LINED = ("numbers", "timedeltas", "crontab", "cron", "solar")


def _span(span: timedelta) -> str:
    """A timedelta in the words of @every: 1d2h30m, 0.25s."""
    seconds = span.total_seconds()
    parts = []
    for unit in ("d", "h", "m"):
        count, seconds = divmod(seconds, UNITS[unit])
        if count:
            parts.append(f"{count:.0f}{unit}")
    if seconds or not parts:
        parts.append(f"{seconds:.6f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)
