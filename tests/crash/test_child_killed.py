"""A task process is killed again and again while short tasks run; the worker itself stays up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.harness import LATE_QUICK, Lab, Worker, kill, lost, poll

pytestmark = pytest.mark.crash

SIZES = [
    pytest.param(120, 0.25, id="120"),
    pytest.param(500, 0.5, id="500", marks=pytest.mark.slow),
]


def kill_children_until(done: Callable[[], Any], worker: Worker, rng: random.Random, every: float) -> set[int]:
    """SIGKILL a random task process every so often until the work is done; the pids that were killed."""
    victims: set[int | None] = set()
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if poll(done, every):
            break
        victims.add(kill(worker.task_processes(), rng))
    return {pid for pid in victims if pid is not None}


def assert_worker_is_whole(worker: Worker, control: int | None) -> None:
    """The parent and the control process are those of the start, and every task process has been replaced."""
    assert worker.returncode is None
    assert worker.control_process() == control
    assert poll(lambda: len(worker.task_processes()) == worker.processes, 5), worker.task_processes()


@pytest.mark.parametrize(("count", "every"), SIZES)
def test_early_loses_only_what_runs_and_says_so(lab: Lab, rng: random.Random, count: int, every: float) -> None:
    worker = lab.setup("early").worker()
    control = worker.control_process()
    ids = lab.send(count, 0.03)

    victims = kill_children_until(lambda: not lab.open_records(ids), worker, rng, every)

    lab.wait_quiet(0.5)
    tally, records = lab.tally(), lab.records(ids)
    without_result = lab.open_records(ids)
    assert not without_result, f"{len(without_result)} tasks have no result"
    assert not tally.doubled()
    # Between acknowledgement and first line a task counts as running: its result must say that it was lost.
    assert not {key for key in tally.missing(ids) if not lost(records[key])}
    assert not {key for key in tally.unfinished(ids) if not lost(records[key])}
    assert not {key for key, record in records.items() if record and record["status"] == "FAILURE" and not lost(record)}
    assert sum(lost(record) for record in records.values()) <= len(victims)
    assert_worker_is_whole(worker, control)


@pytest.mark.parametrize(("count", "every"), SIZES)
def test_late_loses_nothing(lab: Lab, rng: random.Random, count: int, every: float) -> None:
    worker = lab.setup("late", worker_delivery_limit=20).worker()
    control = worker.control_process()
    ids = lab.send(count, 0.03)

    victims = kill_children_until(lambda: not lab.open_records(ids), worker, rng, every)

    tally, records = lab.tally(), lab.records(ids)
    assert not lab.open_records(ids)
    assert not tally.unfinished(ids)
    assert {record["status"] for record in records.values() if record} == {"SUCCESS"}
    extra = sum(times - 1 for times in tally.doubled().values())
    assert extra <= len(victims), "only what ran in a killed process may run again"
    assert_worker_is_whole(worker, control)


@pytest.mark.slow
def test_late_without_reject_fails_what_ran(lab: Lab, rng: random.Random) -> None:
    """Celery's default for late acknowledgement: a task that loses its process is failed and acknowledged."""
    worker = lab.setup("late", task_reject_on_worker_lost=False).worker()
    ids = lab.send(150, 0.03)

    kill_children_until(lambda: not lab.open_records(ids), worker, rng, 0.4)

    lab.wait_quiet(0.5)
    tally, records = lab.tally(), lab.records(ids)
    assert not lab.open_records(ids)
    assert not tally.doubled()
    assert not {key for key in tally.unfinished(ids) if not lost(records[key])}


@pytest.mark.parametrize("mode", LATE_QUICK)
def test_what_waits_in_a_killed_process_goes_on_at_once(lab: Lab, mode: str) -> None:
    """Not after a lease: the parent knows of the death, so the messages are back before a second has gone."""
    worker = lab.setup(mode, worker_lease=30.0).worker(concurrency=1)
    quick = lab.send(300)  # makes the process fetch in batches
    assert not lab.wait_finished(quick, 10)
    ids = lab.send(3000)
    assert poll(lambda: any(key in lab.tally().starts for key in ids), 5, every=0.001)

    kill(worker.task_processes(), lab.rng)
    killed = time.time()

    assert len(lab.wait_over(ids, 10) - lab.tally().missing(ids)) == 0
    missing = lab.tally().missing(ids)
    assert len(missing) <= (1 if mode == "early" else 0), f"{len(missing)} tasks were not given back"
    after = sorted(starts[0].time for starts in lab.tally().starts.values() if starts[0].time > killed)
    gaps = [later - earlier for earlier, later in zip([killed, *after], after, strict=False)]
    assert max(gaps) < 1.5
    assert sum(times - 1 for times in lab.tally().doubled().values()) <= (0 if mode == "early" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_long_queue_survives_the_death_of_all_children_at_once(lab: Lab, mode: str) -> None:
    worker = lab.setup(mode).worker()
    ids = lab.send(40, 0.05)
    assert poll(lambda: len(lab.tally().starts) >= 5, 10)

    for pid in worker.task_processes():
        kill([pid], lab.rng)

    assert not lab.wait_records(ids, 15)
    lost_ones = {key for key, record in lab.records(ids).items() if lost(record)}
    assert len(lost_ones) <= (2 if mode == "early" else 0)
    assert lab.tally().unfinished(ids) <= lost_ones
    if mode == "early":
        assert not lab.tally().doubled()
