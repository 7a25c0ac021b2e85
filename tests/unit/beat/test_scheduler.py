"""The scheduler that other packages build on: Celery's names and what they do."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from celerylite import Celery, signals
from celerylite.beat import BeatLazyFunc, ScheduleEntry, Scheduler, SchedulingError, event_t
from celerylite.schedules import BaseSchedule, crontab, schedstate, schedule
from tests.support.beats import START, TurnedClock

HOUR_AGO = timedelta(hours=1)


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("scheduler", broker="memory:///scheduler", backend="cache+memory://", set_as_current=False)
    yield app
    app.broker.purge(["celery"])
    app.close()


class Answer(BaseSchedule):
    """Says what it is told to say."""

    def __init__(self, *answers: tuple[bool, Any]) -> None:
        super().__init__()
        self.answers = list(answers)

    def is_due(self, last_run_at: datetime) -> schedstate:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return schedstate(*answer)


def scheduler(app: Celery, **schedules: Any) -> Scheduler:
    made = Scheduler(app)
    for name, when in schedules.items():
        made.add(name=name, task=f"task.{name}", schedule=when)
    return made


def waiting(app: Celery) -> int:
    return app.broker.queue_length("celery")


# -- entries


def test_an_entry_counts_its_runs(app: Celery) -> None:
    entry = ScheduleEntry("name", "task", schedule=10, args=(1,), app=app, jitter=3)
    after = next(entry)
    assert (after.total_run_count, entry.total_run_count) == (1, 0)
    assert after.last_run_at >= entry.last_run_at
    assert (after.name, after.task, after.args, after.jitter) == ("name", "task", (1,), 3)
    assert entry._next_instance(last_run_at=START).last_run_at == START


def test_an_entry_is_updated_but_keeps_its_runs(app: Celery) -> None:
    entry = ScheduleEntry("name", "task", START, 7, 10, app=app)
    entry.update(ScheduleEntry("name", "other", schedule=20, args=(1,), enabled=False, app=app))
    assert (entry.task, entry.schedule, entry.args, entry.enabled) == ("other", schedule(20), (1,), False)
    assert (entry.last_run_at, entry.total_run_count) == (START, 7)


def test_entries_that_say_the_same_are_equal(app: Celery) -> None:
    one, same = (ScheduleEntry("n", "t", schedule=10, app=app) for _ in range(2))
    assert one == same
    assert one.editable_fields_equal(same)
    changes: list[dict[str, Any]] = [{"schedule": 11}, {"args": (1,)}, {"kwargs": {"a": 1}}, {"missed": "all"}]
    for fields in changes:
        assert one != ScheduleEntry("n", "t", **{"schedule": 10, "app": app, **fields})
    assert one != ScheduleEntry("n", "other", schedule=10, app=app)
    assert one != 5


def test_entries_can_be_pickled_copied_and_walked(app: Celery) -> None:
    entry = ScheduleEntry("n", "t", START, 3, crontab(minute=5), (1,), {"a": 2}, app=app, missed="all")
    for twin in (pickle.loads(pickle.dumps(entry)), copy.copy(entry)):
        assert twin == entry
        assert (twin.name, twin.last_run_at, twin.total_run_count) == ("n", START, 3)
    assert dict(entry)["task"] == "t"
    assert repr(entry) == "<ScheduleEntry: n t(1, a=2) <crontab: 5 * * * * (m/h/dM/MY/d)>"


def test_entries_stand_in_a_heap(app: Celery) -> None:
    entries = [ScheduleEntry(name, "t", schedule=10, app=app) for name in "ab"]
    assert sorted(event_t(1.0, 5, entry) for entry in entries)
    assert (entries[0] < entries[1]) != (entries[1] < entries[0])
    with pytest.raises(TypeError):
        entries[0] < 5  # noqa: B015 (it must raise)


def test_lazy_arguments() -> None:
    lazy = BeatLazyFunc(divmod, 7, 2)
    assert lazy() == lazy.delay() == (3, 1)
    assert BeatLazyFunc(dict, a=1)() == {"a": 1}


# -- the schedule


def test_the_schedule_of_the_settings(app: Celery) -> None:
    app.conf.beat_schedule = {"a": {"task": "task.a", "schedule": 10, "relative": True}}
    found = Scheduler(app).schedule["a"]
    assert (found.name, found.task, found.schedule.relative) == ("a", "task.a", True)


def test_a_lazy_scheduler_has_read_nothing(app: Celery) -> None:
    app.conf.beat_schedule = {"a": {"task": "task.a", "schedule": 10}}
    assert Scheduler(app, lazy=True).schedule == {}


def test_entries_that_are_gone_from_the_settings_are_dropped(app: Celery) -> None:
    made = scheduler(app, a=10, b=20)
    runs = made.schedule["b"].last_run_at
    made.merge_inplace({"b": {"task": "task.b", "schedule": 30}, "c": {"task": "task.c", "schedule": 1}})
    assert set(made.schedule) == {"b", "c"}
    assert (made.schedule["b"].schedule, made.schedule["b"].last_run_at) == (schedule(30), runs)


def test_results_that_do_not_expire_by_themselves_are_cleaned_up(app: Celery) -> None:
    assert "celery.backend_cleanup" not in Scheduler(app).schedule
    app.backend.supports_autoexpire = False
    cleanup = Scheduler(app).schedule["celery.backend_cleanup"]
    assert (cleanup.task, cleanup.schedule) == ("celery.backend_cleanup", crontab(minute=0, hour=4))
    app.conf.result_expires = 0
    assert "celery.backend_cleanup" not in Scheduler(app).schedule


def test_the_longest_sleep(app: Celery) -> None:
    assert Scheduler(app).max_interval == 300
    app.conf.beat_max_loop_interval = 7
    assert Scheduler(app).max_interval == 7
    assert Scheduler(app, max_interval=3).max_interval == 3


def test_schedules_are_compared(app: Celery) -> None:
    one, two = scheduler(app, a=10), scheduler(app, a=10)
    assert one.schedules_equal(one.schedule, two.schedule)
    assert one.schedules_equal(None, None)
    assert not one.schedules_equal(None, one.schedule)
    two.add(name="b", task="t", schedule=1)
    assert not one.schedules_equal(one.schedule, two.schedule)
    del two.schedule["a"]
    assert not one.schedules_equal(one.schedule, two.schedule)


# -- ticks


def test_a_tick_sends_what_is_due(app: Celery) -> None:
    made = scheduler(app, a=Answer((True, 10)), b=Answer((False, 30)))
    assert made.tick() == 0
    assert waiting(app) == 1
    assert made.schedule["a"].total_run_count == 1


def test_a_tick_says_how_long_to_sleep(app: Celery) -> None:
    made = scheduler(app, a=Answer((False, 30)), b=Answer((False, 20)))
    assert made.tick() == pytest.approx(20, abs=0.5)
    assert Scheduler(app).tick() == 300


@pytest.mark.parametrize("never", [None, "soon"])
def test_an_answer_that_is_no_number_means_never(app: Celery, never: Any) -> None:
    assert scheduler(app, a=Answer((False, never))).tick() == 300


def test_a_long_wait_is_cut(app: Celery) -> None:
    assert scheduler(app, a=Answer((False, 5000))).tick() == 300


def test_intervals_that_are_due(app: Celery) -> None:
    made = scheduler(app, a=10, b=20)
    for entry in made.schedule.values():
        entry.last_run_at -= HOUR_AGO
    assert [made.tick(), made.tick()] == [0, 0]
    assert waiting(app) == 2
    assert made.tick() == pytest.approx(10, abs=0.5)


def test_an_entry_that_was_added_is_noticed(app: Celery) -> None:
    made = scheduler(app, a=3600)
    made.tick()
    made.add(name="b", task="task.b", schedule=Answer((True, 10)))
    assert made.tick() == 0
    assert waiting(app) == 1


def test_a_schedule_that_raises_is_asked_again_later(app: Celery, caplog: Any) -> None:
    made = scheduler(app, bad=Answer(), good=Answer((True, 10)))
    with caplog.at_level(logging.ERROR, "celery.beat"):
        assert made.tick() == 0
        made.tick()
    assert waiting(app) == 2
    assert [record.action for record in caplog.records] == ["is_due_failed"]


def test_an_entry_that_cannot_be_sent_is_logged(app: Celery, caplog: Any) -> None:
    made = scheduler(app, bad=Answer((True, 10)))
    made.schedule["bad"].args = (object(),)
    with caplog.at_level(logging.ERROR, "celery.beat"):
        assert made.tick() == 0
    assert "Message Error: Couldn't apply scheduled task bad" in caplog.text
    with pytest.raises(SchedulingError):
        made.apply_async(made.schedule["bad"], advance=False)


def test_calling_an_entry_advances_it_if_asked(app: Celery) -> None:
    made = scheduler(app, a=10)
    made.apply_async(made.schedule["a"])
    assert made.schedule["a"].total_run_count == 1
    made.apply_async(made.schedule["a"], advance=False)
    assert made.schedule["a"].total_run_count == 1
    assert waiting(app) == 2


def test_the_class_method_that_monitoring_packages_wrap(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """They set headers in the entry before it is sent."""
    wrapped = Scheduler.apply_entry
    seen: list[Any] = []

    def wrapper(scheduler: Any, entry: Any, *args: Any, **kwargs: Any) -> Any:
        entry.options.setdefault("headers", {})["monitor"] = "on"
        seen.append(entry.name)
        return wrapped(scheduler, entry, *args, **kwargs)

    monkeypatch.setattr(Scheduler, "apply_entry", wrapper)
    headers: list[Any] = []

    def published(headers_of: list[Any] = headers, **kwargs: Any) -> None:
        headers_of.append(kwargs["headers"]["monitor"])

    signals.after_task_publish.connect(published, weak=False)
    scheduler(app, a=Answer((True, 10))).tick()
    signals.after_task_publish.disconnect(published)
    assert (seen, headers) == (["a"], ["on"])


def test_sync_by_time_and_by_number(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scheduler(app, a=Answer((True, 10)))
    synced: list[int] = []
    monkeypatch.setattr(made, "sync", lambda: synced.append(1))
    assert made.should_sync()
    made.apply_async(made.schedule["a"])
    assert len(synced) == 1
    assert not made.should_sync()
    made.apply_async(made.schedule["a"])
    assert len(synced) == 1
    made.sync_every_tasks = 2
    made.apply_async(made.schedule["a"])
    assert len(synced) == 2
    made.close()
    assert len(synced) == 3


def test_an_app_of_its_own_clock(app: Celery) -> None:
    clock = TurnedClock()
    app.now = clock.now  # type: ignore[method-assign]
    assert scheduler(app, a=10).schedule["a"].last_run_at == START
    assert datetime.now(timezone.utc) > START
