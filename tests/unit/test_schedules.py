"""Schedules are values for now: a project's settings can name them."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timedelta

import pytest

from celerylite.beat import Scheduler
from celerylite.schedules import crontab, schedule


def test_crontabs_are_compared_by_their_fields() -> None:
    assert crontab(minute=5) == crontab(minute="5") == crontab(minute=[5])
    assert crontab(minute=5) != crontab(hour=5)
    assert len({crontab(minute=5), crontab(minute="5")}) == 1


def test_crontab_from_a_line() -> None:
    assert crontab.from_string("1 2 3 4 5") == crontab(1, 2, day_of_month=3, month_of_year=4, day_of_week=5)


def test_schedules_survive_pickle_and_copy() -> None:
    for value in (crontab(minute="*/5", day_of_week="mon"), schedule(30.0), schedule(timedelta(hours=1))):
        assert pickle.loads(pickle.dumps(value)) == value == copy.copy(value)


def test_reprs_are_celerys() -> None:
    assert repr(crontab(minute=5, hour="*/3")) == "<crontab: 5 */3 * * * (m/h/dM/MY/d)>"
    assert repr(schedule(30)) == "<freq: 30.00 seconds>"


def test_whether_one_is_due_is_not_known_yet() -> None:
    with pytest.raises(NotImplementedError, match="no beat yet"):
        crontab().is_due(datetime.now())
    with pytest.raises(NotImplementedError, match="no beat yet"):
        Scheduler()
