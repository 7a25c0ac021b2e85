"""Faults at exact points of a task's road: at the n-th request a task process writes, and the n-th reply it waits for.

A proxy before the broker counts what passes on the task processes' connections, and strikes. A reply that is struck was
done by the server and is never heard of; a request that is struck never reaches the server, except where only a
process dies, because what a process has written arrives. Striking at each n in turn closes every gap between taking a
message and acknowledging it, whatever the broker's commands are.
"""

from __future__ import annotations

import signal

import pytest

from tests.crash.harness import EARLY_QUICK, Lab, lost, poll
from tests.crash.striker import Striker, kill_child, kill_tree, reset, stop_tree
from tests.support.proxy import TO_CLIENT, TO_SERVER

pytestmark = pytest.mark.crash

#: More points than any task has; the search ends at the first that is not reached.
POINTS = 40
TASKS = 3
#: Replies are the worse half: the server has done what the worker never hears of.
DIRECTIONS = [pytest.param(TO_SERVER, marks=pytest.mark.slow), TO_CLIENT]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("mode", ["early", "late"])
def test_child_killed_at_every_point(lab: Lab, mode: str, direction: str) -> None:
    lab.setup(mode, worker_delivery_limit=None)
    strike = Striker(kill_child)
    with lab.proxy(strike) as proxy:
        worker = lab.worker(concurrency=1, broker_url=lab.through(proxy))
        for point in range(1, POINTS):
            assert poll(lambda: len(worker.task_processes()) == 1, 5)
            strike.arm(worker, direction, point)
            ids = lab.send(TASKS)
            left = lab.wait_records(ids, 15)
            assert not left, f"point {point}: no result of {len(left)} of {len(ids)}"
            records, tally = lab.records(ids), lab.tally()
            dead = {key for key in ids if lost(records[key])}
            assert tally.unfinished(ids) <= dead, f"point {point}: not run, but its result does not say so"
            assert len(dead) <= (1 if mode == "early" else 0), f"point {point}"
            if mode == "early":
                assert not tally.doubled(), f"point {point}: run twice"
            if not strike.struck.is_set():
                break
        assert 3 <= point < POINTS - 1, "the points were not found"
        assert worker.returncode is None


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("mode", EARLY_QUICK)
def test_connection_reset_at_every_point(lab: Lab, mode: str, direction: str) -> None:
    """Nobody dies, so each task runs once, in both modes."""
    lab.setup(mode)
    strike = Striker(reset)
    with lab.proxy(strike) as proxy:
        worker = lab.worker(concurrency=1, broker_url=lab.through(proxy))
        for point in range(1, POINTS):
            strike.arm(worker, direction, point)
            ids = lab.send(TASKS)
            assert not lab.wait_finished(ids, 15), f"point {point}: not run"
            assert not lab.wait_records(ids, 5), f"point {point}: no result"
            assert {record["status"] for record in lab.records(ids).values() if record} == {"SUCCESS"}
            assert not lab.tally().doubled(), f"point {point}: run twice"
            if not strike.struck.is_set():
                break
        assert 3 <= point < POINTS - 1, "the points were not found"
        assert worker.returncode is None
        lab.wait_quiet(lab.settings["worker_lease"] + 1)  # what was not acknowledged would come again now
        assert not lab.tally().doubled()


@pytest.mark.slow
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
@pytest.mark.parametrize("mode", ["early", "late"])
def test_tree_killed_at_every_point(lab: Lab, mode: str, direction: str) -> None:
    lab.setup(mode, worker_lease=1.0, worker_delivery_limit=None)
    strike = Striker(kill_tree)
    with lab.proxy(strike) as proxy:
        url = lab.through(proxy)
        for point in range(1, POINTS):
            worker = lab.worker(f"w{point}", concurrency=1, broker_url=url)
            strike.arm(worker, direction, point)
            ids = lab.send(TASKS)
            struck = strike.wait(lab, ids)
            worker.kill_tree()
            if not struck:
                break
            heir = lab.worker(f"h{point}", concurrency=1, broker_url=url)
            left = lab.wait_over(ids, 8, spare=1 if mode == "early" else 0)
            lab.wait_quiet(0.3)
            heir.kill_tree()
            tally = lab.tally()
            doubled = {key for key in ids if len(tally.starts[key]) > 1}
            if mode == "late":
                assert not left, f"point {point}: lost {len(left)}"
                assert not tally.unfinished(ids), f"point {point}: lost"
            else:
                # One was acknowledged and may not have come to its first line.
                assert len(left) <= 1, f"point {point}: lost {len(left)}"
                # An acknowledgement that was written and that the network swallowed cannot count.
                assert len(doubled) <= (1 if direction == TO_SERVER else 0), f"point {point}: run twice"
        assert 3 <= point < POINTS - 1, "the points were not found"


@pytest.mark.slow
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_tree_stopped_at_every_point(lab: Lab, direction: str) -> None:
    """Asleep for longer than its lease, a worker loses what it holds, and must not start it when it wakes."""
    lab.setup("early", worker_lease=1.0)
    strike = Striker(stop_tree)
    with lab.proxy(strike) as proxy:
        for point in range(1, POINTS):
            worker = lab.worker(f"w{point}", concurrency=1, broker_url=lab.through(proxy))
            strike.arm(worker, direction, point)
            ids = lab.send(TASKS)
            if not strike.wait(lab, ids):
                break
            heir = lab.worker(f"h{point}", concurrency=1)
            # All but the one that the sleeper may have acknowledged are run by the other.
            lab.wait_over(ids, 5, spare=1)
            worker.signal_tree(signal.SIGCONT)
            left = lab.wait_finished(ids, 5)
            lab.wait_quiet(0.5)
            heir.kill_tree()
            worker.kill_tree()
            assert not left, f"point {point}: lost {len(left)}"
            assert not lab.tally().doubled(), f"point {point}: run twice"
        assert 3 <= point < POINTS - 1, "the points were not found"
