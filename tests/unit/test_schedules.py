"""Schedules as Celery's projects and packages use them: values, is_due, clocks, subclasses."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from datetime import MINYEAR, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from celerylite import Celery
from celerylite.schedules import BaseSchedule, crontab, crontab_parser, maybe_schedule, schedstate, schedule
from celerylite.utils.time import ffwd

UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 3, 5, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def app() -> Celery:
    app = Celery(set_as_current=False)
    app.conf.timezone = "UTC"
    return app


def test_crontabs_are_compared_by_what_they_name() -> None:
    assert crontab(minute=5) == crontab(minute="5") == crontab(minute=[5])
    assert crontab(minute="*/30") == crontab(minute="0,30")
    assert crontab(minute=5) != crontab(hour=5)
    assert len({crontab(minute=5), crontab(minute="5")}) == 1
    assert crontab() != 3


def test_intervals_are_compared_by_their_length() -> None:
    assert schedule(30) == schedule(timedelta(seconds=30)) == timedelta(seconds=30)
    assert schedule(30) != schedule(31)
    assert schedule(30) != schedule(30, relative=True)
    assert schedule(30) != 30


def test_crontab_from_a_line() -> None:
    assert crontab.from_string("1 2 3 4 5") == crontab(1, 2, day_of_month=3, month_of_year=4, day_of_week=5)
    assert crontab.from_string(" 1  2 * * * ") == crontab(1, 2)
    with pytest.raises(ValueError, match="has 4 fields"):
        crontab.from_string("* * * *")


def now_of_1970() -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC)


def test_schedules_survive_pickle_and_copy() -> None:
    for value in (crontab(minute="*/5", day_of_week="mon"), schedule(30.0), schedule(timedelta(hours=1), True)):
        assert pickle.loads(pickle.dumps(value)) == value == copy.copy(value)
    kept = pickle.loads(pickle.dumps(crontab(minute=5, nowfun=now_of_1970)))
    assert kept.nowfun is now_of_1970
    assert kept.minute == {5}


def test_reprs_and_attributes_are_celerys() -> None:
    assert repr(crontab(minute=5, hour="*/3")) == "<crontab: 5 */3 * * * (m/h/dM/MY/d)>"
    assert repr(crontab("1", "2", day_of_month="3", month_of_year="4", day_of_week="5")).startswith(
        "<crontab: 1 2 3 4 5 "
    )
    assert repr(schedule(30)) == "<freq: 30.00 seconds>"
    assert (schedule(90).seconds, schedule(90).human_seconds, schedule(-5).seconds) == (90, "1.50 minutes", 0)
    fields = crontab("*/15", [3], "mon-fri", 1, "jan,jun")
    assert (fields._orig_minute, fields._orig_hour, fields._orig_day_of_week) == ("*/15", [3], "mon-fri")
    assert (fields._orig_day_of_month, fields._orig_month_of_year) == (1, "jan,jun")
    assert (fields.minute, fields.hour, fields.day_of_week) == ({0, 15, 30, 45}, {3}, {1, 2, 3, 4, 5})
    assert (fields.day_of_month, fields.month_of_year) == ({1}, {1, 6})


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"minute": 60}, ValueError, "minute of a crontab: 60 is not between 0 and 59"),
        ({"hour": "24"}, ValueError, "hour of a crontab: '24': 24 is not between 0 and 23"),
        ({"day_of_week": 7}, ValueError, "day_of_week of a crontab: 7 is not between 0 and 6"),
        ({"day_of_month": 0}, ValueError, "day_of_month of a crontab: 0 is not between 1 and 31"),
        ({"month_of_year": "okt"}, ValueError, "'okt' is neither a number nor the name of a month"),
        ({"minute": "*/0"}, crontab_parser.ParseException, "a step cannot be 0"),
        ({"minute": ""}, crontab_parser.ParseException, "is empty"),
        ({"minute": []}, ValueError, "would never be due"),
        ({"minute": 1.5}, TypeError, "not float"),
        ({"minute": None}, TypeError, "not NoneType"),
        ({"day_of_week": ["mon"]}, TypeError, "join names and numbers"),
        ({"day_of_month": 30, "month_of_year": 2}, ValueError, "there is no day 30 in month 2"),
        ({"day_of_month": "31", "month_of_year": "4,jun"}, ValueError, "there is no day 31 in month 4 or 6"),
    ],
)
def test_what_a_crontab_refuses(fields: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        crontab(**fields)


def test_leap_days_are_dates() -> None:
    leap = crontab(0, 0, day_of_month=29, month_of_year=2)
    assert leap.next_after(datetime(2026, 3, 1, tzinfo=UTC)) == datetime(2028, 2, 29, tzinfo=UTC)
    # 2100 is no leap year.
    assert leap.next_after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


def test_both_days_must_be_right() -> None:
    friday_13 = crontab(0, 0, day_of_week="fri", day_of_month=13)
    assert friday_13.next_after(NOON) == datetime(2026, 3, 13, tzinfo=UTC)
    assert friday_13.next_after(datetime(2026, 3, 13, tzinfo=UTC)) == datetime(2026, 11, 13, tzinfo=UTC)


# -- is it due?


def test_a_crontab_is_due_once_its_time_has_come(app: Celery) -> None:
    hourly = crontab(minute=0, app=app, nowfun=lambda: NOON)
    assert hourly.is_due(NOON - timedelta(seconds=10)) == schedstate(False, 3570.0)
    assert hourly.is_due(NOON - timedelta(seconds=31)) == schedstate(True, 3570.0)
    assert hourly.remaining_estimate(NOON) == timedelta(seconds=3570)
    assert hourly.remaining_estimate(NOON - timedelta(hours=1)) == timedelta(seconds=-30)
    # A naive time is one of UTC.
    assert hourly.is_due(NOON.replace(tzinfo=None)) == schedstate(False, 3570.0)


def test_an_interval_is_due_once_it_is_over(app: Celery) -> None:
    every = schedule(30, app=app, nowfun=lambda: NOON)
    assert every.is_due(NOON - timedelta(seconds=10)) == schedstate(False, 20.0)
    assert every.is_due(NOON - timedelta(seconds=45)) == schedstate(True, 30.0)


def test_an_interval_by_the_clock_goes_to_the_next_round_time(app: Celery) -> None:
    hourly = schedule(timedelta(hours=1), relative=True, app=app, nowfun=lambda: NOON)
    assert hourly.next_after(NOON) == datetime(2026, 3, 5, 13, tzinfo=UTC)
    assert hourly.is_due(NOON - timedelta(minutes=5)) == schedstate(True, 3570.0)
    assert schedule(90, relative=True, app=app).next_after(NOON) == datetime(2026, 3, 5, 12, 2, tzinfo=UTC)
    assert schedule(0.5, relative=True, app=app).next_after(NOON) == NOON + timedelta(seconds=0.5)


@pytest.mark.parametrize(
    ("deadline", "last_run", "hour", "due"),
    [
        (60, timedelta(seconds=31), "*", True),
        (60, timedelta(days=3), "*", True),  # the latest of those that were missed counts
        (60, timedelta(hours=2), 11, False),
        (3630, timedelta(hours=2), 11, True),  # exactly in time
        (3629, timedelta(hours=2), 11, False),
        (None, timedelta(days=3), 11, True),
    ],
)
def test_the_starting_deadline(app: Celery, deadline: int | None, last_run: timedelta, hour: Any, due: bool) -> None:
    app.conf.beat_cron_starting_deadline = deadline
    hourly = crontab(minute=0, hour=hour, app=app, nowfun=lambda: NOON)
    assert hourly.is_due(NOON - last_run).is_due is due


def test_what_has_never_run_is_due(app: Celery) -> None:
    # redbeat's word for "never", in the zone of the schedule.
    app.conf.timezone = "Europe/Berlin"
    nightly = crontab(30, 2, app=app, nowfun=lambda: NOON)
    assert nightly.is_due(datetime(MINYEAR, 1, 2, tzinfo=nightly.tz)).is_due
    assert nightly.is_due(datetime.min).is_due


def test_remaining_delta_is_the_step_to_the_next_time(app: Celery) -> None:
    hourly = crontab(minute=5, app=app, nowfun=lambda: NOON)
    last, step, now = hourly.remaining_delta(NOON)
    assert (last, now) == (NOON, NOON)
    assert isinstance(step, ffwd)
    assert last + step == datetime(2026, 3, 5, 12, 5, tzinfo=UTC)
    last, step, now = hourly.remaining_delta(NOON, tz="Asia/Tokyo")
    assert (last.hour, (last + step).isoformat()) == (21, "2026-03-05T21:05:00+09:00")


def test_the_app_gives_clock_and_zone() -> None:
    app = Celery(set_as_current=False)
    app.conf.timezone = "Asia/Tokyo"
    nightly = crontab(0, 0, app=app)
    assert nightly.tz == ZoneInfo("Asia/Tokyo")
    assert nightly.utc_enabled is True
    assert abs(nightly.now() - datetime.now(UTC)) < timedelta(seconds=30)
    assert nightly.next_after(NOON) == datetime(2026, 3, 5, 15, tzinfo=UTC)
    assert nightly.maybe_make_aware(datetime(2026, 1, 1)).isoformat() == "2026-01-01T09:00:00+09:00"
    assert nightly.maybe_make_aware(datetime(2026, 1, 1), naive_as_utc=False).isoformat() == "2026-01-01T00:00:00+09:00"
    assert nightly.to_local(NOON) is NOON


def test_the_next_time_is_computed_once(app: Celery) -> None:
    asked = []

    class Counted(crontab):
        def _next_in(self, moment: datetime, zone: Any) -> datetime | None:
            asked.append(moment)
            return super()._next_in(moment, zone)

    hourly = Counted(minute=0, app=app, nowfun=lambda: NOON)
    for _ in range(3):
        assert not hourly.is_due(NOON).is_due
    assert len(asked) == 1


# -- classes of others


class Thirds(BaseSchedule):
    """Every 20 seconds of the minute; says how long it is until then, as Celery's guide has it."""

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        last = self.maybe_make_aware(last_run_at)
        return last.replace(second=last.second // 20 * 20, microsecond=0) + timedelta(seconds=20) - self.now()


class Until(BaseSchedule):
    """Like rrule with an end: None is "never again"."""

    def remaining_estimate(self, last_run_at: datetime) -> timedelta | None:
        return timedelta(seconds=-1) if last_run_at < NOON else None


def test_a_class_that_knows_how_long_it_is(app: Celery) -> None:
    thirds = Thirds(app=app, nowfun=lambda: NOON)
    assert thirds.is_due(NOON) == schedstate(False, 10.0)
    assert thirds.is_due(NOON - timedelta(seconds=20)) == schedstate(True, 10.0)
    assert thirds.next_after(NOON) == NOON + timedelta(seconds=10)
    # With a clock that goes on, the moment is still the same.
    assert Thirds(app=app).next_after(NOON) == NOON + timedelta(seconds=10)
    assert thirds != Thirds(app=app)


def test_a_class_that_comes_to_an_end(app: Celery) -> None:
    until = Until(app=app, nowfun=lambda: NOON)
    assert until.is_due(NOON - timedelta(seconds=1)) == schedstate(True, None)
    assert until.is_due(NOON) == schedstate(False, None)
    assert until.next_after(NOON) is None


def test_a_class_that_says_nothing_is_told_what_to_define() -> None:
    with pytest.raises(NotImplementedError, match="BaseSchedule must define remaining_estimate"):
        BaseSchedule().is_due(NOON)


def test_a_crontab_with_a_zone_of_its_own(app: Celery) -> None:
    class Zoned(crontab):  # as django-celery-beat's
        def __init__(self, *args: Any, tz: Any, app: Any) -> None:
            self.tz = tz
            super().__init__(*args, nowfun=lambda: NOON.astimezone(tz), app=app)

    assert Zoned(0, 6, tz=BERLIN, app=app).next_after(NOON) == datetime(2026, 3, 6, 5, tzinfo=UTC)


# -- what stands for a schedule


def test_numbers_and_timedeltas_are_intervals(app: Celery) -> None:
    assert maybe_schedule(30) == maybe_schedule(30.0) == maybe_schedule(timedelta(seconds=30)) == schedule(30)
    assert maybe_schedule(30, relative=True).relative is True
    hourly = crontab(minute=0)
    assert maybe_schedule(hourly, app=app) is hourly
    assert hourly.app is app
    assert maybe_schedule(None) is None


def test_a_worker_that_reads_a_schedule_does_not_import_croniter() -> None:
    code = (
        "import sys; from celerylite.schedules import crontab, maybe_schedule;"
        "crontab(0, 0); maybe_schedule('*/5 * * * *'); print('croniter' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
