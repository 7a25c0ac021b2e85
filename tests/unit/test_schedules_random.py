"""Tens of thousands of random rules and moments: our answers beside brute force, croniter's and Celery's.

A failure names the rule, the zone and the moment, so that it can be asked again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery as TheirApp
from celery import schedules as theirs
from croniter import croniter

from celerylite import Celery
from celerylite.schedules import cron, crontab, crontab_parser, maybe_schedule, schedule

UTC = timezone.utc
MINUTE = timedelta(minutes=1)
FIELDS = {"minute": (60, 0), "hour": (24, 0), "day_of_month": (31, 1), "month_of_year": (12, 1), "day_of_week": (7, 0)}
NAMES = {
    "month_of_year": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "day_of_week": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}

#: A part of a field.
WELL_FORMED = re.compile(r"\*(/\d+)?|(\d+|[a-z]+)(-(\d+|[a-z]+)(/\d+)?)?", re.IGNORECASE)

#: Zones, each with a year, and the days around which their clocks changed or will change.
CHANGES = [
    ("Europe/Berlin", (2026, 3, 29)),
    ("Europe/Berlin", (2026, 10, 25)),
    ("America/New_York", (2026, 3, 8)),
    ("America/New_York", (2026, 11, 1)),
    ("America/Havana", (2026, 3, 8)),
    ("America/Havana", (2026, 11, 1)),
    ("Australia/Lord_Howe", (2026, 4, 5)),
    ("Australia/Lord_Howe", (2026, 10, 4)),
    ("Australia/Sydney", (2026, 10, 4)),
    ("Africa/Casablanca", (2026, 2, 15)),
    ("Africa/Casablanca", (2026, 3, 22)),
    ("Pacific/Apia", (2011, 12, 30)),
    ("Asia/Kathmandu", (2026, 3, 29)),
    ("UTC", (2026, 3, 29)),
]


def in_zone(zone: str) -> Celery:
    app = Celery(set_as_current=False)
    app.conf.timezone = zone
    return app


def random_field(draw: random.Random, name: str, plain: bool = False) -> str:
    """A field as people write them: mostly *, numbers, ranges, steps, lists, sometimes names."""
    size, first = FIELDS[name]
    last = first + size - 1
    kind = draw.choice(["*", "*", "number", "range", "steps", "range steps", "list", "name"])
    one, other = draw.randint(first, last), draw.randint(first, last)
    if plain:
        # croniter's ranges of one (3-3) are all there is, and its steps round the end are one too many.
        one, other = sorted((one, other)) if one != other else (first, last)
    if kind == "number":
        return str(one)
    if kind == "range":
        return f"{one}-{other}"
    if kind == "steps":
        return f"*/{draw.randint(1, size)}"
    if kind == "range steps":
        return f"{one}-{other}/{draw.randint(1, max(1, size // 3))}"
    if kind == "list":
        return ",".join(str(draw.randint(first, last)) for _ in range(draw.randint(2, 4)))
    if kind == "name" and name in NAMES:
        return draw.choice(NAMES[name])
    return "*"


def random_fields(draw: random.Random, plain: bool = False) -> dict[str, str]:
    return {name: random_field(draw, name, plain) for name in FIELDS}


def line_of(fields: dict[str, str]) -> str:
    return " ".join(fields.values())


def made(build: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What is built, or None where it is refused."""
    try:
        return build(*args, **kwargs)
    except ValueError:
        return None


# -- the fields


def test_fields_are_read_as_celery_reads_them() -> None:
    draw = random.Random(4)
    signs = ["*", "/", "-", ",", "0", "1", "5", "7", "12", "31", "60", "mon", "jan", "L", ""]
    for _ in range(6000):
        size, first = draw.choice(list(FIELDS.values()))
        text = "".join(draw.choice(signs) for _ in range(draw.randint(1, 5)))
        ours = made(crontab_parser(size, first).parse, text)
        # Of what is not well-formed Celery reads the beginning, and forgets the rest: "mon/2", "1-5-", "jan7".
        if ours is not None or all(WELL_FORMED.fullmatch(part) for part in text.split(",")):
            assert ours == _theirs(size, first, text), (text, size, first)


def _theirs(size: int, first: int, text: str) -> set[int] | None:
    try:
        return set(theirs.crontab_parser(size, first).parse(text))
    except (ValueError, theirs.ParseException):
        return None


def test_crontabs_are_made_and_refused_as_celerys() -> None:
    draw = random.Random(5)
    for _ in range(1500):
        fields = random_fields(draw)
        ours, there = made(crontab, **fields), made(theirs.crontab, **fields)
        assert (ours is None) == (there is None), fields
        if ours is not None:
            for name in FIELDS:
                assert getattr(ours, name) == getattr(there, name), (name, fields)
            assert repr(ours) == repr(there)


# -- the next time


def test_a_few_next_times_are_those_of_croniter_and_celery() -> None:
    _compare_with_croniter(random.Random(6), 300)
    _compare_with_celery(random.Random(7), 300)


@pytest.mark.slow
def test_next_times_are_those_of_croniter() -> None:
    _compare_with_croniter(random.Random(60), 20_000)


@pytest.mark.slow
def test_next_times_are_those_of_celery() -> None:
    _compare_with_celery(random.Random(70), 20_000)


def random_moment(draw: random.Random) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=draw.randint(0, 5 * 366 * 86400))


def _compare_with_croniter(draw: random.Random, count: int) -> None:
    """Lines as they come, with either day enough, read and computed by croniter alone."""
    app = in_zone("UTC")
    for _ in range(count):
        line = line_of(random_fields(draw, plain=True))
        if draw.random() < 0.3:
            line += " " + draw.choice(["0", "*/10", "5,35", "59", "10-20"])
        ours = made(maybe_schedule, line, app=app)
        moment = random_moment(draw)
        if ours is None:
            assert not croniter.is_valid(line, strict=True), line
            continue
        expected = croniter(line, moment).get_next(datetime)
        assert ours.next_after(moment) == expected, (line, moment)


def _compare_with_celery(draw: random.Random, count: int) -> None:
    """Crontabs in UTC, where both days must be right."""
    there = TheirApp(set_as_current=False)
    here = in_zone("UTC")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(count):
        fields = random_fields(draw)
        ours = made(crontab, **fields, app=here)
        if ours is None:
            continue
        moment = random_moment(draw)
        celerys = theirs.crontab(**fields, app=there, nowfun=lambda: now)
        assert ours.next_after(moment) == now + celerys.remaining_estimate(moment), (fields, moment)


# -- around the changes of the clocks


def brute_force(rule: crontab, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """Every minute looked at by itself: what the rules in schedules/zones.py say, without any cleverness."""
    due = set()
    minute = start - timedelta(days=2)
    while minute <= end:
        if len(rule.hour) == 24:
            if _names(rule, minute.astimezone(zone)):
                due.add(minute)
        elif _names(rule, minute):  # a time on the wall, be there such a time or not
            due.add(minute.replace(tzinfo=zone).astimezone(UTC))
        minute += MINUTE
    return sorted(moment for moment in due if start < moment <= end - timedelta(days=2))


def _names(rule: crontab, wall: datetime) -> bool:
    return (
        wall.minute in rule.minute
        and wall.hour in rule.hour
        and wall.day in rule.day_of_month
        and wall.month in rule.month_of_year
        and wall.isoweekday() % 7 in rule.day_of_week
    )


def random_rule(draw: random.Random, app: Celery) -> crontab:
    """A rule with something to do on most days."""
    hour = draw.choice(["*", "*", "1-3", "2", "0,2,4", "*/2", "23-2", "0", "1", "3"])
    minute = draw.choice(["*/20", "0", "30", "*/7", "10,45", "15", "59", "1-4"])
    return crontab(minute, hour, draw.choice(["*", "*", "sun", "0-6/2"]), app=app)


def _walk(zone: str, date: tuple[int, int, int], seed: int, rules: int) -> None:
    draw = random.Random(seed)
    app, here = in_zone(zone), ZoneInfo(zone)
    middle = datetime(*date, 2, tzinfo=UTC)
    start, end = middle - timedelta(days=2), middle + timedelta(days=4)
    for _ in range(rules):
        rule = random_rule(draw, app)
        expected = brute_force(rule, here, start, end)
        found, moment = [], start
        while (due := rule.next_after(moment)) is not None and due <= end - timedelta(days=2):
            found.append(due)
            moment = due
        assert found == expected, (zone, repr(rule))
        # And from any moment in between, seconds and all.
        for _ in range(20):
            moment = start + timedelta(seconds=draw.randint(0, 3 * 86400), microseconds=draw.randint(0, 999_999))
            following = [due for due in expected if due > moment][:1]
            if following:
                assert rule.next_after(moment) == following[0], (zone, repr(rule), moment)


def test_a_few_rules_around_the_changes_of_the_clocks() -> None:
    for zone, date in (CHANGES[0], CHANGES[1], CHANGES[6], CHANGES[11]):
        _walk(zone, date, 8, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("zone", "date"), CHANGES, ids=lambda value: str(value))
def test_rules_around_the_changes_of_the_clocks(zone: str, date: tuple[int, int, int]) -> None:
    _walk(zone, date, 80, 150)


@pytest.mark.slow
@pytest.mark.parametrize(("zone", "date"), CHANGES, ids=lambda value: str(value))
def test_celery_agrees_where_it_is_right(zone: str, date: tuple[int, int, int]) -> None:
    """Rules for one time of the day, asked before the change; where Celery is wrong: docs/beat.md."""
    draw = random.Random(90)
    there = TheirApp(set_as_current=False)
    there.conf.timezone = zone
    here, zoned = in_zone(zone), ZoneInfo(zone)
    middle = datetime(*date, 2, tzinfo=UTC)
    for _ in range(1500):
        fields = {"minute": str(draw.randint(0, 59)), "hour": str(draw.randint(0, 23))}
        if draw.random() < 0.3:
            fields["day_of_week"] = draw.choice(NAMES["day_of_week"])
        moment = middle + timedelta(seconds=draw.randint(-3 * 86400, 3 * 86400))
        now = moment.astimezone(zoned)
        if now.utcoffset() != (moment - timedelta(days=1)).astimezone(zoned).utcoffset():
            continue  # asked after the change, Celery forgets what is owed, or goes back in time
        ours = crontab(**fields, app=here).next_after(moment)
        celerys = theirs.crontab(**fields, app=there, nowfun=lambda now=now: now)
        remaining = celerys.remaining_estimate(now)
        assert ours == moment + remaining, (zone, fields, moment)


@pytest.mark.slow
def test_days_by_the_clock_are_those_of_celery() -> None:
    draw = random.Random(100)
    for zone, date in CHANGES:
        there = TheirApp(set_as_current=False)
        there.conf.timezone = zone
        here, zoned = in_zone(zone), ZoneInfo(zone)
        for _ in range(300):
            every = timedelta(seconds=draw.choice([1, 30, 60, 90, 3600, 5400, 7200, 86400, 2 * 86400, 7 * 86400]))
            moment = datetime(*date, 2, tzinfo=UTC) + timedelta(seconds=draw.randint(-3 * 86400, 3 * 86400))
            now = moment.astimezone(zoned)
            celerys = theirs.schedule(every, relative=True, app=there, nowfun=lambda now=now: now)
            ours = schedule(every, relative=True, app=here).next_after(moment)
            assert ours == moment + celerys.remaining_estimate(now), (zone, every, moment)


@pytest.mark.slow
def test_cron_lines_in_zones_are_the_crontabs_they_look_like() -> None:
    draw = random.Random(110)
    for zone, date in CHANGES:
        app = in_zone(zone)
        middle = datetime(*date, 2, tzinfo=UTC)
        for _ in range(200):
            rule = random_rule(draw, app)
            line = cron(f"{rule.expression} 0", tz=zone)
            moment = middle + timedelta(seconds=draw.randint(-3 * 86400, 3 * 86400))
            assert line.next_after(moment) == rule.next_after(moment), (zone, repr(rule), moment)
