"""Several queues and several workers: nobody starves, nothing runs twice."""

from __future__ import annotations

import collections

import pytest

from tests.conftest import OURS, THEIRS, Site

needs_ours = pytest.mark.skipif(OURS == THEIRS, reason="Celery itself does not do this")


def test_many_queues(site: Site) -> None:
    names = [f"q{n}" for n in range(40)]
    site.worker("-c", "2", "-Q", ",".join(names))
    who = site.client().tasks["t.request"]
    results = [(name, who.apply_async(queue=name)) for name in names]
    for name, result in results:
        assert result.get(timeout=10)["delivery_info"]["routing_key"] == name


def test_a_full_queue_does_not_starve_the_others(site: Site) -> None:
    client = site.client()
    for _ in range(400):
        client.tasks["t.work"].apply_async((None, 0.005), queue="full")
    other = [client.tasks["t.work"].apply_async(queue="other") for _ in range(5)]
    site.worker("-c", "1", "-Q", "full,other")
    for result in other:
        assert result.get(timeout=20) == "worked"
    done = len(site.ledger.finishes())
    assert done < 200, f"{done} of the full queue came first"


def test_two_workers_on_one_queue(site: Site) -> None:
    site.worker("-c", "1", "-n", "one@%h")
    site.worker("-c", "1", "-n", "two@%h")
    client = site.client()
    results = [client.tasks["t.work"].delay(seconds=0.01) for _ in range(200)]
    assert [result.get(timeout=20) for result in results] == ["worked"] * 200
    assert set(site.ledger.starts().values()) == {1}
    shares = collections.Counter(event.pid for event in site.ledger.events("start"))
    assert len(shares) == 2
    assert min(shares.values()) >= 50, shares


def test_a_long_task_does_not_hold_back_others(site: Site) -> None:
    """What was fetched behind it is given to the other process at once."""
    site.worker("-c", "2")
    client = site.client()
    for _ in range(30):  # so that short tasks are fetched in batches
        client.tasks["t.work"].delay()
    long = client.tasks["t.work"].delay("gate")
    rest = [client.tasks["t.work"].delay() for _ in range(50)]
    assert [result.get(timeout=10) for result in rest] == ["worked"] * 50
    assert long.state == "PENDING"
    site.open("gate")
    assert long.get(timeout=10) == "worked"


if OURS == THEIRS:  # it fetches four ahead and keeps them
    test_a_long_task_does_not_hold_back_others = needs_ours(test_a_long_task_does_not_hold_back_others)


def test_purge_empties_every_priority(site: Site) -> None:
    client = site.client()
    for priority in range(10):
        client.tasks["t.noop"].apply_async(priority=priority)
    assert client.control.purge() == 10 if OURS == THEIRS else client.broker.purge(["celery"]) == 10
    assert [key for key in site.redis.scan_iter("celery*") if site.redis.type(key) == b"list"] == []


def test_a_task_may_wait_for_a_task_in_another_queue(site: Site) -> None:
    """With `allow_join_result` semantics: `get(disable_sync_subtasks=False)` inside a task."""
    site.worker("-c", "1", "-n", "one@%h", "-Q", "celery")
    site.worker("-c", "1", "-n", "two@%h", "-Q", "other")
    assert site.client().tasks["t.waits_for_other"].delay("other").get(timeout=10) == 5
    with pytest.raises(RuntimeError, match="Never call result.get"):
        site.client().tasks["t.waits_for_other"].delay("other", allowed=False).get(timeout=10)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
@pytest.mark.parametrize("name", ["t.work", "t.work_late"], ids=["early", "late"])
def test_a_result_is_there_when_its_task_has_ended(site: Site, pool: str, name: str) -> None:
    """Not only when the next task in the same process lets the worker send something."""
    site.worker("-P", pool, "-c", "1")
    client = site.client()
    for result in [client.tasks[name].delay() for _ in range(30)]:  # so that short tasks are fetched in batches
        assert result.get(timeout=10) == "worked"
    short = [client.tasks[name].delay() for _ in range(5)]
    long = client.tasks[name].delay("gate")
    assert [result.get(timeout=5) for result in short] == ["worked"] * 5
    assert long.state == "PENDING"
    site.open("gate")
    assert long.get(timeout=10) == "worked"


@needs_ours
@pytest.mark.parametrize("name", ["t.work", "t.work_late"], ids=["early", "late"])
def test_long_tasks_in_threads_run_once(site: Site, name: str) -> None:
    """What was fetched together runs together: nothing of it waits behind the others, to be given to somebody else."""
    client = site.client()
    results = client.send_tasks([(client.tasks[name], ("gate",), {}) for _ in range(8)])
    for number in range(2):
        site.worker("-P", "threads", "-c", "4", "-n", f"w{number}@%h")
    for result in results:
        site.ledger.wait("start", result.id)
    # Housekeeping has looked at them, and found them long, when it has seen to a task that became due since.
    late = client.tasks["t.work"].apply_async(countdown=1.0, queue="other")
    site.worker("-c", "1", "-Q", "other", "-n", "other@%h")
    late.get(timeout=10)
    site.open("gate", len(results))
    assert [result.get(timeout=10) for result in results] == ["worked"] * 8
    assert set(site.ledger.starts().values()) == {1}
