"""Celery's beat with our workers, our beat with Celery's workers, and the file of one read by the other."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from celerylite import Celery
from celerylite.beat import PersistentScheduler
from tests.support.beat_project import beat_process, entry, make_app
from tests.support.waiting import wait_for
from tests.support.worker import OURS, THEIRS, WorkerProcess

pytestmark = pytest.mark.slow

#: What says the same in the messages of both: all but ids, times and names of processes.
SAME = (
    "argsrepr", "kwargsrepr", "expires", "eta", "group", "ignore_result", "lang", "retries", "shadow", "task",
    "timelimit", "periodic_task_name", "stamps", "stamped_headers", "replaced_task_nesting",
)  # fmt: skip


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts commands of either library with the project."""
    started: list[WorkerProcess] = []

    def run(library: str, command: str, schedule: dict[str, Any], *args: str) -> WorkerProcess:
        more = ("-s", str(tmp_path / "schedule")) if command == "beat" else ()
        process = beat_process(
            tmp_path, redis_url, schedule, "-l", "INFO", *more, *args,
            library=library, command=command, name=f"p{len(started)}",
        )  # fmt: skip
        started.append(process)
        return process.start()

    yield run
    for process in started:
        process.kill_tree()


@pytest.mark.parametrize(("beat", "worker"), [(OURS, THEIRS), (THEIRS, OURS)])
def test_beat_of_one_and_a_worker_of_the_other(start: Callable[..., WorkerProcess], beat: str, worker: str) -> None:
    schedule = {"a": entry(0.3, args=["value"]), "later": entry(0.5, kwargs={"value": 7}, options={"countdown": 0.1})}
    running = start(worker, "worker", schedule, "-c", "1")
    start(beat, "beat", schedule)
    running.wait_log(r"Task beat\.echo\[.*succeeded in .*'value'", 60, count=3)
    running.wait_log(r"Task beat\.echo\[.*succeeded in .* 7$", 60, count=2)


def test_the_messages_are_the_same(start: Callable[..., WorkerProcess], redis_client: redis.Redis) -> None:
    options = {"priority": 3, "expires": 60, "headers": {"periodic_task_name": "a"}, "queue": "other"}
    schedule = {"a": entry(0.2, args=["ä"], options=options)}
    seen: dict[str, dict[str, Any]] = {}
    for library in (OURS, THEIRS):
        beat = start(library, "beat", schedule)
        raw: Any = wait_for(lambda: redis_client.lindex("other\x06\x163", 0), 30, "a message")
        beat.kill_tree()
        redis_client.delete("other\x06\x163")
        seen[library] = json.loads(raw)
    ours, theirs = seen[OURS], seen[THEIRS]
    assert ours.keys() == theirs.keys()
    assert ours["headers"].keys() == theirs["headers"].keys()
    assert ours["properties"].keys() == theirs["properties"].keys()
    assert base64.b64decode(ours["body"]) == base64.b64decode(theirs["body"])
    for name in SAME:
        if name != "expires":
            assert ours["headers"].get(name) == theirs["headers"].get(name), name
    assert ours["properties"]["priority"] == theirs["properties"]["priority"] == 3


def test_the_file_of_celerys_beat_is_taken_over(start: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    """What ran last, and how often, is known after the move."""
    schedule = {"a": entry(0.2, args=["x"]), "gone": entry(100.0), "daily": entry(86400.0)}
    theirs = start(THEIRS, "beat", schedule)
    theirs.wait_log("Sending due task a", 60, count=3)
    assert theirs.terminate() == 0
    assert list(tmp_path.glob("schedule*"))
    app = Celery("moved", broker="memory:///moved", backend="cache+memory://", set_as_current=False)
    app.conf.beat_schedule = {"a": entry(0.2), "daily": entry(86400.0), "new": entry(5.0)}
    ours = PersistentScheduler(app=app, schedule_filename=str(tmp_path / "schedule"))
    assert set(ours.schedule) == {"a", "daily", "new"}
    assert ours.schedule["a"].total_run_count >= 3
    assert ours.schedule["daily"].last_run_at < ours.schedule["a"].last_run_at <= ours.schedule["new"].last_run_at
    assert all(type(found).__module__ == "celerylite.beat" for found in ours.schedule.values())
    app.close()


def test_celerys_beat_goes_on_after_ours(start: Callable[..., WorkerProcess]) -> None:
    """The way back: it may throw our file away, but it starts."""
    schedule = {"a": entry(0.2)}
    ours = start(OURS, "beat", schedule)
    ours.wait_log("Sending due task a", 60, count=2)
    assert ours.terminate() == 0
    start(THEIRS, "beat", schedule).wait_log("Sending due task a", 60, count=3)


def test_celerys_inspect_pings_our_beat(start: Callable[..., WorkerProcess], redis_url: str) -> None:
    beat = start(OURS, "beat", {"a": entry(60.0)}, "--enable-remote-control", "-n", "celerybeat@here")
    beat.wait_log(r"beat pidbox: Connected to", 60)
    assert ". remote control -> celerybeat@here" in beat.log()
    control = make_app(THEIRS, redis_url, {}).control
    assert wait_for(lambda: control.ping(timeout=2), 30, "an answer") == [{"celerybeat@here": {"ok": "pong"}}]
    assert control.ping(timeout=1, destination=["celerybeat@there"]) == []
    assert not control.inspect(timeout=1).stats()
    assert beat.terminate() == 0
