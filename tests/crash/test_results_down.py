"""The result store, on a server of its own, goes away while tasks run: results wait, callers do not."""

from __future__ import annotations

import time

import pytest

from tests.crash.harness import LATE_QUICK, Lab, kill, outlast, poll
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.crash


def slowest_delay(lab: Lab, ids: list[str], seconds: float) -> float:
    """Go on sending for so long; how long the slowest call took."""
    work, slowest, end = lab.app.tasks["crash.work"], 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        ids.append(work.delay(0.02).id)
        slowest = max(slowest, time.monotonic() - began)
        outlast(0.05)
    return slowest


@pytest.mark.parametrize("down", [pytest.param(1.5, id="1.5s"), pytest.param(10.0, id="10s", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", LATE_QUICK)
def test_no_result_is_missing(lab: Lab, result_redis: RedisServer, mode: str, down: float) -> None:
    lab.backend_url = result_redis.url()
    worker = lab.setup(mode, worker_lease=5.0).worker()
    ids = lab.send(40, 0.02)
    assert poll(lambda: len(lab.tally().starts) > 10, 10)

    result_redis.kill()
    slowest = slowest_delay(lab, ids, down)
    result_redis.start()

    assert slowest < 1.0, f"delay() took {slowest:.1f} s though the broker was up"
    assert not lab.wait_finished(ids, 20)
    missing = lab.wait_records(ids, 15)
    assert not missing, f"{len(missing)} of {len(ids)} results are missing"
    assert {record["status"] for record in lab.records(ids).values() if record} == {"SUCCESS"}
    assert not lab.tally().doubled()
    assert worker.returncode is None


@pytest.mark.slow
def test_late_child_killed_while_its_result_waits(lab: Lab, result_redis: RedisServer) -> None:
    """Late: a task whose result is not stored is not done; it runs again, and its result is there in the end."""
    lab.backend_url = result_redis.url()
    worker = lab.setup("late").worker(concurrency=1)
    result_redis.kill()
    ids = lab.send(1)
    assert not lab.wait_finished(ids, 10)

    kill(worker.task_processes(), lab.rng)
    outlast(1.0)
    result_redis.start()

    assert not lab.wait_records(ids, 15)
    assert lab.records(ids)[ids[0]]["status"] == "SUCCESS"  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_warm_shutdown_while_the_store_is_away(lab: Lab, result_redis: RedisServer, mode: str) -> None:
    """The worker waits for the store within reason, and no task that ran is without its result afterwards."""
    lab.backend_url = result_redis.url()
    worker = lab.setup(mode).worker()
    ids = lab.send(30, 0.05)
    assert poll(lambda: len(lab.tally().starts) > 5, 10)
    result_redis.kill()
    worker.signal(15)
    outlast(2.0)
    result_redis.start()
    worker.wait(20)
    lab.worker("next")
    assert not lab.wait_finished(ids, 15)
    assert not lab.wait_records(ids, 10)
