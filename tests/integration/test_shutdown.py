"""How a worker ends: what runs is finished or given back, what waits is back in the queue at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site
from tests.support.keys import broker_keys_with
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

needs_ours = pytest.mark.skipif(OURS == THEIRS, reason="Celery itself does not do this")

POOLS = ["prefork", "threads", "solo"]


class Scene:
    """One running task that waits for its gate, and five more calls behind it."""

    def __init__(self, site: Site, pool: str = "prefork", task: str = "t.work", **options: Any) -> None:
        self.site = site
        self.worker: WorkerProcess = site.worker("-P", pool, "-c", "1", signals="worker", **options)
        self.client = site.client()
        self.running = self.client.tasks[task].delay("gate")
        site.ledger.wait("start", self.running.id)
        self.waiting = [self.client.tasks[task].delay() for _ in range(5)]
        # Delayed calls are on their way too.
        self.later = self.client.tasks[task].apply_async(countdown=60)

    def open_once(self, log_line: str) -> None:
        """Let the running task end after the worker has said `log_line`."""
        self.worker.wait_log(log_line)
        self.site.open("gate")

    def assert_queue(self, *, running_too: bool = False) -> None:
        """All calls that did not start are in the queue, each once, oldest first; nobody holds anything."""
        ids = [result.id for result in ([self.running] if running_too else []) + self.waiting]
        queue = self.site.redis.lrange("celery", 0, -1)[::-1]
        found = [task_id for raw in queue for task_id in ids if f'"id": "{task_id}"'.encode() in raw]
        assert sorted(found) == sorted(ids)
        assert found == ids or OURS == THEIRS  # Celery restores them in any order
        for task_id in ids:
            assert broker_keys_with(self.site.redis, task_id) == ["celery"]
        assert len(broker_keys_with(self.site.redis, self.later.id)) == 1


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_warm(site: Site, pool: str, signum: int) -> None:
    scene = Scene(site, pool)
    scene.worker.signal(signum)
    scene.open_once("Warm shutdown")
    code = scene.worker.wait(10)
    assert code == (1 if OURS == THEIRS and signum == signal.SIGINT else 0)
    assert scene.running.get(timeout=1) == "worked"
    assert len(site.ledger.starts()) == 1
    scene.assert_queue()
    assert scene.worker.tree() == []


@needs_ours
@pytest.mark.parametrize("pool", POOLS)
def test_what_waits_is_back_in_the_queue_at_once(site: Site, pool: str) -> None:
    """Not when the running task ends: another worker may take it now."""
    scene = Scene(site, pool)
    scene.worker.signal(signal.SIGTERM)
    scene.worker.wait_log("Warm shutdown")
    wait_for(lambda: site.redis.llen("celery") == 5, 5, "five messages in the queue")
    scene.assert_queue()
    site.open("gate")
    assert scene.worker.wait(10) == 0


@pytest.mark.parametrize("pool", POOLS)
def test_an_idle_worker_ends_quickly(site: Site, pool: str) -> None:
    worker = site.worker("-P", pool, "-c", "2")
    began = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - began < (8 if OURS == THEIRS else 5)
    assert worker.tree() == []


@pytest.mark.parametrize("pool", ["prefork"] if OURS == THEIRS else POOLS)
@pytest.mark.parametrize("signals", ["QUIT", "TERM QUIT", "INT INT"] + ([] if OURS == THEIRS else ["TERM TERM"]))
def test_cold_gives_late_tasks_back(site: Site, pool: str, signals: str) -> None:
    scene = Scene(site, pool, "t.work_late")
    first, *second = signals.split()
    scene.worker.signal(getattr(signal, f"SIG{first}"))
    if second:
        scene.worker.wait_log("Warm shutdown")
        scene.worker.signal(getattr(signal, f"SIG{second[0]}"))
    scene.worker.wait(10)  # although the gate stays shut
    scene.assert_queue(running_too=True)
    assert "Cold shutdown" in scene.worker.log() or signals == "INT INT"
    assert scene.worker.tree() == []
    assert scene.running.state == "PENDING"


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork"] if OURS == THEIRS else POOLS)
def test_cold_does_not_run_early_tasks_twice(site: Site, pool: str) -> None:
    scene = Scene(site, pool, "t.work")
    scene.worker.signal(signal.SIGQUIT)
    scene.worker.wait(10)
    scene.assert_queue()
    site.open("gate", 10)
    site.worker("-c", "1", "-n", "second@%h")
    assert [result.get(timeout=10) for result in scene.waiting] == ["worked"] * 5
    assert site.ledger.count("start", scene.running.id) == 1


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_signal_to_the_whole_process_group(site: Site, late: bool) -> None:
    """As systemd, shells and process managers do; the task processes must not take it for themselves."""
    if OURS == THEIRS:
        pytest.skip("Celery loses what runs")
    scene = Scene(site, task="t.work_late" if late else "t.work")
    scene.worker.signal_group(signal.SIGTERM)
    scene.open_once("Warm shutdown")
    assert scene.worker.wait(10) == 0
    assert scene.running.get(timeout=1) == "worked"
    scene.assert_queue()
    assert list(site.ledger.starts().values()) == [1]


@needs_ours
def test_ctrl_c_to_the_whole_process_group_twice(site: Site) -> None:
    scene = Scene(site, task="t.work_late")
    scene.worker.signal_group(signal.SIGINT)
    scene.worker.wait_log("Warm shutdown")
    scene.worker.signal_group(signal.SIGINT)
    scene.worker.wait(10)
    scene.assert_queue(running_too=True)


@pytest.mark.parametrize("finishes", [True, False], ids=["task ends in time", "task takes too long"])
def test_soft_shutdown(site: Site, finishes: bool) -> None:
    scene = Scene(site, task="t.work_late", conf={"worker_soft_shutdown_timeout": 20 if finishes else 1})
    began = time.monotonic()
    scene.worker.signal(signal.SIGQUIT)
    scene.worker.wait_log(r"Initiating Soft Shutdown, terminating in (20|1)(\.0)? seconds")
    if finishes:
        site.open("gate")
    scene.worker.wait(15)
    if finishes and OURS != THEIRS:  # Celery waits for the whole time
        assert time.monotonic() - began < 10
    scene.assert_queue(running_too=not finishes)
    assert scene.running.state == ("SUCCESS" if finishes else "PENDING")


if OURS == THEIRS:  # it would wait all 20 seconds
    test_soft_shutdown = pytest.mark.slow(test_soft_shutdown)


def test_soft_shutdown_is_skipped_when_idle(site: Site) -> None:
    worker = site.worker("-c", "1", conf={"worker_soft_shutdown_timeout": 20})
    began = time.monotonic()
    worker.signal(signal.SIGQUIT)
    worker.wait(10)
    assert time.monotonic() - began < 8


def test_remap_sigterm(site: Site) -> None:
    scene = Scene(site, task="t.work_late", env={"REMAP_SIGTERM": "SIGQUIT"})
    scene.worker.signal(signal.SIGTERM)
    scene.worker.wait(10)
    assert "Cold shutdown" in scene.worker.log()
    scene.assert_queue(running_too=True)


@needs_ours
@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_when_the_parent_is_killed_the_others_end_warm(site: Site, late: bool) -> None:
    scene = Scene(site, task="t.work_late" if late else "t.work")
    scene.worker.signal(signal.SIGKILL)
    scene.worker.wait(10)
    site.open("gate")
    assert scene.running.get(timeout=10) == "worked"
    wait_for(lambda: scene.worker.tree() == [], 10, "all processes to be gone")
    scene.assert_queue()


@needs_ours
def test_stopped_while_starting(site: Site) -> None:
    """SIGTERM at any moment of the start-up ends it in order."""
    for delay in (0.05, 0.15, 0.3, 0.5):
        worker = site.worker("-c", "2", ready=False)
        time.sleep(delay)  # there is nothing to wait for: the moment is the test
        worker.signal(signal.SIGTERM)
        assert worker.wait(10) in (0, -signal.SIGTERM)
        wait_for(lambda w=worker: w.tree() == [], 5, "all processes to be gone")


@pytest.mark.slow
@needs_ours
def test_retried_and_delayed_calls_survive_the_end(site: Site) -> None:
    worker = site.worker("-c", "1")
    client = site.client()
    retried = client.tasks["t.waits_retry"].delay(2)
    wait_for(lambda: retried.state == "RETRY", what="state RETRY")
    assert worker.terminate() == 0
    assert len(broker_keys_with(site.redis, retried.id)) == 1
    site.worker("-c", "1", "-n", "second@%h")
    sent_at, ran_at = retried.get(timeout=10)
    assert sent_at + 2 <= ran_at < sent_at + 4


def test_usr1_dumps_the_stacks(site: Site) -> None:
    worker = site.worker("-c", "1")
    worker.signal(signal.SIGUSR1)
    worker.wait_log(r"^\s*MainThread")
    assert site.client().tasks["t.add"].delay(1, 1).get(timeout=10) == 2


@needs_ours  # `python -m celery` cannot start itself again
@pytest.mark.slow
def test_hup_restarts_the_worker(site: Site) -> None:
    worker = site.worker("-c", "1")
    before = site.client().tasks["t.who"].delay().get(timeout=10)["pid"]
    worker.signal(signal.SIGHUP)
    worker.wait_log(r"Restarting celery(lite)? worker", 10)
    worker.wait_log(r" ready\.\s*$", 20, count=2)
    assert site.client().tasks["t.who"].delay().get(timeout=10)["pid"] != before


# -- as the first process of a container


def may_unshare() -> bool:
    """Whether this user may make a process namespace."""
    if not shutil.which("unshare"):
        return False
    probe = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True)
    return probe.returncode == 0


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_as_pid_1(site: Site, pool: str) -> None:
    """No signal has a default action for process 1, and orphans become its children."""
    if not may_unshare():
        pytest.skip("needs the right to make a process namespace (unshare --pid)")
    inner = [
        sys.executable,
        "-m",
        OURS,
        "-A",
        "tests.support.app",
        "worker",
        "-l",
        "INFO",
        "-c",
        "1",
        "-P",
        pool,
    ]
    argv = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *inner]
    worker = site.worker(argv=argv, signals="worker", env={"PYTHONPATH": _source_path()})
    client = site.client()
    assert client.tasks["t.add"].delay(1, 1).get(timeout=10) == 2
    assert pool != "solo" or client.tasks["t.who"].delay().get(timeout=10)["pid"] == 1
    orphan = client.tasks["t.orphan"].delay()
    assert orphan.get(timeout=10) == "left alone"
    running = client.tasks["t.work"].delay("gate")
    site.ledger.wait("start", running.id)
    first = next(pid for pid in worker.children() if _inner_pid(pid) == "1")
    os.kill(first, signal.SIGTERM)
    worker.wait_log("Warm shutdown")
    site.open("gate")
    assert worker.wait(10) == 0
    assert running.get(timeout=1) == "worked"


def _source_path() -> str:
    from tests.support.worker import ROOT, USE_SOURCE

    return os.pathsep.join([*([str(ROOT)] if USE_SOURCE else []), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)


def _inner_pid(pid: int) -> str:
    """The process id inside its own namespace."""
    with open(f"/proc/{pid}/status") as file:
        return next(line.split()[-1] for line in file if line.startswith("NSpid"))
