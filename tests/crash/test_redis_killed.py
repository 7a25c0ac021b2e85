"""A durable Redis is killed and started again while tasks are sent and run: what a caller was told, holds."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import pytest

from tests.crash.harness import LATE_QUICK, Lab, outlast, poll
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.crash

#: Enough tries for any outage of these tests.
PATIENT = {"max_retries": 200, "interval_start": 0, "interval_step": 0.05, "interval_max": 0.1}


@dataclass
class Sender:
    """Sends without pause from a thread, and notes which calls returned, and which of them had trouble."""

    lab: Lab
    seconds: float = 0.02
    pause: float = 0.01
    ids: list[str] = field(default_factory=list)
    #: Sent while the server was away: the first try may have arrived before it died, and the second after.
    troubled: set[str] = field(default_factory=set)
    failed: list[Exception] = field(default_factory=list)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)

    def _run(self) -> None:
        work = self.lab.app.tasks["crash.work"]
        while not self._end.wait(self.pause):
            began = time.monotonic()
            try:
                key = work.apply_async((self.seconds,), retry_policy=PATIENT).id
            except Exception as exc:  # any: the test wants to see which
                self.failed.append(exc)
                continue
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            self.ids.append(key)
            if took > 0.04:
                self.troubled.add(key)


def restart(server: RedisServer, down: float) -> None:
    """SIGKILL, stay away for so long, come back with what was on disk."""
    server.kill()
    outlast(down)
    server.start()


def resumes(lab: Lab, within: float) -> bool:
    """Whether a task starts within so many seconds from now."""
    now = time.time()
    return bool(poll(lambda: lab.tally().last_start() > now, within))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_redis_killed_three_times(durable_lab: Lab, rng: random.Random, mode: str) -> None:
    lab = durable_lab.setup(mode, worker_lease=5.0, worker_delivery_limit=None)
    worker = lab.worker()
    later = lab.send(20, 0.01, countdown=3.0)
    with Sender(lab) as sender:
        for _ in range(3):
            assert lab.wait_more_starts(rng.randint(5, 25), 20)
            restart(lab.server, rng.uniform(0.1, 1.5))
            assert resumes(lab, 10), "the worker did not resume within 10 s"
    assert not sender.failed
    ids = [*sender.ids, *later]
    assert worker.returncode is None, "the parent ended"
    assert not lab.wait_finished(ids, 20)
    assert not lab.wait_records(ids, 10)
    lab.wait_quiet(6.0)
    doubled = set(lab.tally().doubled())
    print(f"{len(ids)} tasks, {len(sender.troubled)} sent in trouble, {len(doubled)} run twice")
    assert not doubled - sender.troubled, "nobody died who held a task"


@pytest.mark.parametrize("mode", LATE_QUICK)
def test_redis_killed_once(durable_lab: Lab, mode: str) -> None:
    lab = durable_lab.setup(mode)
    worker = lab.worker()
    ids = lab.send(60, 0.02)
    assert poll(lambda: len(lab.tally().starts) >= 10, 10)

    restart(lab.server, 0.2)

    assert resumes(lab, 10)
    assert not lab.wait_finished(ids, 10)
    assert not lab.wait_records(ids, 5)
    assert not lab.tally().doubled()
    assert worker.returncode is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_redis_killed_while_draining_tiny_tasks(durable_lab: Lab, rng: random.Random, mode: str) -> None:
    """Replies and acknowledgements in great number are in flight at each kill."""
    lab = durable_lab.setup(mode, task_ignore_result=True)
    worker = lab.worker()
    ids: list[str] = []
    for _ in range(4):
        ids += lab.send(2000)
        lab.wait_started(rng.randint(1, 1500), 20)
        restart(lab.server, 0.1)
    assert not lab.wait_finished(ids, 30)
    lab.wait_quiet(3.0)
    assert not lab.tally().doubled()
    assert worker.returncode is None


@pytest.mark.slow
def test_redis_is_away_when_the_worker_starts(durable_lab: Lab) -> None:
    lab = durable_lab.setup("early")
    ids = lab.send(5)
    lab.server.kill()
    worker = lab.worker(wait=False)
    outlast(3.0)
    assert worker.returncode is None, worker.tail()
    lab.server.start()
    assert not lab.wait_finished(ids, 10)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_redis_and_worker_killed_together(durable_lab: Lab, rng: random.Random, mode: str) -> None:
    """A power cut. What the server had acknowledged is on its disk."""
    lab = durable_lab.setup(mode, worker_lease=2.0, worker_delivery_limit=None)
    ids: list[str] = []
    kills = 4
    for number in range(kills):
        worker = lab.worker(f"w{number}")
        ids += lab.send(200, 0.001)
        lab.wait_started(rng.randint(1, 150), 10)
        lab.server.kill()
        worker.kill_tree()
        lab.server.start()
    lab.worker("last")
    assert len(lab.wait_over(ids, 20, spare=kills * 2)) <= (kills * 2 if mode == "early" else 0)
    lab.wait_quiet(3.0)
    tally = lab.tally()
    if mode == "late":
        assert not tally.unfinished(ids)
    else:
        assert len(tally.unfinished(ids)) <= kills * worker.processes
        # Written to the socket, but the server, which syncs each write, died before it came to them: these
        # acknowledgements are gone with both. A process lets at most 12 be unanswered.
        assert len(tally.doubled()) <= 13 * kills * worker.processes
