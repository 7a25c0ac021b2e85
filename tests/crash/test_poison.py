"""Tasks and messages that kill or confuse whoever takes them: a few tries, then set aside; the others go on."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.harness import EARLY_QUICK, Lab, Worker, lost, poll

pytestmark = pytest.mark.crash

LIMIT = 3
#: Deaths that take the task process with them; one is enough in the quick suite.
DEADLY = ["exit", "segfault", "killed"]
MORTAL = ["exit", *(pytest.param(how, marks=pytest.mark.slow) for how in DEADLY[1:])]


def supervise(lab: Lab, done: Callable[[], Any], timeout: float) -> list[Worker]:
    """Start a worker again whenever its parent has died, as systemd would; those that were needed."""
    started = [lab.worker("s0", wait=False)]

    def check() -> Any:
        if started[-1].returncode is not None:
            started[-1].kill_tree()
            started.append(lab.worker(f"s{len(started)}", wait=False))
        return done()

    poll(check, timeout, every=0.1)
    return started


@pytest.mark.parametrize("how", MORTAL)
def test_early_fails_once(lab: Lab, how: str) -> None:
    """Acknowledged before it started, so it is never delivered again; its result says what happened."""
    worker = lab.setup("early").worker()
    good = lab.send(10, 0.01)
    bad = lab.send(2, how, task="crash.die")
    good += lab.send(10, 0.01)
    assert not lab.wait_finished(good, 10)
    assert not lab.wait_records(bad, 10)
    records = lab.records(bad)
    assert all(lost(record) for record in records.values()), records
    assert not lab.tally().doubled()
    assert worker.returncode is None


@pytest.mark.parametrize("how", MORTAL)
def test_late_is_set_aside_after_the_limit(lab: Lab, how: str) -> None:
    worker = lab.setup("late", worker_delivery_limit=LIMIT).worker()
    good = lab.send(10, 0.01)
    bad = lab.send(1, how, task="crash.die")
    good += lab.send(10, 0.01)
    assert not lab.wait_finished(good, 15)
    dead = poll(lambda: lab.app.broker.dead(100), 10)
    assert [letter.task_id for letter in dead] == bad
    assert dead[0].reason
    assert dead[0].task_name == "crash.die"
    assert len(lab.tally().starts[bad[0]]) == LIMIT
    assert not lab.wait_records(bad, 3), "whoever waits for it must hear of it"
    assert lost(lab.records(bad)[bad[0]])
    more = lab.send(5)
    assert not lab.wait_finished(more, 5)
    assert worker.returncode is None


def test_late_default_limit_is_five(lab: Lab) -> None:
    lab.setup("late").worker()
    bad = lab.send(1, "exit", task="crash.die")
    assert poll(lambda: lab.app.broker.dead(100), 15)
    assert len(lab.tally().starts[bad[0]]) == 5


@pytest.mark.slow
def test_a_task_that_kills_its_parent_too(lab: Lab) -> None:
    """The whole worker ends each time; the count of deliveries must be kept on the server."""
    lab.setup("late", worker_delivery_limit=LIMIT, worker_lease=1.0)
    bad = lab.send(1, "parent", task="crash.die")
    supervise(lab, lambda: lab.app.broker.dead(100), 40)
    assert [letter.task_id for letter in lab.app.broker.dead(100)] == bad
    assert len(lab.tally().starts[bad[0]]) <= LIMIT + 1
    good = lab.send(5)
    supervise(lab, lambda: not lab.tally().unfinished(good), 10)
    assert not lab.tally().unfinished(good)


@pytest.mark.parametrize("how", ["memory", "sys_exit"])
@pytest.mark.parametrize("mode", EARLY_QUICK)
def test_errors_that_are_no_ordinary_exceptions(lab: Lab, mode: str, how: str) -> None:
    """MemoryError ends Celery's main process; here such a task fails, and nothing else happens."""
    worker = lab.setup(mode, worker_delivery_limit=LIMIT).worker()
    bad = lab.send(2, how, task="crash.die")
    good = lab.send(10, 0.01)
    assert not lab.wait_finished(good, 15)
    assert not lab.wait_records(bad, 10)
    assert {record["status"] for record in lab.records(bad).values() if record} == {"FAILURE"}
    assert max(len(starts) for key, starts in lab.tally().starts.items() if key in bad) <= LIMIT
    assert worker.returncode is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_many_poisons_among_many_tasks(lab: Lab, rng: random.Random, mode: str) -> None:
    worker = lab.setup(mode, worker_delivery_limit=2).worker()
    good: list[str] = []
    bad: list[str] = []
    for _ in range(12):
        good += lab.send(10, 0.005)
        bad += lab.send(1, rng.choice([*DEADLY, "memory", "sys_exit"]), task="crash.die")
    assert not lab.wait_records([*good, *bad], 40)
    lab.wait_quiet(1.0)
    tally = lab.tally()
    assert not tally.unfinished(good)
    # Tasks that waited in a killed process have not started; they are not to blame.
    assert not {key for key in good if len(tally.starts[key]) > 1}
    assert max(len(tally.starts[key]) for key in bad) <= (1 if mode == "early" else 2)
    assert worker.returncode is None


def garbage(rng: random.Random, good: bytes) -> bytes:
    """Something that is no message: noise, a message cut short, or one with a few bytes changed."""
    kind = rng.randrange(3)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return good[: rng.randrange(len(good))]
    changed = bytearray(good)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_garbage_in_the_queue(lab: Lab, rng: random.Random, count: int) -> None:
    """Neither the worker ends nor the queue is blocked."""
    lab.setup("early", worker_lease=1.0)
    db = int(lab.broker_url.rpartition("/")[2])
    lab.send(1)
    with lab.server.client(db) as client:
        sample = client.rpop("celery")
        assert isinstance(sample, bytes)
        for _ in range(count):
            client.lpush("celery", garbage(rng, sample))
    good = lab.send(20)
    worker = lab.worker()
    assert not lab.wait_finished(good, 15)
    assert worker.returncode is None
    with lab.server.client(db) as client:
        assert poll(lambda: client.llen("celery") == 0, 10), "something is taken again and again"
    assert lab.app.broker.dead(1000), "bad messages are kept where they can be looked at"
