"""The whole worker is killed at random moments and started again; what it held comes back within its lease."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass, field

import pytest

from tests.crash.harness import LATE_QUICK, Lab, Worker, poll

pytestmark = pytest.mark.crash

CONCURRENCY = 2


@dataclass
class Siege:
    """Rounds of start, load, kill; what was sent, and how many processes died."""

    lab: Lab
    rng: random.Random
    ids: list[str] = field(default_factory=list)
    kills: int = 0

    def round(self, load: int, *, trickle: bool = False) -> None:
        """Start a worker, give it tiny tasks, kill all of it at a random moment while it drains them."""
        worker = self.lab.worker(f"w{self.kills}", concurrency=CONCURRENCY)
        before = len(self.lab.tally().starts)
        if trickle:
            self._trickle(load, worker)
            return
        self.ids += self.lab.send(load)
        target = before + self.rng.randint(1, load)
        poll(lambda: len(self.lab.tally().starts) >= target, 10, every=0.0005)
        self._kill(worker)

    def _trickle(self, load: int, worker: Worker) -> None:
        """One task at a time to a worker that waits: the kill comes close to the moment of taking."""
        last = self.rng.randint(1, load)
        for number in range(load):
            self.ids += self.lab.send(1)
            if number == last:
                time.sleep(self.rng.uniform(0, 0.002))
                self._kill(worker)

    def _kill(self, worker: Worker) -> None:
        worker.kill_tree()
        self.kills += 1

    @property
    def unlucky(self) -> int:
        """As many as may be gone in early mode: one that each process was about to run."""
        return self.kills * CONCURRENCY

    def finish(self, timeout: float) -> None:
        """A last worker drains what is left; its patience covers the lease of the dead."""
        self.lab.worker("last", concurrency=CONCURRENCY)
        self.lab.wait_over(self.ids, timeout, spare=self.unlucky)
        self.lab.wait_quiet(1.0)

    def check(self, mode: str) -> None:
        """Early: none twice, and at most the one that a process was about to run is gone. Late: none is gone."""
        tally = self.lab.tally()
        missing, doubled = tally.missing(self.ids), tally.doubled()
        print(f"{len(self.ids)} tasks, {self.kills} kills: {len(missing)} never started, {len(doubled)} more than once")
        if mode == "early":
            assert not doubled
            # A process killed between its acknowledgement and the first line of the task takes that one task with it.
            assert len(missing) <= self.unlucky
            assert len(tally.unfinished(self.ids)) <= self.unlucky
        else:
            assert not tally.unfinished(self.ids)
            assert sum(times - 1 for times in doubled.values()) <= self.unlucky


@pytest.mark.parametrize("mode", LATE_QUICK)
def test_two_kills_while_draining(lab: Lab, rng: random.Random, mode: str) -> None:
    lab.setup(mode, worker_lease=1.0, task_ignore_result=True)
    siege = Siege(lab, rng)
    for _ in range(2):
        siege.round(2000)
    siege.finish(15)
    siege.check(mode)


@pytest.mark.slow
@pytest.mark.parametrize("ignore_result", [True, False], ids=["without results", "with results"])
@pytest.mark.parametrize("mode", ["early", "late"])
def test_many_kills_while_draining(lab: Lab, rng: random.Random, mode: str, ignore_result: bool) -> None:
    lab.setup(mode, task_ignore_result=ignore_result, worker_delivery_limit=None)
    siege = Siege(lab, rng)
    for _ in range(6):
        siege.round(2000)
    siege.finish(30)
    siege.check(mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_kills_while_tasks_trickle_in(lab: Lab, rng: random.Random, mode: str) -> None:
    """An idle worker is killed as a task arrives: between the broker's answer and anything the worker notes down."""
    lab.setup(mode, task_ignore_result=True)
    siege = Siege(lab, rng)
    for _ in range(6):
        siege.round(40, trickle=True)
    siege.finish(30)
    siege.check(mode)


RECOVERY = [pytest.param(2.0, id="2s"), pytest.param(15.0, id="15s", marks=pytest.mark.slow)]


@pytest.mark.parametrize("lease", RECOVERY)
def test_recovery_within_the_lease(lab: Lab, lease: float) -> None:
    """From the death of the tree to the second start of what it held, with another worker alive: lease + 1 s."""
    settings = {} if lease == 15.0 else {"worker_lease": lease}
    lab.settings.pop("worker_lease")
    lab.setup("late", **settings)
    dying = lab.worker("dying", concurrency=4)
    ids = lab.send(4, 60.0, task="crash.hold")
    assert poll(lambda: not lab.tally().missing(ids), 10)
    lab.worker("heir", concurrency=4)

    dying.kill_tree()
    killed = time.time()

    assert not lab.wait_finished(ids, lease + 10)
    again = [max(event.time for event in lab.tally().starts[key]) - killed for key in ids]
    assert max(again) <= lease + 1.0, f"recovered after {max(again):.2f} s"
    assert all(len(lab.tally().starts[key]) == 2 for key in ids)


@pytest.mark.slow
def test_a_live_worker_keeps_its_long_task(lab: Lab) -> None:
    """Longer than the lease and the visibility timeout, with an idle worker beside it: run once."""
    lab.setup("late", worker_lease=1.0, broker_transport_options={"visibility_timeout": 1})
    lab.worker("busy", concurrency=1)
    ids = lab.send(1, 5.0)
    assert poll(lambda: not lab.tally().missing(ids), 10)
    lab.worker("idle", concurrency=2)

    assert not lab.wait_finished(ids, 15)
    lab.wait_quiet(1.5)
    assert not lab.tally().doubled()


@pytest.mark.slow
def test_a_task_that_holds_the_interpreter_lock_keeps_its_lease(lab: Lab) -> None:
    """No thread of the task's own process can run meanwhile, so someone else must renew for it."""
    lab.setup("late", worker_lease=1.0)
    lab.worker("busy", concurrency=1)
    ids = lab.send(1, 5.0, task="crash.freeze")
    assert poll(lambda: not lab.tally().missing(ids), 10)
    lab.worker("idle", concurrency=2)

    assert not lab.wait_finished(ids, 15)
    lab.wait_quiet(1.5)
    assert not lab.tally().doubled()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_sigterm_to_the_whole_group(lab: Lab, mode: str) -> None:
    """As systemd and shells do: running tasks end, the rest stays in the queue, nothing is lost or run twice."""
    worker = lab.setup(mode).worker()
    ids = lab.send(60, 0.1)
    assert poll(lambda: len(lab.tally().starts) >= 10, 10)

    worker.signal_group(signal.SIGTERM)

    assert worker.wait(15) == 0
    assert not worker.tree()
    tally = lab.tally()
    assert not tally.unfinished(tally.starts), "a running task was not allowed to end"
    lab.worker("next")
    assert not lab.wait_finished(ids, 15)
    lab.wait_quiet(2.5)
    assert not lab.tally().doubled()
