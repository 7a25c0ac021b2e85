"""Dates, zones, spans and rates."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from celerylite.utils import time
from celerylite.utils.time import ffwd

OSLO = ZoneInfo("Europe/Oslo")
WEDNESDAY = datetime(2020, 5, 6, 7, 8, 9, 10)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (0.5, "now"),
        (1, "1.00 second"),
        (59, "59.00 seconds"),
        (61, "1.02 minutes"),
        (90000, "1.04 days"),
    ],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert time.humanize_seconds(seconds) == words


def test_seconds_in_words_with_prefix() -> None:
    assert time.humanize_seconds(20, prefix="in ") == "in 20.00 seconds"
    assert time.humanize_seconds(0.5, microseconds=True) == "0.50 seconds"


@pytest.mark.parametrize(
    ("text", "number"), [(None, 0), ("10", 10), ("10/s", 10), ("60/m", 1), ("36/h", 0.01), ("0/s", 0), (5, 5)]
)
def test_rates(text: object, number: float) -> None:
    assert time.rate(text) == pytest.approx(number)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020-01-01", datetime(2020, 1, 1)),
        ("2020-01", datetime(2020, 1, 1)),
        ("20200101T101010", datetime(2020, 1, 1, 10, 10, 10)),
        ("2020-01-01T10:00:00Z", datetime(2020, 1, 1, 10, tzinfo=timezone.utc)),
        ("2020-01-01T10:00:00.123+02:00", datetime(2020, 1, 1, 8, 0, 0, 123000, tzinfo=timezone.utc)),
        ("2020-01-01 10:00:00-0530", datetime(2020, 1, 1, 15, 30, tzinfo=timezone.utc)),
    ],
)
def test_dates_as_text(text: str, moment: datetime) -> None:
    assert time.maybe_iso8601(text) == moment
    assert time.maybe_iso8601(moment) is moment


def test_no_date() -> None:
    assert time.maybe_iso8601(None) is None
    with pytest.raises(ValueError, match="tomorrow"):
        time.maybe_iso8601("tomorrow")


def test_making_dates_aware() -> None:
    assert time.maybe_make_aware(WEDNESDAY) == WEDNESDAY.replace(tzinfo=timezone.utc)
    assert time.maybe_make_aware(WEDNESDAY, OSLO).hour == 9
    assert time.maybe_make_aware(WEDNESDAY, OSLO, naive_as_utc=False).hour == 7
    assert time.is_naive(WEDNESDAY) and not time.is_naive(time.to_utc(WEDNESDAY))


def test_a_time_that_the_clock_skips_is_moved() -> None:
    assert time.make_aware(datetime(2021, 3, 28, 2, 30), OSLO).hour == 3


def test_spans_across_a_change_of_clocks_are_true() -> None:
    before = datetime(2021, 3, 28, 1, 0, tzinfo=OSLO)
    after = datetime(2021, 3, 28, 4, 0, tzinfo=OSLO)
    assert time.subtract_datetimes(after, before) == timedelta(hours=2)
    assert time.add_seconds_to_datetime(before, 7200) == after


def test_steps_forward() -> None:
    assert WEDNESDAY + ffwd(hour=3, minute=0, second=0, microsecond=0) == datetime(2020, 5, 6, 3)
    assert WEDNESDAY + ffwd(month=2, day=31) == WEDNESDAY.replace(month=2, day=29)
    assert (WEDNESDAY + ffwd(weekday=0)).day == 11 and (WEDNESDAY + ffwd(weekday=2)).day == 6
    assert (WEDNESDAY + ffwd(weeks=1)).day == 13


def test_what_remains() -> None:
    later = WEDNESDAY + timedelta(minutes=3)
    assert time.remaining(WEDNESDAY, timedelta(hours=1), later) == timedelta(minutes=57)
    rounded = time.remaining(WEDNESDAY, timedelta(hours=1), later, relative=True)
    assert rounded == timedelta(minutes=48, seconds=50, microseconds=999990)
    assert time.delta_resolution(WEDNESDAY, timedelta(days=2)) == datetime(2020, 5, 6)


def test_zones() -> None:
    assert time.timezone.get_timezone("utc") is timezone.utc
    assert time.timezone.get_timezone("Europe/Oslo") is OSLO
    assert time.timezone.get_timezone(OSLO) is OSLO
    with pytest.raises(KeyError):
        time.timezone.get_timezone("No/Where")
    assert time.timezone.to_local(WEDNESDAY, OSLO).hour == 9


def test_this_machines_zone_can_be_sent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    assert pickle.loads(pickle.dumps(time._local_zone())) == ZoneInfo("Asia/Kolkata")
    local = time.LocalTimezone()
    moment = datetime(2020, 1, 1, 12, tzinfo=timezone.utc)
    assert moment.astimezone(local) == moment


def test_offsets_of_other_machines() -> None:
    assert time.adjust_timestamp(100.0, 2, here=lambda: 0.0) == 100.0 - 7200
    assert isinstance(time.utcoffset(), float)


def test_backoff() -> None:
    assert [time.get_exponential_backoff_interval(2, n, 30) for n in range(6)] == [2, 4, 8, 16, 30, 30]
    assert time.get_exponential_backoff_interval(2, 10**6, 30) == 30
    assert 0 <= time.get_exponential_backoff_interval(2, 3, 30, full_jitter=True) <= 16


def test_names_of_days_and_months() -> None:
    assert (time.weekday("Sunday"), time.weekday("mon"), time.yearmonth("december")) == (0, 1, 12)
    with pytest.raises(KeyError, match="someday"):
        time.weekday("someday")
