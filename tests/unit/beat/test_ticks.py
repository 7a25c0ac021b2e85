"""Which ticks have come: pure arithmetic."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import pytest

from celerylite import Celery
from celerylite.beat import ScheduleEntry, ticks
from celerylite.exceptions import ImproperlyConfigured
from celerylite.schedules import BaseSchedule, crontab, schedstate, schedule, solar

APP = Celery("ticks", broker="memory://", set_as_current=False)
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc).timestamp()


def entry(when: Any, **fields: Any) -> ScheduleEntry:
    return ScheduleEntry("name", "task", schedule=when, app=APP, last_run_at=ticks.moment(NOON), **fields)


def outlook(one: ScheduleEntry, late: float, last: float = NOON) -> ticks.Outlook:
    return ticks.outlook(one, last, NOON + late)


def test_nothing_has_come_yet() -> None:
    assert outlook(entry(10), 9.9) == ([], None, NOON + 10)


def test_a_tick_has_come() -> None:
    assert outlook(entry(10), 10) == ([NOON + 10], NOON + 10, NOON + 20)


def test_an_interval_stays_where_it_began() -> None:
    assert outlook(entry(10), 13.7) == ([NOON + 10], NOON + 10, NOON + 20)


def test_missed_ticks_are_made_up_for_once() -> None:
    assert outlook(entry(10), 1234) == ([NOON + 1230], NOON + 1230, NOON + 1240)
    assert outlook(entry(crontab(minute="*/5")), 1234) == ([NOON + 1200], NOON + 1200, NOON + 1500)


def test_missed_ticks_are_all_sent() -> None:
    wanted = [NOON + 10 * n for n in range(1, 8)]
    assert outlook(entry(10, missed="all"), 77) == (wanted, NOON + 70, NOON + 80)


def test_at_most_so_many_of_them() -> None:
    wanted = [NOON + 50, NOON + 60, NOON + 70]
    assert outlook(entry(10, missed="all", missed_limit=3), 77) == (wanted, NOON + 70, NOON + 80)
    minutes = [NOON + 60 * 1439, NOON + 60 * 1440]
    assert outlook(entry(crontab(), missed="all", missed_limit=2), 86400).send == minutes


def test_missed_ticks_are_skipped() -> None:
    assert outlook(entry(3600, missed="skip"), 3615) == ([], NOON + 3600, NOON + 7200)
    assert outlook(entry(3600, missed="skip"), 3605) == ([NOON + 3600], NOON + 3600, NOON + 7200)


def test_the_latest_of_several_is_not_missed_if_it_is_recent() -> None:
    assert outlook(entry(60, missed="skip"), 605) == ([NOON + 600], NOON + 600, NOON + 660)


def test_a_long_sleep_is_no_work() -> None:
    """Ten years of seconds: computed, not walked."""
    late = 10 * 365 * 86400 + 0.5
    assert outlook(entry(1), late).passed == NOON + late - 0.5
    assert outlook(entry(crontab()), late).passed == NOON + late - 0.5
    assert len(outlook(entry(1, missed="all"), late).send) == 100


def test_intervals_of_fractions_do_not_drift() -> None:
    one, last = entry(0.1), NOON
    for _ in range(1000):
        last = ticks.outlook(one, last, round(last + 0.1, 6)).passed or 0.0
    assert last == NOON + 100


def test_a_walk_and_a_leap_come_to_the_same_tick() -> None:
    one, last = entry(0.7), NOON
    for _ in range(300):
        last = ticks.outlook(one, last, round(last + 0.7, 6)).passed or 0.0
    assert ticks.outlook(one, NOON, last).passed == last


def test_nothing_before_the_start() -> None:
    start = ticks.moment(NOON + 95)
    assert outlook(entry(10, start=start), 50).next == NOON + 95
    assert outlook(entry(10, start=start), 95) == ([NOON + 95], NOON + 95, NOON + 105)
    assert outlook(entry(crontab(), start=start), 95).next == NOON + 120
    assert outlook(entry(crontab(), start=ticks.moment(NOON + 120)), 95).next == NOON + 120


def test_nothing_after_the_end() -> None:
    end = ticks.moment(NOON + 20)
    assert outlook(entry(10, end=end), 15).next == NOON + 20
    assert outlook(entry(10, end=end), 20).next is None
    assert outlook(entry(10, end=end), 20, last=NOON + 20) == ([], None, None)


def test_the_end_bounds_what_is_made_up_for() -> None:
    assert outlook(entry(10, end=ticks.moment(NOON + 25)), 1000).send == [NOON + 20]


def test_dates_may_be_text() -> None:
    one = entry(10, start="2026-03-02T12:00:30+00:00", end="2026-03-02T13:00:00")
    assert one.start == ticks.moment(NOON + 30)
    assert one.end == ticks.moment(NOON + 3600)


def test_ticks_before_it_was_enabled_are_done() -> None:
    one = entry(10, since=NOON + 1001)
    assert outlook(one, 1005) == ([], None, NOON + 1010)
    assert outlook(entry(crontab(), since=NOON + 1001), 1005).next == NOON + 1020


def test_jitter_delays_by_the_same_in_every_beat() -> None:
    one = entry(10, jitter=5)
    due = ticks.due(one, NOON + 10)
    assert NOON + 10 <= due < NOON + 15
    assert due == ticks.due(entry(10, jitter=5), NOON + 10)
    assert outlook(one, due - NOON - 0.001).send == []
    assert outlook(one, due - NOON).send == [NOON + 10]


def test_jitter_spreads() -> None:
    delays = [ticks.due(entry(10, jitter=5), NOON + 10 * n) - NOON - 10 * n for n in range(1000)]
    assert min(delays) < 0.1 and max(delays) > 4.9
    assert 2.2 < sum(delays) / len(delays) < 2.8


def test_a_cron_tick_past_the_deadline_is_let_go() -> None:
    one = entry(crontab(minute=5))
    assert ticks.outlook(one, NOON, NOON + 330, deadline=60) == ([NOON + 300], NOON + 300, NOON + 3900)
    assert ticks.outlook(one, NOON, NOON + 361, deadline=60) == ([], NOON + 300, NOON + 3900)
    assert ticks.outlook(entry(300), NOON, NOON + 361, deadline=60).send == [NOON + 300]


def test_an_interval_of_nothing_gets_ahead() -> None:
    found = outlook(entry(0), 5)
    assert found.next is not None and found.next > NOON


def test_the_coming_ticks() -> None:
    coming = list(islice(ticks.upcoming(entry(crontab(minute=0)), NOON, NOON + 1), 3))
    assert coming == [NOON + 3600, NOON + 7200, NOON + 10800]
    assert list(ticks.upcoming(entry(10, end=ticks.moment(NOON + 35)), NOON, NOON)) == [NOON + 10, NOON + 20, NOON + 30]


def test_ids_are_the_same_everywhere_and_different_for_each_tick() -> None:
    assert ticks.task_id("app", "entry", NOON) == "13dddfee-4dd8-544b-b877-b4d409549a64"
    ids = {ticks.task_id(app, name, NOON + n) for app in "ab" for name in "xy" for n in range(100)}
    assert len(ids) == 400


class Odd(BaseSchedule):
    def is_due(self, last_run_at: datetime) -> schedstate:
        return schedstate(False, 1.0)


class OddInterval(schedule):
    def is_due(self, last_run_at: datetime) -> schedstate:
        return schedstate(False, 1.0)


class OddEstimate(crontab):
    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        return timedelta(seconds=1)


def test_which_schedules_are_computed() -> None:
    for ours in (schedule(10), crontab(), solar("sunset", 52, 13), "0 */2 * * * 30"):
        assert ticks.is_computed(entry(ours))
    for theirs in (Odd(), OddInterval(5), OddEstimate()):
        assert not ticks.is_computed(entry(theirs))


def test_policies_are_checked_when_they_are_declared() -> None:
    with pytest.raises(ImproperlyConfigured, match="missed is 'twice'"):
        entry(10, missed="twice")
    with pytest.raises(ImproperlyConfigured, match="jitter"):
        entry(10, jitter=-1)
