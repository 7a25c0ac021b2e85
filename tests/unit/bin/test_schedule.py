"""`celerylite schedule`, against the entries of an app whose clock the test turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from celerylite import Celery
from celerylite.beat import Entries
from celerylite.bin.celery import celery
from celerylite.brokers.memory import MemoryBroker
from celerylite.schedules import BaseSchedule, crontab
from tests.support.beats import Beats

CODE = {"own": 10, "nightly": {"schedule": crontab(30, 2), "args": (1,)}}

Run = Callable[..., Result]


@pytest.fixture
def beats() -> Iterator[Beats]:
    project = Beats()
    yield project
    project.close()


@pytest.fixture
def app(beats: Beats) -> Celery:
    app = beats.app(CODE)
    app.__dict__["schedule_entries"] = Entries(app, clock=beats.clock.time)
    return app


@pytest.fixture
def run(app: Celery) -> Run:
    def run_it(*words: str, fails: bool = False) -> Result:
        result = CliRunner().invoke(celery, ["schedule", *words], obj=app, prog_name="celerylite")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert (result.exit_code != 0) is fails, result.output
        return result

    return run_it


def listed(run: Run) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(run("list", "--json").stdout)}


def test_the_list_shows_what_has_run_and_what_will(run: Run, beats: Beats) -> None:
    beats.start(CODE)
    beats.turn(25)
    heading, nightly, own = run("list").stdout.splitlines()
    assert heading.split("  ")[0] == "NAME"
    assert nightly.split()[:8] == ["nightly", "30", "2", "*", "*", "*", "task.nightly", "code"]
    assert "2026-03-03 02:30:00+00:00" in nightly
    assert own.split()[:4] == ["own", "@every", "10s", "task.own"]
    entry = listed(run)["own"]
    assert entry["total_run_count"] == 2
    assert entry["last_run_at"] == "2026-03-02T12:00:20+00:00"
    assert entry["next_run_at"] == "2026-03-02T12:00:30+00:00"
    assert entry["last_task_id"] in own
    assert entry["schedule"] == "@every 10s"


def test_an_added_entry_is_sent_with_all_it_was_given(run: Run, beats: Beats) -> None:
    beats.start(CODE)
    said = run(
        "add", "new", "task.new", "@every 7s", "-a", "[1]", "-k", '{"x": 2}', "--queue", "money",
        "-o", '{"priority": 3}', "--missed", "all", "--missed-limit", "5", "--start", "2026-03-02T12:00:10",
        "--end", "2026-03-02T12:01:00Z", "--jitter", "0",
    ).stdout  # fmt: skip
    assert said == "Added new: task.new, @every 7s, next 2026-03-02 12:00:10+00:00.\n"
    beats.turn(18)
    entry = listed(run)["new"]
    assert (entry["args"], entry["kwargs"]) == ([1], {"x": 2})
    assert entry["options"] == {"priority": 3, "queue": "money"}
    assert (entry["missed"], entry["source"], entry["total_run_count"]) == ("all", "stored", 2)
    beats.turn(120)
    assert listed(run)["new"]["total_run_count"] == 8


@pytest.mark.parametrize("when", ["30", "2.5", "*/5 * * * *", "@hourly", "* * * * * */10", "0 0 L * *"])
def test_times_are_written_in_many_ways(run: Run, when: str) -> None:
    run("add", "new", "task.new", when)
    assert "new" in listed(run)


def test_a_name_that_is_taken(run: Run) -> None:
    run("add", "new", "task.new", "30")
    assert "There is an entry 'new' already" in run("add", "new", "task.other", "30", fails=True).output
    run("add", "new", "task.other", "60", "--replace")
    assert listed(run)["new"]["task"] == "task.other"
    assert "entry of the code" in run("add", "own", "task.other", "30", "--replace", fails=True).output


def test_an_entry_of_the_code_is_changed_and_given_back(run: Run) -> None:
    run("change", "own", "--when", "*/5 * * * *", "--queue", "money")
    changed = listed(run)["own"]
    assert (changed["schedule"], changed["options"], changed["source"]) == (
        "*/5 * * * *",
        {"queue": "money"},
        "changed",
    )
    run("change", "own", "--task", "task.other", "-a", "[5]")
    changed = listed(run)["own"]
    assert (changed["task"], changed["args"], changed["schedule"]) == ("task.other", [5], "*/5 * * * *")
    assert run("remove", "own").stdout == "Removed own.\n"
    assert listed(run)["own"]["schedule"] == "@every 10s"
    assert "can only be disabled" in run("remove", "own", fails=True).output


def test_the_queue_goes_with_the_options_that_there_are(run: Run) -> None:
    run("add", "new", "task.new", "30", "-o", '{"priority": 3}')
    run("change", "new", "--queue", "money")
    assert listed(run)["new"]["options"] == {"priority": 3, "queue": "money"}


def test_disabled_entries_are_not_sent(run: Run, beats: Beats) -> None:
    beats.start(CODE)
    assert run("disable", "own", "nightly").stdout == "Disabled own.\nDisabled nightly.\n"
    beats.turn(30)
    assert beats.sent() == []
    assert "disabled" in run("list").stdout
    assert listed(run)["own"]["next_run_at"] is None
    run("enable", "own")
    beats.turn(15)
    assert beats.sent() == ["own"]
    run("add", "later", "task.later", "5", "--disabled")
    assert listed(run)["later"]["enabled"] is False


def test_run_now_prints_the_task_id(run: Run, beats: Beats, app: Celery) -> None:
    beats.start(CODE)
    beats.turn(1)
    task_id = run("run-now", "nightly").stdout.strip()
    entry = listed(run)["nightly"]
    assert (entry["last_task_id"], entry["total_run_count"]) == (task_id, 1)
    assert beats.sent() == ["nightly"]


def test_next_times(run: Run) -> None:
    assert run("next", "nightly", "-n", "2").stdout == (
        "2026-03-03 02:30:00+00:00  nightly\n2026-03-04 02:30:00+00:00  nightly\n"
    )
    assert [entry["name"] for entry in json.loads(run("next", "--json").stdout)] == ["own"] * 5
    run("disable", "own")
    assert run("next", "own").stdout == "Nothing is sent any more.\n"


def test_unknown_names_get_the_nearest_one(run: Run) -> None:
    for words in (["enable", "owm"], ["disable", "owm"], ["remove", "owm"], ["run-now", "owm"], ["next", "owm"]):
        assert "There is no entry 'owm'. Did you mean 'own'?" in run(*words, fails=True).output
    assert "`celerylite schedule list` shows" in run("change", "xyz", "--when", "5", fails=True).output


def test_what_cannot_be_read_is_explained(run: Run) -> None:
    assert "write five fields" in run("add", "new", "task.new", "now and then", fails=True).output
    assert "no day 30 in month 2" in run("add", "new", "task.new", "0 0 30 2 *", fails=True).output
    assert "longer than nothing" in run("add", "new", "task.new", "@every 0s", fails=True).output
    assert "Say what to change" in run("change", "own", fails=True).output
    assert "is not a date" in run("add", "new", "task.new", "5", "--start", "soon", fails=True).output
    assert sorted(listed(run)) == ["nightly", "own"]


def test_schedules_of_others_show_themselves(run: Run, app: Celery) -> None:
    class Own(BaseSchedule):
        def remaining_estimate(self, last_run_at: Any) -> timedelta:
            return timedelta(seconds=5)

        def __repr__(self) -> str:
            return "<own: five>"

    app.conf.beat_schedule["other"] = {"task": "task.other", "schedule": Own()}
    assert listed(run)["other"]["schedule"] == "<own: five>"


def test_schedulers_of_others_are_not_changed_here(run: Run, app: Celery) -> None:
    app.conf.beat_scheduler = "celery.beat:Scheduler"
    assert "does not read the entries" in run("disable", "own").stderr
    app.conf.beat_scheduler = "no.such:Scheduler"
    assert run("enable", "own").stderr == ""


class Forgetful(MemoryBroker):
    """A broker that has no place for notes, as most of kombu's."""

    def notebook(self, name: str) -> None:
        return None


def test_where_nothing_can_be_kept() -> None:
    app = Celery("none", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.broker = Forgetful(app.connection_for_write())
    result = CliRunner().invoke(celery, ["schedule", "list"], obj=app, prog_name="celerylite")
    assert result.exit_code == 1
    assert "can keep schedule entries" in result.output
