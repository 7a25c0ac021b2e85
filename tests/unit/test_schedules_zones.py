"""Summer time: what is due when the clocks jump over a time, or strike it twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from celerylite import Celery
from celerylite.schedules import BaseSchedule, cron, crontab, schedule
from celerylite.utils.time import LocalTimezone

UTC = timezone.utc


def in_zone(zone: str) -> Celery:
    app = Celery(set_as_current=False)
    app.conf.timezone = zone
    return app


def times(rule: BaseSchedule, zone: str, first: str, until: str) -> list[str]:
    """What is due on local times from `first` to `until`, as local times with their offsets, without the year."""
    here = ZoneInfo(zone)
    moment = datetime.fromisoformat(first).replace(tzinfo=here).astimezone(UTC) - timedelta(seconds=1)
    end = datetime.fromisoformat(until).replace(tzinfo=here).astimezone(UTC)
    found = []
    while (due := rule.next_after(moment)) is not None and due <= end:
        assert due > moment
        found.append(due.astimezone(here).isoformat(" ", "minutes")[5:])
        moment = due
    return found


BERLIN = in_zone("Europe/Berlin")


def berlin(rule: BaseSchedule, first: str, until: str) -> list[str]:
    return times(rule, "Europe/Berlin", first, until)


def test_a_time_that_is_jumped_over_is_due_once_an_hour_later() -> None:
    nightly = crontab(30, 2, app=BERLIN)
    assert berlin(nightly, "2026-03-28", "2026-03-30 12:00") == [
        "03-28 02:30+01:00",
        "03-29 03:30+02:00",
        "03-30 02:30+02:00",
    ]


def test_a_time_that_comes_twice_is_due_the_first_time() -> None:
    nightly = crontab(30, 2, app=BERLIN)
    assert berlin(nightly, "2026-10-24", "2026-10-26 12:00") == [
        "10-24 02:30+02:00",
        "10-25 02:30+02:00",
        "10-26 02:30+01:00",
    ]


def test_every_twenty_minutes_is_every_twenty_minutes() -> None:
    often = crontab(minute="*/20", app=BERLIN)
    assert berlin(often, "2026-03-29 01:20", "2026-03-29 03:20") == [
        "03-29 01:20+01:00",
        "03-29 01:40+01:00",
        "03-29 03:00+02:00",
        "03-29 03:20+02:00",
    ]
    assert berlin(often, "2026-10-25 02:20", "2026-10-25 03:00") == [
        "10-25 02:20+02:00",
        "10-25 02:40+02:00",
        "10-25 02:00+01:00",
        "10-25 02:20+01:00",
        "10-25 02:40+01:00",
        "10-25 03:00+01:00",
    ]


def test_named_hours_that_are_jumped_over_fall_together_with_the_next_ones() -> None:
    assert berlin(crontab("10,30", "2-3", app=BERLIN), "2026-03-29 00:00", "2026-03-29 12:00") == [
        "03-29 03:10+02:00",
        "03-29 03:30+02:00",
    ]
    # What is owed from 02:45 is due after 03:10.
    assert berlin(crontab("10,45", "2-3", app=BERLIN), "2026-03-29 03:20", "2026-03-29 12:00") == ["03-29 03:45+02:00"]


def test_cron_lines_go_by_the_same_rules() -> None:
    assert berlin(cron("30 2 * * * 0", app=BERLIN), "2026-03-29", "2026-03-29 12:00") == ["03-29 03:30+02:00"]
    assert berlin(cron("30 2 * * 0,7", app=BERLIN), "2026-10-25", "2026-10-25 12:00") == ["10-25 02:30+02:00"]
    assert len(berlin(cron("0 * * * 7", app=BERLIN), "2026-10-25", "2026-10-25 23:00")) == 25


@pytest.mark.parametrize(
    ("zone", "rule", "first", "until", "due"),
    [
        # Half an hour of summer time: 02:00 to 02:30 is missing, 01:30 to 02:00 doubled.
        ("Australia/Lord_Howe", (15, 2), "2026-10-04", "2026-10-04 12:00", ["10-04 02:45+11:00"]),
        ("Australia/Lord_Howe", (45, 1), "2026-04-05", "2026-04-05 12:00", ["04-05 01:45+11:00"]),
        # A whole day is missing: the 30th of December 2011.
        ("Pacific/Apia", (0, 12), "2011-12-29", "2012-01-01", ["12-29 12:00-10:00", "12-31 12:00+14:00"]),
        # Midnight is missing.
        ("America/Havana", (0, 0), "2026-03-08 01:00", "2026-03-09 01:00", ["03-08 01:00-04:00", "03-09 00:00-04:00"]),
        # Midnight comes twice.
        ("America/Havana", (0, 0), "2026-11-01", "2026-11-02", ["11-01 00:00-04:00", "11-02 00:00-05:00"]),
        # Summer time is over for the days of Ramadan.
        ("Africa/Casablanca", (30, 2), "2026-02-15", "2026-02-16", ["02-15 02:30+01:00"]),
        # "Summer" time is the standard, and winter subtracts.
        ("Europe/Dublin", (30, 1), "2026-03-29", "2026-03-29 12:00", ["03-29 02:30+01:00"]),
        # No summer time at all.
        ("Asia/Kolkata", (30, 2), "2026-03-29", "2026-03-29 12:00", ["03-29 02:30+05:30"]),
    ],
)
def test_zones_with_other_habits(zone: str, rule: tuple[int, int], first: str, until: str, due: list[str]) -> None:
    assert times(crontab(*rule, app=in_zone(zone)), zone, first, until) == due


def test_every_hour_where_the_clocks_change_by_half_an_hour() -> None:
    zone = "Australia/Lord_Howe"
    often = crontab(minute="0,45", app=in_zone(zone))
    assert times(often, zone, "2026-04-05 01:00", "2026-04-05 02:00") == [
        "04-05 01:00+11:00",
        "04-05 01:45+11:00",
        "04-05 01:45+10:30",
        "04-05 02:00+10:30",
    ]
    assert times(often, zone, "2026-10-04 01:00", "2026-10-04 03:00") == [
        "10-04 01:00+10:30",
        "10-04 01:45+10:30",
        "10-04 02:45+11:00",
        "10-04 03:00+11:00",
    ]


def test_an_interval_is_time_that_passes() -> None:
    daily = schedule(timedelta(days=1), app=BERLIN)
    assert berlin(daily, "2026-03-28 12:00:01", "2026-03-29 23:00") == ["03-29 13:00+02:00"]


def test_days_by_the_clock_are_days_of_the_calendar() -> None:
    daily = schedule(timedelta(days=1), relative=True, app=BERLIN)
    assert berlin(daily, "2026-03-28 12:00", "2026-03-31") == [
        "03-29 00:00+01:00",
        "03-30 00:00+02:00",
        "03-31 00:00+02:00",
    ]
    havana = schedule(timedelta(days=1), relative=True, app=in_zone("America/Havana"))
    assert times(havana, "America/Havana", "2026-03-07 12:00", "2026-03-09 00:00") == [
        "03-08 01:00-04:00",
        "03-09 00:00-04:00",
    ]


@pytest.fixture
def own_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalTimezone]:
    """This machine's zone as a rule without a name, which only the C library understands."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield LocalTimezone()
    monkeypatch.undo()
    time.tzset()


def test_the_machines_own_zone(own_zone: LocalTimezone) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for moment in (start + timedelta(minutes=30 * n) for n in range(2 * 24 * 365)):
        assert moment.astimezone(own_zone).astimezone(UTC) == moment
    app = Celery(set_as_current=False)
    rule = crontab(30, 2, app=app)
    rule.tz = own_zone
    assert rule.next_after(datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert rule.next_after(datetime(2026, 10, 25, 0, 30, tzinfo=UTC)) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
