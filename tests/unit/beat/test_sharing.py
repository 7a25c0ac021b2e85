"""Several beats, one schedule: every tick is sent once."""

from __future__ import annotations

import logging
import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from celerylite import signals
from celerylite.beat import BeatLazyFunc, SharedScheduler, ticks
from celerylite.beat.agenda import BATCH
from celerylite.schedules import BaseSchedule, schedstate
from tests.support.beats import START, Beats, ago

NOON = START.timestamp()


def test_an_interval_is_sent_at_each_of_its_ticks(beats: Beats) -> None:
    beats.start({"a": 10})
    beats.turn(35)
    assert beats.sent() == ["a", "a", "a"]


def test_the_first_tick_of_a_new_entry_is_an_interval_away(beats: Beats) -> None:
    beats.start({"a": 10})
    beats.turn(9)
    assert beats.sent() == []


def test_the_message_is_that_of_the_entry(beats: Beats) -> None:
    entry = {"schedule": 10, "args": (1, 2), "kwargs": {"x": 3}, "options": {"priority": 7, "headers": {"h": "v"}}}
    beats.start({"a": entry})
    beats.turn(10)
    (message,) = beats.messages()
    assert message.body == b'[[1, 2], {"x": 3}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
    assert message.properties["priority"] == 7
    assert message.headers["h"] == "v"
    assert message.headers["celery_beat_task"] is True
    assert message.headers["id"] == ticks.task_id("beats", "a", NOON + 10)


def test_two_beats_send_each_tick_once(beats: Beats) -> None:
    schedule = {"a": 10, "b": 7, "c": "* * * * *"}
    for _ in range(3):
        beats.start(schedule)
    beats.turn(3600)
    assert Counter(beats.sent()) == {"a": 360, "b": 514, "c": 60}


def test_beats_that_start_at_other_times_agree(beats: Beats) -> None:
    beats.start({"a": 10})
    beats.turn(4)
    beats.start({"a": 10})
    beats.turn(13)
    beats.start({"a": 10})
    beats.turn(83)
    messages = beats.messages()
    assert [message.headers["id"] for message in messages] == [
        ticks.task_id("beats", "a", NOON + 10 * n) for n in range(1, 11)
    ]


def test_another_takes_over_when_one_is_killed(beats: Beats) -> None:
    first, second = beats.start({"a": 10}), beats.start({"a": 10})
    beats.turn(100)
    beats.kill(random.choice([first, second]))
    beats.turn(100)
    assert len(beats.sent()) == 20


def test_who_comes_second_waits_behind_and_comes_to_the_front_when_the_first_dies(beats: Beats) -> None:
    first, second = beats.start({"a": 10}), beats.start({"a": 10})
    prepared: list[Any] = []
    signals.before_task_publish.connect(lambda **kwargs: prepared.append(kwargs), weak=False, sender="task.a")
    beats.turn(100, step=0.05)
    # Both prepared the first tick, one of them in vain; after that one has looked on.
    assert len(prepared) == 11
    beats.kill(first)
    beats.turn(100, step=0.05)
    assert len(prepared) == 21
    assert len(beats.sent()) == 20
    beats.kill(second)


def test_ten_thousand_random_steps_of_beats_that_come_and_go(beats: Beats) -> None:
    """Every tick of each entry is sent exactly once, in order, whatever beats do."""
    schedule = {"a": 1, "b": 2.5, "c": "* * * * *"}
    schedule = {name: {"schedule": when, "missed": "all", "missed_limit": 10_000} for name, when in schedule.items()}
    beats.start(schedule)
    draw = random.Random(4)
    for _ in range(2000):
        beats.clock.turn(draw.choice([0.01, 0.2, 0.5, 1.3]))
        for scheduler in draw.sample(beats.running, draw.randrange(len(beats.running) + 1)):
            scheduler.tick()
        if draw.random() < 0.02:
            beats.start(schedule)
        if len(beats.running) > 1 and draw.random() < 0.02:
            beats.kill(draw.choice(beats.running))
    beats.turn(2)
    beats.tick()
    passed = beats.clock.time() - NOON
    ids: dict[str, list[str]] = {}
    for message in beats.messages():
        ids.setdefault(message.headers["task"][5:], []).append(message.headers["id"])
    assert ids["a"] == [ticks.task_id("beats", "a", NOON + n) for n in range(1, int(passed) + 1)]
    assert ids["b"] == [ticks.task_id("beats", "b", NOON + 2.5 * n) for n in range(1, int(passed / 2.5) + 1)]
    assert ids["c"] == [ticks.task_id("beats", "c", NOON + 60 * n) for n in range(1, int(passed / 60) + 1)]


# -- missed


@pytest.mark.parametrize(("missed", "count"), [("skip", 0), ("once", 1), ("all", 6)])
def test_what_was_missed_while_no_beat_ran(beats: Beats, missed: str, count: int) -> None:
    schedule = {"a": {"schedule": 600, "missed": missed}}
    beats.kill(beats.start(schedule))
    beats.clock.turn(3650)
    beats.start(schedule)
    assert len(beats.sent()) == count
    beats.turn(600)
    assert len(beats.sent()) == 1


def test_a_cron_entry_past_its_deadline_waits_for_the_next_time(beats: Beats) -> None:
    schedule = {"a": "5 * * * *", "b": 300}
    beats.kill(beats.start(schedule))
    beats.clock.turn(1000)
    beats.start(schedule, conf={"beat_cron_starting_deadline": 60})
    assert beats.sent() == ["b"]


# -- editing the schedule in the program


def test_an_entry_that_is_disabled_is_not_sent(beats: Beats) -> None:
    beats.start({"a": {"schedule": 10, "enabled": False}, "b": 10})
    beats.turn(30)
    assert beats.sent() == ["b", "b", "b"]


def test_an_entry_added_to_the_scheduler_is_seen(beats: Beats) -> None:
    scheduler = beats.start({})
    beats.turn(5)
    scheduler.add(name="new", task="task.new", schedule=10)
    beats.turn(12)
    assert beats.sent() == ["new"]


def test_a_changed_schedule_goes_on_from_the_last_tick(beats: Beats) -> None:
    first = beats.start({"a": 10})
    beats.turn(10)
    beats.kill(first)
    beats.start({"a": 60})
    beats.turn(60)
    messages = beats.messages()
    assert [message.headers["id"] for message in messages] == [
        ticks.task_id("beats", "a", NOON + 10), ticks.task_id("beats", "a", NOON + 70)
    ]  # fmt: skip


def test_what_other_packages_read_of_an_entry(beats: Beats) -> None:
    scheduler, other = beats.start({"a": 10}), beats.start({"a": 10})
    beats.turn(31)
    for each in (scheduler, other):
        entry = each.schedule["a"]
        assert (entry.total_run_count, entry.last_run_at) in [(3, START + timedelta(seconds=30))]


# -- errors


def test_an_entry_that_cannot_be_sent_does_not_stop_the_others(beats: Beats, caplog: Any) -> None:
    beats.start({"bad": {"schedule": 10, "args": (object(),)}, "good": 10})
    with caplog.at_level(logging.ERROR, "celery.beat"):
        beats.turn(30)
    assert beats.sent() == ["good"] * 3
    errors = [record for record in caplog.records if getattr(record, "action", "") == "message_error"]
    assert len(errors) == 3
    assert "Couldn't apply scheduled task bad" in errors[0].message


class Broken(BaseSchedule):
    def is_due(self, last_run_at: datetime) -> schedstate:
        raise RuntimeError("no idea")


def test_a_schedule_that_raises_does_not_stop_the_others(beats: Beats, caplog: Any) -> None:
    beats.start({"bad": Broken(), "good": 10}, max_interval=10)
    with caplog.at_level(logging.ERROR, "celery.beat"):
        beats.turn(30)
    assert beats.sent() == ["good"] * 3
    assert len([record for record in caplog.records if getattr(record, "action", "") == "is_due_failed"]) == 4


def test_a_lazy_argument_that_raises_costs_one_tick(beats: Beats) -> None:
    answers = iter([1, 2])
    beats.start({"a": {"schedule": 10, "args": (BeatLazyFunc(next, answers),)}})
    beats.turn(40)
    assert [message.body[:4] for message in beats.messages()] == [b"[[1]", b"[[2]"]


def test_a_broker_that_is_away_costs_nothing(beats: Beats, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    scheduler = beats.start({"a": {"schedule": 10, "missed": "all"}})
    beats.turn(10)
    published = scheduler.ledger.place.publish_once

    def away(claims: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(type(scheduler.ledger), "publish", lambda self, claims: away(claims))
    with caplog.at_level(logging.ERROR, "celery.beat"):
        beats.turn(30)
    assert "Connection error: away. Trying again in" in caplog.text
    assert beats.sent() == ["a"]
    monkeypatch.setattr(type(scheduler.ledger), "publish", lambda self, claims: published(claims))
    beats.turn(10)
    assert beats.sent() == ["a"] * 4


def test_an_answer_that_was_lost_is_no_second_message(beats: Beats, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = beats.start({"a": 10})
    publish = type(scheduler.ledger).publish

    def lost(self: Any, claims: Any) -> Any:
        publish(self, claims)
        raise OperationalError("the answer was lost")

    monkeypatch.setattr(type(scheduler.ledger), "publish", lost)
    beats.turn(10)
    monkeypatch.setattr(type(scheduler.ledger), "publish", publish)
    beats.turn(20)
    assert beats.sent() == ["a"] * 3


def test_notes_that_are_lost_are_written_anew(beats: Beats) -> None:
    """Somebody flushed the broker: the schedule goes on."""
    scheduler = beats.start({"a": 10})
    beats.start({"a": 10})
    beats.turn(25)
    scheduler.ledger.runs.change(drop=["a"])
    beats.turn(20)
    assert beats.sent() == ["a"] * 4


def test_a_note_that_cannot_be_read_is_replaced(beats: Beats) -> None:
    first = beats.start({"a": 10})
    first.ledger.runs.change({"a": b"what?", "b": b'{"no": 1}'})
    beats.kill(first)
    beats.start({"a": 10, "b": 10})
    beats.turn(20)
    assert Counter(beats.sent()) == {"a": 2, "b": 2}


def test_notes_of_entries_that_are_long_gone_are_deleted(beats: Beats) -> None:
    first = beats.start({"a": 10, "b": 10})
    beats.kill(first)
    beats.clock.turn(700 * 86400)
    beats.kill(beats.start({"a": 10}))
    assert set(first.ledger.runs.read()[1]) == {"a", "b"}
    beats.clock.turn(101 * 86400)
    beats.start({"a": 10})
    assert set(first.ledger.runs.read()[1]) == {"a"}


def test_a_task_that_runs_eagerly_counts_as_sent(beats: Beats) -> None:
    app = beats.app({"a": 10}, task_always_eager=True)
    ran: list[int] = []
    app.task(name="task.a", shared=False)(lambda: ran.append(1))
    scheduler = beats.start(app=app)
    beats.turn(30)
    assert (len(ran), scheduler.schedule["a"].total_run_count, beats.sent()) == (3, 3, [])


# -- clocks


def test_a_clock_that_jumps_forward_misses_ticks(beats: Beats, caplog: Any) -> None:
    beats.start({"once": 10, "skip": {"schedule": 3600, "missed": "skip"}, "all": {"schedule": 1800, "missed": "all"}})
    beats.turn(9)
    beats.clock.jump(7200)
    beats.turn(2)
    assert Counter(beats.sent()) == {"once": 1, "skip": 1, "all": 4}
    (record,) = [record for record in caplog.records if getattr(record, "action", "") == "clock_jump"]
    assert "The clock has jumped forward by 2.00 hours" in record.message


def test_a_clock_that_is_put_back_sends_nothing_twice(beats: Beats, caplog: Any) -> None:
    beats.start({"cron": "*/10 * * * *", "interval": 10})
    beats.turn(3600)
    beats.sent()
    beats.clock.jump(-1800)
    beats.turn(1800)
    # The calendar's half hour was done; an interval goes on.
    assert Counter(beats.sent()) == {"interval": 179}
    assert "The clock has jumped back by 30.00 minutes" in caplog.text
    beats.turn(600)
    assert Counter(beats.sent()) == {"cron": 1, "interval": 60}


def test_small_steps_of_the_clock_are_nothing(beats: Beats, caplog: Any) -> None:
    beats.start({"a": 10})
    for step in (0.5, -0.7, 1.0):
        beats.turn(20)
        beats.clock.jump(step)
    beats.turn(20)
    assert len(beats.sent()) == 8
    assert caplog.text == ""


# -- many


def test_more_than_a_batch_at_a_time(beats: Beats) -> None:
    beats.start({f"e{n}": 10 for n in range(3 * BATCH + 1)})
    beats.turn(10)
    assert len(beats.sent()) == 3 * BATCH + 1


def test_beat_wakes_up_for_the_next_tick_and_looks_every_second(beats: Beats) -> None:
    scheduler = beats.start({"a": 10})
    assert scheduler.tick() == 1.0
    beats.turn(9.75, step=9.75)
    assert scheduler.tick() == pytest.approx(0.25)


def test_a_short_max_interval_is_kept(beats: Beats) -> None:
    assert beats.start({"a": 10}, max_interval=0.5).tick() == 0.5


# -- subclasses


class Chatty(SharedScheduler):
    """Sends each entry three times, as packages for tenants do."""

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        for _ in range(3):
            super().apply_async(entry, producer=producer, advance=False, **kwargs)


def test_a_subclass_may_send_several_messages_for_a_tick(beats: Beats) -> None:
    for _ in range(2):
        beats.start({"a": 10}, cls=Chatty)
    beats.turn(30)
    messages = beats.messages()
    assert len(messages) == 9
    assert len({message.headers["id"] for message in messages}) == 9


class EverySecond(BaseSchedule):
    """As others write them: due a second after the last run."""

    def is_due(self, last_run_at: datetime) -> schedstate:
        left = 1.0 - (self.now() - last_run_at).total_seconds()
        return schedstate(left <= 0, 1.0 if left <= 0 else left)


def test_schedules_of_others_are_asked(beats: Beats) -> None:
    for _ in range(3):
        beats.start({"a": EverySecond(nowfun=beats.clock.now)})
    beats.turn(20)
    assert beats.sent() == ["a"] * 20


def test_an_entry_keeps_its_last_run_from_before(beats: Beats) -> None:
    beats.start({"a": {"schedule": 600, "last_run_at": ago(seconds=590)}})
    beats.turn(10)
    assert beats.sent() == ["a"]
