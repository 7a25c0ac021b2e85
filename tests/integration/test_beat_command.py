"""`celerylite beat` and `celerylite worker -B` as processes: banner, log lines, signals, files, and what is sent."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.beat_project import beat_process, entry
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.slow

SCHEDULE = {"quick": entry(0.3, args=["q"]), "slow": entry(3600.0, args=["s"])}


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts commands of the project; what is left of them ends with the test."""
    started: list[WorkerProcess] = []

    def run(*args: str, schedule: dict[str, Any] = SCHEDULE, url: str = redis_url, **options: Any) -> WorkerProcess:
        process = beat_process(tmp_path, url, schedule, *args, name=f"p{len(started)}", **options)
        process.cwd = tmp_path
        started.append(process)
        return process.start()

    yield run
    for process in started:
        process.kill_tree()


def test_the_banner_and_the_log_lines(start: Callable[..., WorkerProcess], tmp_path: Path, redis_url: str) -> None:
    beat = start("-l", "DEBUG", "-s", "here", "--max-interval", "2.5")
    beat.wait_log(r"beat\.echo sent\. id->[-0-9a-f]{36}")
    assert beat.terminate() == 0
    log = beat.log()
    assert re.search(r"^celerylite beat v5\.7\.0 .* is starting\.$", log, re.MULTILINE)
    port = redis_url.split("//")[1]
    assert f"""
Configuration ->
    . broker -> redis://:**@{port}
    . loader -> celerylite.loaders.app.AppLoader
    . scheduler -> celerylite.beat.PersistentScheduler
    . db -> here
    . logfile -> [stderr]@%DEBUG
    . maxinterval -> 2.50 seconds (2.5s)
""" in log
    for line in (
        "beat: Starting...",
        "beat: Ticking with max interval->2.50 seconds",
        "<ScheduleEntry: slow beat.echo('s') <freq: 1.00 hour>",
        "Scheduler: Sending due task quick (beat.echo)",
        "beat: Waking up ",
        "beat: Synchronizing schedule...",
    ):
        assert line in log
    assert list(tmp_path.glob("here*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_on_a_signal_and_removes_its_pid_file(
    start: Callable[..., WorkerProcess], tmp_path: Path, number: int
) -> None:
    beat = start("-l", "INFO", "--pidfile", "beat.pid")
    beat.wait_log("beat: Starting")
    assert int((tmp_path / "beat.pid").read_text()) == beat.pid
    second = start("--pidfile", "beat.pid")
    assert second.wait() != 0
    assert "already exists" in second.log()
    beat.signal(number)
    assert beat.wait() == 0
    assert not (tmp_path / "beat.pid").exists()


def test_in_the_background(start: Callable[..., WorkerProcess], tmp_path: Path, redis_client: redis.Redis) -> None:
    assert start("--detach", "--pidfile", "beat.pid", "-f", "beat.log", "-l", "INFO").wait() == 0
    pid = int(wait_for(lambda: (tmp_path / "beat.pid").exists() and (tmp_path / "beat.pid").read_text(), 20))
    wait_for(lambda: redis_client.llen("celery"), 20, "a tick")
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not (tmp_path / "beat.pid").exists(), 20, "its end")
    assert "Scheduler: Sending due task quick (beat.echo)" in (tmp_path / "beat.log").read_text()


def test_another_scheduler(start: Callable[..., WorkerProcess], redis_client: redis.Redis) -> None:
    beat = start("-l", "INFO", "-S", "celery.beat:Scheduler")
    beat.wait_log("Sending due task quick", count=3)
    assert ". scheduler -> celerylite.beat.Scheduler" in beat.log()
    assert redis_client.llen("celery") >= 3
    assert redis_client.keys("celerylite.notebook*") == []


def test_a_broker_that_comes_late(start: Callable[..., WorkerProcess], make_redis: Any) -> None:
    server = make_redis(appendonly=True)
    beat = start("-l", "INFO", url=server.url(0))
    beat.wait_log("Sending due task quick")
    server.kill()
    beat.wait_log(r"beat: Connection error: .*\. Trying again in 1\.0 seconds")
    server.start()
    count = beat.log().count("Sending due task quick")
    beat.wait_log("Sending due task quick", count=count + 3)
    assert beat.terminate() == 0


def test_a_worker_with_beat_inside(start: Callable[..., WorkerProcess], tmp_path: Path) -> None:
    worker = start("-B", "-l", "INFO", "-c", "1", "-s", "inside", command="worker")
    worker.wait_ready()
    worker.wait_log(r"Beat\] Scheduler: Sending due task quick")
    worker.wait_log(r"Task beat\.echo\[.*\] succeeded in", count=2)
    # The processes in the order in which they were started: control, beat, tasks.
    os.kill(worker.children()[1], signal.SIGKILL)
    worker.wait_log(r"Beat \(pid \d+\) has ended with signal 9 \(SIGKILL\); starting it anew")
    count = worker.log().count("succeeded in")
    worker.wait_log("succeeded in", count=count + 3)
    assert worker.terminate() == 0
    assert worker.tree() == []
    assert list(tmp_path.glob("inside*"))


def test_beat_ends_when_its_worker_is_killed(start: Callable[..., WorkerProcess]) -> None:
    worker = start("-B", "-l", "INFO", "-c", "1", command="worker")
    worker.wait_log(r"Beat\] Scheduler: Sending due task quick")
    worker.signal(signal.SIGKILL)
    wait_for(lambda: not worker.tree(), 30, "all its processes to end")


def test_ctrl_c_for_a_worker_with_beat_inside(start: Callable[..., WorkerProcess]) -> None:
    """The whole group gets SIGINT, and beat SIGTERM from its parent on top of it."""
    worker = start("-B", "-l", "INFO", "-c", "1", command="worker")
    worker.wait_log(r"Beat\] Scheduler: Sending due task quick", count=2)
    worker.signal_group(signal.SIGINT)
    assert worker.wait() == 0
    assert "Traceback" not in worker.log()
    assert worker.tree() == []


def test_a_schedule_that_is_wrong_costs_the_worker_only_its_beat(start: Callable[..., WorkerProcess]) -> None:
    schedule = {"wrong": {"task": "beat.echo", "schedule": 1.0, "whenever": True}}
    worker = start("-B", "-l", "INFO", "-c", "1", schedule=schedule, command="worker")
    worker.wait_ready()
    (line,) = worker.wait_log(r"CRITICAL/Beat\] beat: Nothing is sent until the worker is started anew: .*$")
    assert "wrong" in line.group()
    assert worker.terminate() == 0
    assert "Traceback" not in worker.log()


def test_beat_inside_a_worker_of_one_process(start: Callable[..., WorkerProcess]) -> None:
    worker = start("-B", "-l", "INFO", "-P", "solo", command="worker")
    worker.wait_log("succeeded in", count=3)
    assert worker.terminate() == 0


def test_entries_are_changed_while_it_runs(
    start: Callable[..., WorkerProcess], redis_url: str, redis_client: redis.Redis
) -> None:
    from celerylite import Celery

    beats = [start("-l", "INFO") for _ in range(2)]
    for beat in beats:
        beat.wait_log("beat: Starting")
    with Celery("beat_project", broker=redis_url, backend=redis_url, set_as_current=False) as app:
        app.conf.beat_schedule = SCHEDULE
        entries = app.schedule_entries
        entries.add("added", "beat.echo", 0.2, args=["added"])
        wait_for(lambda: entries.get("added").total_run_count >= 3, 20, "the new entry")
        entries.disable("quick")
        wait_for(lambda: all("beat: Schedule changed." in beat.log() for beat in beats), 20, "both to have seen it")
        entries.remove("added")
        wait_for(lambda: all(beat.log().count("beat: Schedule changed.") >= 2 for beat in beats), 20, "both again")
        count = redis_client.llen("celery")
        beats[0].wait_log("beat: Schedule changed.", count=2)
        assert redis_client.llen("celery") == count
    ids = [json.loads(message)["headers"]["id"] for message in redis_client.lrange("celery", 0, -1)]  # type: ignore[union-attr]
    assert len(ids) == len(set(ids))
