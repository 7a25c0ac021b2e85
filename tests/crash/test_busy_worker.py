"""A busy worker loses processes in the ordinary ways: restarts, recycling, time limits, long tasks, threads.

Every way of giving back and taking over must leave each task run once.
"""

from __future__ import annotations

import random
import signal

import pytest

from tests.crash.harness import EARLY_QUICK, LATE_QUICK, Lab, kill, lost, poll

pytestmark = pytest.mark.crash


def assert_each_once(lab: Lab, ids: list[str], timeout: float) -> None:
    """Every task ran to its end, exactly once."""
    left = lab.wait_finished(ids, timeout)
    assert not left, f"{len(left)} of {len(ids)} did not run"
    lab.wait_quiet(0.5)
    assert not lab.tally().doubled()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_rolling_restarts(lab: Lab, rng: random.Random, mode: str) -> None:
    """Warm shutdowns at random moments: exit status 0, nothing waits for a lease, every result is there."""
    lab.setup(mode, worker_lease=60.0)
    ids: list[str] = []
    for number in range(5):
        worker = lab.worker(f"w{number}")
        ids += lab.send(400) + lab.send(10, 0.05)
        lab.wait_started(rng.randint(1, 350), 10)
        assert worker.terminate() == 0
        assert not worker.tree()
        tally = lab.tally()
        assert not tally.unfinished(tally.starts), "a running task was cut off"
    lab.worker("last")
    assert_each_once(lab, ids, 15)
    assert not lab.wait_records(ids, 5)


@pytest.mark.parametrize("mode", LATE_QUICK)
def test_processes_that_retire(lab: Lab, mode: str) -> None:
    """`max_tasks_per_child`: a process ends in the middle of its batch."""
    worker = lab.setup(mode, worker_lease=60.0, worker_max_tasks_per_child=50).worker()
    ids = lab.send(500)
    assert_each_once(lab, ids, 20)
    assert worker.returncode is None
    assert len({events[0].pid for events in lab.tally().starts.values()}) >= 10


@pytest.mark.parametrize("mode", EARLY_QUICK)
def test_hard_time_limit_among_tiny_tasks(lab: Lab, mode: str) -> None:
    """The process is killed with a batch in its hands; only the slow task pays."""
    worker = lab.setup(mode, worker_lease=60.0).worker()
    ids: list[str] = []
    slow: list[str] = []
    for _ in range(3):
        ids += lab.send(150)
        slow += lab.send(1, 30.0, time_limit=0.5)
    ids += lab.send(150)
    assert_each_once(lab, ids, 10)
    assert not lab.wait_records(slow, 10)
    kinds = {record["result"]["exc_type"] for record in lab.records(slow).values() if record}
    assert kinds == {"TimeLimitExceeded"}
    assert worker.returncode is None


@pytest.mark.slow
@pytest.mark.parametrize("long", [0.02, 0.1])
@pytest.mark.parametrize("mode", ["early", "late"])
def test_short_tasks_behind_long_ones(lab: Lab, rng: random.Random, mode: str, long: float) -> None:
    """Taken from a busy process and given to others while that process may be just about to start them."""
    lab.setup(mode, worker_lease=60.0, worker_long_task=long)
    for name in ("w1", "w2"):
        lab.worker(name)
    ids: list[str] = []
    for _ in range(20):
        ids += lab.send(60) + lab.send(1, long * rng.uniform(0.5, 3.0))
    assert_each_once(lab, ids, 20)


@pytest.mark.parametrize("mode", LATE_QUICK)
def test_thread_pool_killed(lab: Lab, mode: str) -> None:
    """One process, many running tasks: each of them is accounted for."""
    worker = lab.setup(mode, worker_delivery_limit=None).worker(concurrency=8, pool="threads")
    ids = lab.send(120, 0.05)
    for _ in range(3):
        assert lab.wait_more_starts(10, 10)
        kill(worker.task_processes(), lab.rng)
        assert poll(lambda: len(worker.task_processes()) == 1, 10)

    assert not lab.wait_records(ids, 20)
    dead = {key for key, record in lab.records(ids).items() if lost(record)}
    assert lab.tally().unfinished(ids) <= dead
    assert len(dead) <= (3 * 8 if mode == "early" else 0)
    if mode == "early":
        assert not lab.tally().doubled()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_thread_pool_tree_killed(lab: Lab, rng: random.Random, mode: str) -> None:
    lab.setup(mode, worker_delivery_limit=None, worker_lease=1.0)
    ids: list[str] = []
    for number in range(4):
        worker = lab.worker(f"w{number}", concurrency=8, pool="threads")
        ids += lab.send(300, 0.002)
        lab.wait_started(rng.randint(1, 250), 10)
        worker.kill_tree()
    lab.worker("last", concurrency=8, pool="threads")
    left = lab.wait_over(ids, 15, spare=4 * 8)
    lab.wait_quiet(1.0)
    tally = lab.tally()
    if mode == "early":
        assert len(left) <= 4 * 8
        assert not tally.doubled()
    else:
        assert not tally.unfinished(ids)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_sigterm_then_sigkill(lab: Lab, pool: str) -> None:
    """As a container that is not given the time: killed in the middle of its warm shutdown."""
    worker = lab.setup("late", worker_lease=1.0).worker(pool=pool)
    ids = lab.send(3, 2.0) + lab.send(50)
    assert poll(lambda: len(lab.tally().starts) >= 1, 10)
    worker.signal(signal.SIGTERM)
    poll(lambda: False, 0.3)
    worker.kill_tree()
    lab.worker("next")
    assert not lab.wait_finished(ids, 15)
