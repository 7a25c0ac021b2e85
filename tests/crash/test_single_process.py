"""One process of a worker is killed or stopped: control, parent or task process; or all stop for a while."""

from __future__ import annotations

import random
import signal

import pytest

from tests.crash.harness import EARLY_QUICK, LATE_QUICK, Lab, poll, send_signal

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("mode", LATE_QUICK)
def test_control_process_killed(lab: Lab, mode: str) -> None:
    """It is started again; no task notices, no lease runs out."""
    worker = lab.setup(mode, worker_lease=1.0).worker()
    old, processes = worker.control_process(), worker.task_processes()
    assert old is not None
    short, long = lab.send(60, 0.02), lab.send(1, 2.5)
    delayed = lab.send(5, countdown=1.5)
    assert poll(lambda: len(lab.tally().starts) >= 5, 5)

    send_signal(old, signal.SIGKILL)

    assert worker.wait_other_control(old, 5), "no new control process"
    other = lab.worker("other")  # would reclaim what is not renewed
    assert not lab.wait_finished([*short, *long, *delayed], 10)
    assert not lab.wait_records([*short, *long, *delayed], 3)
    assert not lab.tally().doubled()
    assert worker.task_processes() == processes
    assert worker.returncode is None
    assert other.returncode is None


@pytest.mark.slow
def test_control_process_killed_again_and_again(lab: Lab) -> None:
    worker = lab.setup("late", worker_lease=2.0).worker()
    lab.worker("other")
    ids = lab.send(200, 0.05)
    for _ in range(6):
        old = worker.control_process()
        if old is not None:
            send_signal(old, signal.SIGKILL)
            assert worker.wait_other_control(old, 10), "no new control process"

    assert not lab.wait_finished(ids, 20)
    lab.wait_quiet(3.0)
    assert not lab.tally().doubled()
    assert worker.returncode is None


@pytest.mark.parametrize("mode", EARLY_QUICK)
def test_parent_killed(lab: Lab, mode: str) -> None:
    """The others see the end of their pipes: running tasks end, the rest goes back, a new worker takes over."""
    worker = lab.setup(mode, worker_lease=30.0).worker("same")
    ids = lab.send(24, 0.1)
    assert poll(lambda: len(lab.tally().starts) >= 4, 10)

    send_signal(worker.pid, signal.SIGKILL)
    new = lab.worker("same", wait=False)

    assert worker.wait_gone(5), "orphans"
    new.wait_ready()
    # No message waits for the lease of 30 s, for nobody died who held one.
    assert not lab.wait_finished(ids, 15)
    assert not lab.tally().doubled()
    assert not lab.wait_records(ids, 3)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_parent_killed_while_busy_with_tiny_tasks(lab: Lab, rng: random.Random, mode: str) -> None:
    lab.setup(mode, worker_lease=2.0, task_ignore_result=True)
    ids = []
    for number in range(4):
        worker = lab.worker(f"w{number}")
        ids += lab.send(2000)
        lab.wait_started(rng.randint(1, 1500), 10)
        send_signal(worker.pid, signal.SIGKILL)
        assert worker.wait_gone(5), "orphans"
    lab.worker("last")

    assert not lab.wait_finished(ids, 20)
    lab.wait_quiet(3.0)
    assert not lab.tally().doubled(), "nobody who ran tasks was killed"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_task_process_stopped_for_longer_than_the_lease(lab: Lab, rng: random.Random, mode: str) -> None:
    """Its worker is alive and renews for it; what it holds beyond the running task may go to others, once."""
    worker = lab.setup(mode, worker_lease=1.0, task_ignore_result=True).worker()
    lab.worker("other")
    ids = lab.send(6000)
    assert poll(lambda: len(lab.tally().starts) >= 500, 10, every=0.001)

    for _ in range(2):
        victim = rng.choice(worker.task_processes())
        send_signal(victim, signal.SIGSTOP)
        ids += lab.send(2000)
        lab.wait_quiet(2.5)
        send_signal(victim, signal.SIGCONT)

    assert not lab.wait_finished(ids, 15)
    lab.wait_quiet(2.0)
    assert not lab.tally().doubled()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_tree_stopped_for_longer_than_the_lease(lab: Lab, rng: random.Random, mode: str) -> None:
    """As a laptop that sleeps: another worker takes over, and the sleeper must not run it again."""
    sleeper = lab.setup(mode, worker_lease=1.0, task_ignore_result=True).worker("sleeper")
    lab.worker("other")
    ids: list[str] = []
    for _ in range(4):
        ids += lab.send(3000)
        lab.wait_started(rng.randint(1, 1500), 10)
        sleeper.signal_tree(signal.SIGSTOP)
        lab.wait_quiet(2.5)
        sleeper.signal_tree(signal.SIGCONT)
        ids += lab.send(200)

    assert not lab.wait_finished(ids, 15)
    lab.wait_quiet(2.0)
    doubled = lab.tally().doubled()
    # Late: what was running, and was reclaimed meanwhile, has been started already.
    assert len(doubled) <= (0 if mode == "early" else 4 * sleeper.processes), f"{len(doubled)} run twice"
    assert sleeper.returncode is None


@pytest.mark.slow
def test_running_task_of_a_stopped_tree(lab: Lab) -> None:
    """Late: reclaimed by the other; the sleeper's own end must not disturb the record or acknowledge the other's."""
    sleeper = lab.setup("late", worker_lease=1.0).worker("sleeper", concurrency=1)
    ids = lab.send(1, 1.0)
    assert poll(lambda: not lab.tally().missing(ids), 5)

    sleeper.signal_tree(signal.SIGSTOP)
    lab.worker("other", concurrency=1)
    assert not lab.wait_finished(ids, 10)
    sleeper.signal_tree(signal.SIGCONT)

    assert not lab.wait_records(ids, 3)
    more = lab.send(10, 0.01)
    assert not lab.wait_finished(more, 10)
    lab.wait_quiet(2.5)
    assert len(lab.tally().starts[ids[0]]) == 2
    assert lab.records(ids)[ids[0]]["status"] == "SUCCESS"  # type: ignore[index]
