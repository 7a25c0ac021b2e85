"""Soft and hard time limits, in prefork and in threads: the task ends, the worker goes on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.ledger import Ledger

POOLS = ["prefork"] if OURS == THEIRS else ["prefork", "threads"]


@pytest.fixture(scope="module", params=POOLS)
def limited(
    request: pytest.FixtureRequest, new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A worker with two slots and limits of 2 s (soft) and 3 s (hard), unless the call says otherwise."""
    directory = tmp_path_factory.mktemp(request.param)
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    site.worker("-P", request.param, "-c", "2", "--soft-time-limit", "2", "--time-limit", "3")
    yield site
    site.close()


def limits_of(site: Site) -> type[Exception]:
    client = site.client()
    return __import__(f"{type(client).__module__.split('.')[0]}.exceptions", fromlist=["x"])


def test_a_soft_limit_that_the_task_catches(limited: Site) -> None:
    began = time.monotonic()
    result = limited.client().tasks["t.soft"].apply_async(soft_time_limit=0.5)
    assert result.get(timeout=10).startswith("cleaned up after SoftTimeLimitExceeded")
    assert time.monotonic() - began > 0.4
    limited.workers.started[0].wait_log(rf"Soft time limit \(0\.5s\) exceeded for t\.soft\[{result.id}\]")


def test_a_soft_limit_that_nobody_catches(limited: Site) -> None:
    result = limited.client().tasks["t.work"].apply_async((None, 30), soft_time_limit=0.5)
    with pytest.raises(limits_of(limited).SoftTimeLimitExceeded):
        result.get(timeout=10)
    assert result.state == "FAILURE"


@pytest.mark.slow
def test_a_hard_limit_after_the_soft_one(limited: Site) -> None:
    result = limited.client().tasks["t.stubborn"].apply_async(soft_time_limit=0.5, time_limit=1.5)
    with pytest.raises(limits_of(limited).TimeLimitExceeded) as caught:
        result.get(timeout=10)
    assert "1.5" in str(caught.value)
    assert limited.ledger.count("soft", result.id) == 1
    limited.workers.started[0].wait_log(rf"Hard time limit \(1\.5s\) exceeded for t\.stubborn\[{result.id}\]")


def test_a_hard_limit_on_a_task_that_hangs(limited: Site) -> None:
    began = time.monotonic()
    result = limited.client().tasks["t.hang"].apply_async(time_limit=0.8, soft_time_limit=None)
    with pytest.raises(limits_of(limited).TimeLimitExceeded):
        result.get(timeout=10)
    assert time.monotonic() - began < 10
    record = limited.redis.get(f"celery-task-meta-{result.id}")
    assert b'"exc_module": "billiard.exceptions"' in record


def test_the_limit_of_the_task_itself(limited: Site) -> None:
    result = limited.client().tasks["t.limited"].delay()
    with pytest.raises(limits_of(limited).TimeLimitExceeded):
        result.get(timeout=10)


@pytest.mark.slow
def test_the_limits_of_the_command_line(limited: Site) -> None:
    began = time.monotonic()
    result = limited.client().tasks["t.soft"].delay()
    assert "cleaned up" in result.get(timeout=10)
    assert time.monotonic() - began > 1.5
    with pytest.raises(limits_of(limited).TimeLimitExceeded):
        limited.client().tasks["t.stubborn"].delay().get(timeout=10)


def test_others_are_not_harmed(limited: Site) -> None:
    """While one task is ended hard, its neighbour runs to its end, once."""
    client, gate = limited.client(), uuid.uuid4().hex
    neighbour = client.tasks["t.work"].apply_async((gate,), time_limit=20, soft_time_limit=20)
    limited.ledger.wait("start", neighbour.id)
    victim = client.tasks["t.hang"].apply_async(time_limit=0.5)
    with pytest.raises(limits_of(limited).TimeLimitExceeded):
        victim.get(timeout=10)
    limited.open(gate)
    assert neighbour.get(timeout=10) == "worked"
    assert limited.ledger.count("start", neighbour.id) == 1


def test_the_worker_goes_on(limited: Site) -> None:
    client = limited.client()
    for result in [client.tasks["t.hang"].apply_async(time_limit=0.4) for _ in range(3)]:
        with pytest.raises(limits_of(limited).TimeLimitExceeded):
            result.get(timeout=20)
    results = [client.tasks["t.add"].delay(n, n) for n in range(20)]
    assert [result.get(timeout=20) for result in results] == [2 * n for n in range(20)]
    assert limited.workers.started[0].returncode is None


def test_within_the_limits_nothing_happens(limited: Site) -> None:
    result = limited.client().tasks["t.soft"].apply_async((0.2,), soft_time_limit=5, time_limit=6)
    assert result.get(timeout=10) == "not interrupted"


def test_a_soft_limit_does_not_hit_the_next_task(limited: Site) -> None:
    """Tasks that end just around their limit: each either ends or is interrupted, never the one after it."""
    client = limited.client()
    for _ in range(5):
        edge = client.tasks["t.soft"].apply_async((0.3,), soft_time_limit=0.3)
        after = client.tasks["t.work"].apply_async((None, 0.05))
        assert edge.get(timeout=10)
        assert after.get(timeout=10) == "worked"
