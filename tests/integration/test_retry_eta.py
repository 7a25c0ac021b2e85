"""Calls with a due time and retries: never early, kept by the broker, nothing of them in the worker."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site
from tests.support.keys import broker_keys_with
from tests.support.waiting import wait_for

needs_ours = pytest.mark.skipif(OURS == THEIRS, reason="Celery itself does not do this")


@pytest.fixture(scope="module")
def shared(module_site: Site) -> Site:
    """A worker with two task processes for the tests that do not kill it."""
    module_site.worker("-c", "2")
    return module_site


@pytest.mark.slow
def test_never_early(shared: Site) -> None:
    """Many due times in random order, in the three ways to write them."""
    client, rng = shared.client(), random.Random(7)
    calls: list[tuple[float, Any]] = []
    for n in range(150):
        delay = rng.uniform(0.3, 2.5)
        due = time.time() + delay
        options: dict[str, Any] = [
            {"countdown": delay},
            {"eta": datetime.fromtimestamp(due, timezone.utc)},
            {"eta": datetime.fromtimestamp(due, timezone(timedelta(hours=-7)))},
        ][n % 3]
        calls.append((due, client.tasks["t.now"].apply_async(**options)))
    late = [result.get(timeout=15) - due for due, result in calls]
    assert min(late) >= -0.001  # eta has microseconds
    late.sort()
    assert late[len(late) // 2] < (1.0 if OURS == THEIRS else 0.15)
    assert late[-1] < 1.5


def test_eta_without_a_zone_is_read_in_the_zone_of_the_worker(shared: Site) -> None:
    due = time.time() + 0.6
    eta = datetime.fromtimestamp(due, timezone.utc).replace(tzinfo=None)
    ran = shared.client().tasks["t.now"].apply_async(eta=eta).get(timeout=10)
    assert due - 0.001 <= ran < due + 2


def test_eta_in_the_past_runs_now(shared: Site) -> None:
    eta = datetime(2001, 1, 1, tzinfo=timezone.utc)
    assert shared.client().tasks["t.add"].apply_async((1, 1), eta=eta).get(timeout=10) == 2


@pytest.mark.slow
def test_order_of_due_times(shared: Site) -> None:
    """Sent in the wrong order, run in the right one."""
    client = shared.client()
    sent = [client.tasks["t.now"].apply_async(countdown=1.8 - 0.3 * n) for n in range(6)]
    times = [result.get(timeout=10) for result in sent]
    assert times == sorted(times, reverse=True)


def test_retries_are_never_early(shared: Site) -> None:
    first, second, third = shared.client().tasks["t.backoff"].delay([]).get(timeout=15)
    assert second - first >= 0.3
    assert third - second >= 0.6
    assert third - first < 10


def test_a_delayed_call_does_not_hold_a_slot(shared: Site) -> None:
    client = shared.client()
    for _ in range(50):
        client.tasks["t.noop"].apply_async(countdown=20)
    assert client.tasks["t.add"].delay(1, 1).get(timeout=15) == 2


@needs_ours
def test_a_delayed_call_waits_in_the_broker(site: Site) -> None:
    """In one key, which no worker's death concerns; and it runs on time when another worker is there."""
    worker = site.worker("-c", "1")
    client = site.client()
    due = time.time() + 2
    result = client.tasks["t.now"].apply_async(countdown=2)
    client.tasks["t.add"].delay(1, 1).get(timeout=10)  # whatever the worker does with it, it has done by now
    assert site.redis.llen("celery") == 0
    assert len(broker_keys_with(site.redis, result.id)) == 1
    assert site.redis.hlen("unacked") == 0
    worker.kill_tree()
    assert len(broker_keys_with(site.redis, result.id)) == 1
    site.worker("-c", "1", "-n", "second@%h")
    assert due - 0.001 <= result.get(timeout=10) < due + 1


@needs_ours
def test_a_retry_waits_in_the_broker(site: Site) -> None:
    worker = site.worker("-c", "1")
    result = site.client().tasks["t.waits_retry"].delay(2)
    wait_for(lambda: result.state == "RETRY", what="state RETRY")
    wait_for(lambda: site.redis.llen("celery") == 0, what="the retry to be put aside")
    worker.kill_tree()
    assert len(broker_keys_with(site.redis, result.id)) == 1
    site.worker("-c", "1", "-n", "second@%h")
    sent_at, ran_at = result.get(timeout=10)
    assert sent_at + 2 - 0.001 <= ran_at < sent_at + 3.5


@needs_ours
def test_due_calls_run_although_nobody_promoted_them_in_time(site: Site) -> None:
    """All workers were away when they fell due."""
    worker = site.worker("-c", "1")
    client = site.client()
    result = client.tasks["t.now"].apply_async(countdown=0.7)
    client.tasks["t.add"].delay(1, 1).get(timeout=10)
    worker.kill_tree()
    due = time.time() + 0.7
    wait_for(lambda: time.time() > due, what="the due time")
    site.worker("-c", "1", "-n", "second@%h")
    assert result.get(timeout=5)


def memory_of(pids: list[int]) -> int:
    """The resident memory of these processes together, in KiB, without what they share."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith(("Private_Clean", "Private_Dirty")):
                    total += int(line.split()[1])
    return total


@needs_ours
@pytest.mark.slow
def test_twenty_thousand_delayed_calls_cost_the_worker_no_memory(site: Site) -> None:
    worker = site.worker("-c", "2")
    client = site.client()
    assert client.tasks["t.add"].delay(1, 1).get(timeout=10) == 2
    before = memory_of(worker.tree())
    eta = datetime.now(timezone.utc) + timedelta(hours=1)
    for _ in range(20):
        client.send_tasks([(client.tasks["t.noop"], (n,), {}, {"eta": eta}) for n in range(1000)])
    wait_for(lambda: site.redis.llen("celery") == 0, 60, "the worker to put them aside")
    assert client.tasks["t.add"].delay(1, 1).get(timeout=10) == 2
    grown = memory_of(worker.tree()) - before
    assert grown < 8000, f"{grown} KiB more"
    assert site.redis.hlen("unacked") == 0
    began = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - began < 5


@needs_ours
@pytest.mark.slow
def test_delayed_calls_keep_their_priority_and_queue(site: Site) -> None:
    client = site.client()
    site.worker("-c", "1", "-Q", "celery,other")
    result = client.tasks["t.request"].apply_async(countdown=0.5, priority=6, queue="other")
    info = result.get(timeout=10)["delivery_info"]
    assert (info["routing_key"], info["priority"], info["redelivered"]) == ("other", 6, False)


def test_expires_counts_while_waiting(shared: Site) -> None:
    result = shared.client().tasks["t.work"].apply_async(countdown=1.2, expires=0.5)
    with pytest.raises(Exception, match="expired"):
        result.get(timeout=10)
    assert shared.ledger.count("start", result.id) == 0


def test_retry_keeps_the_callers_options(shared: Site) -> None:
    """Headers, priority, expiry and time limits are those of the first call."""
    task = shared.client().tasks["t.retry_request"]
    expires = datetime.now(timezone.utc) + timedelta(minutes=5)
    seen = task.apply_async(
        (1,), {"k": 2}, priority=3, expires=expires, time_limit=60, soft_time_limit=50,
        headers={"tenant": "t1"},
        shadow="shade", argsrepr="<hidden>",
    ).get(timeout=10)  # fmt: skip
    assert seen["retries"] == 1
    assert seen["args"] == [1]
    assert seen["kwargs"] == {"k": 2}
    assert seen["timelimit"] == [60, 50]
    assert seen["delivery_info"]["priority"] == 3
    assert seen["headers"] == {"tenant": "t1"}
    assert seen["expires"] == expires.isoformat()
    assert seen["root_id"] == seen["id"]
