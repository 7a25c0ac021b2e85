"""Dates as text, in the forms of ISO 8601 that messages and settings use."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

__all__ = ("parse_iso8601",)

ISO8601_REGEX = re.compile(
    r"(?P<year>\d{4})(?:-?(?P<month>\d{1,2})(?:-?(?P<day>\d{1,2})"
    r"(?:.(?P<hour>\d{2}):?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
    r"(?P<timezone>Z|[-+]\d{2}:?(?:\d{2})?)?)?)?)?\Z"
)


def parse_iso8601(datestring: str) -> datetime:
    """The datetime; without an offset in the text it is naive."""
    try:
        # Written in C, and right for what we and Celery write; "Z" only from Python 3.11 on.
        return datetime.fromisoformat(datestring)
    except ValueError:
        pass  # one of the other forms
    match = ISO8601_REGEX.match(datestring)
    if not match:
        raise ValueError(f"Unable to parse date string {datestring!r}")
    found = match.groupdict()
    numbers = (int(found[name] or default) for name, default in _FIELDS)
    micro = int((found["fraction"] or "0")[:6].ljust(6, "0"))
    year, month, day, hour, minute, second = numbers
    return datetime(year, month, day, hour, minute, second, micro, _offset(found["timezone"]))


_FIELDS = (("year", "0"), ("month", "1"), ("day", "1"), ("hour", "0"), ("minute", "0"), ("second", "0"))


def _offset(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text == "Z":
        return timezone.utc
    sign = -1 if text[0] == "-" else 1
    digits = text[1:].replace(":", "")
    return timezone(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0)))
