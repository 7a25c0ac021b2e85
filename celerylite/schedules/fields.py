"""The fields of a crontab: from "*/15", "mon-fri" or "1-5,9" to the numbers they name."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from celerylite.utils.time import weekday, yearmonth

#: What a field of a crontab may be given as.
Cronspec = int | str | Iterable[int]

#: The most days that each month can have.
LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class ParseException(ValueError):
    """A field of a crontab cannot be read."""


class crontab_parser:
    """Reads one field, whose numbers run from `min_` to `min_ + max_ - 1`.

    A field is a comma-separated list of numbers, names of weekdays or months, `*`, ranges `a-b` (which go round past
    the end: `22-2` is 22, 23, 0, 1, 2) and steps behind a `*` or a range: `*/n`, `a-b/n`.
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.max_ = max_
        self.min_ = min_

    def parse(self, spec: str) -> set[int]:
        """The numbers that the field names; ParseException or ValueError if it cannot be read."""
        return {number for part in spec.split(",") for number in self._part(part.strip(), spec)}

    def _part(self, part: str, spec: str) -> list[int]:
        if not part:
            raise ParseException(f"A part of the crontab field {spec!r} is empty")
        span, slash, step = part.partition("/")
        if span == "*":
            numbers = list(range(self.min_, self.min_ + self.max_))
        else:
            numbers = self._span(span, part)
            if slash and "-" not in span:
                raise ParseException(f"{part!r}: a step stands behind a range or *, as in {span}-{self._last}/{step}")
        return numbers[:: self._step(step, part)] if slash else numbers

    def _span(self, span: str, part: str) -> list[int]:
        if span.startswith("-"):
            raise ParseException(f"{part!r}: there are no negative numbers in a crontab")
        first, dash, last = span.partition("-")
        start = self._number(first, part)
        if not dash:
            return [start]
        end = self._number(last, part)
        if end >= start:
            return list(range(start, end + 1))
        return [*range(start, self.min_ + self.max_), *range(self.min_, end + 1)]

    def _number(self, text: str, part: str) -> int:
        if text.isdecimal():
            number = int(text)
        else:
            number = self._named(text, part)
        if not self.min_ <= number <= self._last:
            raise ValueError(f"{part!r}: {number} is not between {self.min_} and {self._last}")
        return number

    def _named(self, text: str, part: str) -> int:
        # Names are read in any field, as in Celery; where both would do, the field of months has 12 values.
        kinds = {"weekday": weekday, "month": yearmonth}
        kind = "month" if self.max_ == 12 else "weekday"
        for read in (kinds.pop(kind), *kinds.values()):
            with suppress(KeyError):
                if text.isalpha():
                    return read(text)
        raise ValueError(f"{part!r} is neither a number nor the name of a {kind}")

    def _step(self, text: str, part: str) -> int:
        if not text.isdecimal():
            raise ParseException(f"{part!r}: there must be a number behind the /")
        if not int(text):
            raise ParseException(f"{part!r}: a step cannot be 0")
        return int(text)

    @property
    def _last(self) -> int:
        return self.min_ + self.max_ - 1


def numbers_of(field: str, spec: Any, size: int, first: int) -> frozenset[int]:
    """The numbers that `spec` names for `field`, which has `size` values from `first` on.

    TypeError for what is no number, text or iterable of numbers; ValueError for numbers out of range, or none.
    """
    if isinstance(spec, int):
        numbers = frozenset((int(spec),))
    elif isinstance(spec, str):
        try:
            numbers = _read(spec, size, first)
        except ValueError as error:
            raise type(error)(f"{field} of a crontab: {error}") from None
    elif isinstance(spec, Iterable):
        numbers = frozenset(spec)
    else:
        raise TypeError(
            f"{field} of a crontab must be a number, a string or an iterable of numbers, not {type(spec).__name__}"
        )
    _check_numbers(field, numbers, first, first + size - 1)
    return numbers


@lru_cache(maxsize=1024)
def _read(spec: str, size: int, first: int) -> frozenset[int]:
    # Shared by all crontabs that say the same: 10,000 of them take 7 MB less.
    return frozenset(crontab_parser(size, first).parse(spec))


def _check_numbers(field: str, numbers: frozenset[Any], first: int, last: int) -> None:
    if not numbers:
        raise ValueError(f"{field} of a crontab is empty: it would never be due")
    for number in numbers:
        if not isinstance(number, int):
            raise TypeError(
                f"{field} of a crontab: {number!r} is not a number; join names and numbers to one string: 'mon,wed'"
            )
        if not first <= number <= last:
            raise ValueError(f"{field} of a crontab: {number} is not between {first} and {last}")


def check_dates(days: Iterable[int], months: Iterable[int], shown: str) -> None:
    """ValueError if none of the days of the month is ever in one of the months, as the 30th of February."""
    days = sorted(days)
    months = sorted(months)
    if not any(days[0] <= LONGEST_MONTHS[month - 1] for month in months):
        raise ValueError(f"{shown} is never due: there is no day {_listed(days)} in month {_listed(months)}")


def _listed(numbers: Iterable[int]) -> str:
    return " or ".join(str(number) for number in numbers)


def cronfield(s: Cronspec | None) -> Cronspec:
    """The field as it is, "*" for None."""
    return "*" if s is None else s
