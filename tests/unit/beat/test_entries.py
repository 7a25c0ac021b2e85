"""The schedule at run time: what the API writes, beats do."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from celerylite import Celery
from celerylite.beat import Entries, UnknownEntry, ticks
from celerylite.exceptions import ImproperlyConfigured
from celerylite.schedules import BaseSchedule, crontab, schedule
from tests.support.beats import START, Beats

CODE = {"own": 10}


@pytest.fixture
def entries(beats: Beats) -> Entries:
    return Entries(beats.app(CODE), clock=beats.clock.time)


def test_an_entry_that_is_added_is_sent_by_running_beats(beats: Beats, entries: Entries) -> None:
    for _ in range(2):
        beats.start(CODE)
    beats.turn(5)
    entries.add("new", "task.new", 7, args=(1,), kwargs={"x": 2}, options={"priority": 3})
    beats.turn(15)
    assert sorted(beats.sent()) == ["new", "new", "own", "own"]


def test_the_first_tick_of_an_added_entry_lies_ahead(beats: Beats, entries: Entries) -> None:
    entries.add("daily", "task.daily", crontab(minute=0, hour=0))
    beats.start(CODE)
    beats.turn(12 * 3600 - 1, step=0.5 * 12 * 3600 - 0.5)
    assert "daily" not in beats.sent()
    beats.turn(1)
    assert "daily" in beats.sent()


def test_every_kind_of_schedule_can_be_added(entries: Entries) -> None:
    for number, when in enumerate([5, 2.5, timedelta(hours=1), "*/5 * * * *", "@hourly", crontab(hour=3), schedule(9)]):
        assert entries.add(f"e{number}", "task.x", when).schedule


def test_a_schedule_that_cannot_be_stored_is_refused(entries: Entries) -> None:
    class Own(BaseSchedule):
        pass

    with pytest.raises(TypeError):
        entries.add("new", "task.new", Own())
    with pytest.raises(ValueError):
        entries.add("new", "task.new", "every now and then")
    with pytest.raises(TypeError, match="an entry has no fields whenever"):
        entries.add("new", "task.new", 10, whenever=True)
    with pytest.raises(ImproperlyConfigured):
        entries.add("new", "task.new", 10, missed="twice")
    assert [view.name for view in entries.list()] == ["own"]


def test_an_entry_is_changed(beats: Beats, entries: Entries) -> None:
    beats.start(CODE)
    entries.add("new", "task.new", 5)
    beats.turn(11)
    entries.change("new", schedule=20, args=(1,))
    beats.turn(20)
    messages = [message for message in beats.messages() if message.headers["task"] == "task.new"]
    assert [message.body[:4] for message in messages] == [b"[[],", b"[[],", b"[[1]"]


def test_an_entry_of_the_code_is_changed_and_becomes_itself_again(beats: Beats, entries: Entries) -> None:
    beats.start(CODE)
    assert entries.change("own", schedule=2).source == "changed"
    beats.turn(11)
    assert len(beats.sent()) == 5
    entries.remove("own")
    assert entries.get("own").source == "code"
    beats.turn(20)
    assert len(beats.sent()) == 2


def test_an_entry_is_disabled_and_enabled(beats: Beats, entries: Entries) -> None:
    """What passed meanwhile is not made up for."""
    beats.start(CODE)
    beats.turn(11)
    assert entries.disable("own").enabled is False
    assert entries.get("own").next_run_at is None
    beats.turn(30)
    assert beats.sent() == ["own"]
    entries.enable("own")
    beats.turn(5)
    assert beats.sent() == []
    beats.turn(5)
    assert beats.sent() == ["own"]


def test_an_entry_is_removed(beats: Beats, entries: Entries) -> None:
    beats.start(CODE)
    entries.add("new", "task.new", 5)
    beats.turn(6)
    entries.remove("new")
    beats.turn(30)
    assert beats.sent().count("new") == 1
    assert [view.name for view in entries.list()] == ["own"]


def test_an_entry_that_is_removed_under_a_beat_that_lags_is_sent_no_more_and_not_twice(
    beats: Beats, entries: Entries
) -> None:
    """The second beat knows neither of the last ticks nor, yet, of the removal."""
    first, second = beats.start(CODE), beats.start(CODE)
    entries.add("new", "task.new", 0.3)
    beats.turn(1.1, step=1.1)
    beats.kill(second)
    beats.turn(0.7, step=0.1)
    entries.remove("new")
    beats.kill(first)
    beats.running.append(second)
    beats.turn(5, step=0.1)
    ids = [message.headers["id"] for message in beats.messages()]
    assert len(ids) == len(set(ids))


def test_what_stands_in_the_code_cannot_be_removed_nor_added(entries: Entries) -> None:
    with pytest.raises(ValueError, match="can only be disabled"):
        entries.remove("own")
    with pytest.raises(ValueError, match="is an entry of the code"):
        entries.add("own", "task.own", 10)


def test_unknown_entries(entries: Entries) -> None:
    for call in (entries.get, entries.enable, entries.disable, entries.remove, entries.run_now, entries.next):
        with pytest.raises(UnknownEntry, match="there is no schedule entry 'nobody'"):
            call("nobody")


def test_the_list(beats: Beats, entries: Entries) -> None:
    entries.add("new", "task.new", "0 * * * *", jitter=0, missed="skip")
    beats.start(CODE)
    beats.turn(25)
    new, own = entries.list()
    assert (own.name, own.task, own.source, own.total_run_count) == ("own", "task.own", "code", 2)
    assert own.last_run_at == START + timedelta(seconds=20)
    assert own.next_run_at == START + timedelta(seconds=30)
    assert own.last_task_id == ticks.task_id("beats", "own", own.last_run_at.timestamp())
    assert (new.name, new.source, new.missed) == ("new", "stored", "skip")
    assert (new.total_run_count, new.last_run_at) == (0, None)
    assert new.next_run_at == START + timedelta(hours=1)
    assert new.schedule == crontab(minute=0)


def test_the_list_before_any_beat_has_run(entries: Entries) -> None:
    (own,) = entries.list()
    assert own.next_run_at == START + timedelta(seconds=10)


def test_the_next_times(beats: Beats, entries: Entries) -> None:
    beats.start(CODE)
    beats.turn(15)
    assert entries.next("own", 3) == [START + timedelta(seconds=n) for n in (20, 30, 40)]
    entries.disable("own")
    assert entries.next("own") == []


def test_an_entry_is_run_beside_its_schedule(beats: Beats, entries: Entries) -> None:
    beats.start(CODE)
    beats.turn(15)
    result = entries.run_now("own")
    assert [message.headers["id"] for message in beats.messages()][-1] == result.id
    view = entries.get("own")
    assert (view.total_run_count, view.last_task_id) == (2, result.id)
    beats.turn(5)
    assert beats.sent() == ["own"]


def test_a_stored_entry_that_this_release_cannot_read_is_logged(beats: Beats, entries: Entries, caplog: Any) -> None:
    entries._ledger().entries.change({"odd": b'{"task": "x", "schedule": "@reboot"}', "odder": b"{"})
    with caplog.at_level(logging.ERROR, "celery.beat"):
        beats.start(CODE)
    assert [record.args[0] for record in caplog.records if record.args] == ["odd", "odder"]  # type: ignore[index]
    beats.turn(10)
    assert beats.sent() == ["own"]


def test_changes_of_entries_that_only_other_programs_have_are_left_alone(beats: Beats, entries: Entries) -> None:
    entries.disable("own")
    beats.start({"other": 10})
    beats.turn(10)
    assert beats.sent() == ["other"]


def test_a_broker_that_cannot_store_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    from celerylite.brokers.memory import MemoryBroker

    monkeypatch.setattr(MemoryBroker, "notebook", lambda self, name: None)
    app = Celery("none", broker="memory://", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="Redis and SQLite can"):
        app.schedule_entries.list()


def test_an_entry_of_the_code_that_is_wrong_is_named_at_start(beats: Beats) -> None:
    wrong = {"leap": {"schedule": "0 0 30 2 *"}, "fields": {"schedule": 10, "shedule": 5}}
    for name, fields in wrong.items():
        with pytest.raises(ImproperlyConfigured, match=f"Entry '{name}' of the schedule"):
            beats.start({name: fields, "right": 10})


def test_a_line_that_is_no_schedule_is_refused_where_it_is_added(beats: Beats) -> None:
    app = beats.app({})
    with pytest.raises(ValueError, match="there is no day 31 in month 4"):
        app.add_periodic_task("0 0 31 4 *", app.signature("task.x"))
