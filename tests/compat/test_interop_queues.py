"""With a real Celery on the other side: priorities, exchanges, and workers of both libraries on one queue."""

from __future__ import annotations

import collections
import time
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site

BOTH_WAYS = pytest.mark.parametrize("client_lib,worker_lib", [(THEIRS, OURS), (OURS, THEIRS)])


@BOTH_WAYS
def test_priorities(site: Site, client_lib: str, worker_lib: str) -> None:
    """Lower numbers first, in Celery's four steps (0, 3, 6, 9); first come, first served within a step."""
    client = site.client(client_lib)
    for n, priority in enumerate([9, 7, 5, 0, 3, 8, 1, 4, 6, 2]):
        client.tasks["t.work"].apply_async(task_id=f"{n}:{priority}", priority=priority)
    assert {key for key in site.redis.scan_iter("celery*")} == {
        b"celery", b"celery\x06\x163", b"celery\x06\x166", b"celery\x06\x169",
    }  # fmt: skip
    site.worker("-P", "solo", program=worker_lib, conf={"worker_prefetch_multiplier": 1}, ready=False)
    ran = [int(event.key.split(":")[1]) for event in site.ledger.wait("start", count=10, timeout=20)]
    assert ran == [0, 1, 2, 5, 3, 4, 7, 8, 6, 9]


@pytest.mark.slow
@BOTH_WAYS
def test_task_queues_with_exchanges(site: Site, client_lib: str, worker_lib: str) -> None:
    site.worker("-c", "1", program=worker_lib, conf={"task_queues": "exchanges"})
    client = site.client(client_lib, task_queues="exchanges")
    who = client.tasks["t.request"]

    def seen(**options: Any) -> dict[str, Any]:
        return who.apply_async(**options).get(timeout=10)["delivery_info"]

    # To a queue of a direct exchange by its name, past the exchange.
    assert seen()["routing_key"] == "celery"
    assert (seen(queue="q.direct")["exchange"], seen(queue="q.direct")["routing_key"]) == ("", "q.direct")
    assert (seen(queue="q.topic")["exchange"], seen(queue="q.topic")["routing_key"]) == (
        "ex.topic",
        "animal.#",
    )
    assert seen(exchange="ex.direct", routing_key="straight")["exchange"] == "ex.direct"
    assert seen(exchange="ex.topic", routing_key="animal.fox.red")["routing_key"] == "animal.fox.red"
    # Matched by one queue of the two, so it runs once.
    client.tasks["t.work"].apply_async(task_id="one", exchange="ex.topic", routing_key="white.rabbit")
    # Matched by both, so it runs twice.
    client.tasks["t.work"].apply_async(task_id="two", exchange="ex.topic", routing_key="animal.rabbit")
    site.ledger.wait("finish", "two", count=2)
    assert site.ledger.finishes() == {"one": 1, "two": 2}


@pytest.mark.slow
@BOTH_WAYS
def test_bindings_left_by_task_queues(site: Site, client_lib: str, worker_lib: str) -> None:
    site.worker("-c", "1", program=worker_lib, conf={"task_queues": "exchanges"})
    assert site.redis.smembers("_kombu.binding.ex.topic") == {
        b"animal.#\x06\x16^animal\\..*?$\x06\x16q.topic",
        b"*.rabbit\x06\x16^[^\\.]+\\.rabbit$\x06\x16q.star",
    }
    assert site.redis.smembers("_kombu.binding.ex.direct") == {b"straight\x06\x16\x06\x16q.direct"}


@BOTH_WAYS
def test_global_keyprefix(site: Site, client_lib: str, worker_lib: str) -> None:
    options = {"global_keyprefix": "house:"}
    conf = {"broker_transport_options": options, "result_backend_transport_options": options}
    client = site.client(client_lib, **conf)
    result = client.tasks["t.add"].delay(1, 2)
    assert site.redis.llen("house:celery") == 1
    site.worker("-c", "1", program=worker_lib, conf=conf)
    assert result.get(timeout=10) == 3
    assert site.redis.exists(f"house:celery-task-meta-{result.id}")
    assert [key for key in site.redis.scan_iter() if not key.startswith(b"house:")] == []


@pytest.fixture
def mixed(site: Site) -> Site:
    """A Celery worker on the queues celery and c, ours on the queues celery and l."""
    site.worker("-c", "2", "-n", "c@%h", "-Q", "celery,c", program=THEIRS)
    site.worker("-c", "2", "-n", "l@%h", "-Q", "celery,l", program=OURS)
    return site


@pytest.mark.slow
def test_workers_of_both_libraries_share_a_queue(mixed: Site) -> None:
    clients = [mixed.client(THEIRS), mixed.client(OURS)]
    results = [clients[n % 2].tasks["t.work"].delay(seconds=0.02) for n in range(200)]
    assert [result.get(timeout=30) for result in results] == ["worked"] * 200
    assert set(mixed.ledger.starts().values()) == {1}
    assert len(mixed.ledger.starts()) == 200
    hosts = collections.Counter(
        client.tasks["t.who"].delay().get(timeout=10)["host"].split("@")[0] for client in clients * 20
    )
    assert set(hosts) == {"c", "l"}, hosts


@pytest.mark.slow
@pytest.mark.parametrize("client_lib", [THEIRS, OURS])
@pytest.mark.parametrize("path", ["clclc", "lclcl", "ccll"])
def test_a_retry_may_change_sides(mixed: Site, client_lib: str, path: str) -> None:
    task = mixed.client(client_lib).tasks["t.hop"]
    result = task.apply_async(([], list(path[1:])), {"keep": {"this": 1}}, queue=path[0], headers={"tenant": "t1"})
    outcome = result.get(timeout=20)
    libs = {"c": THEIRS, "l": OURS}
    assert outcome["path"] == [libs[side] for side in path]
    assert outcome["retries"] == len(path) - 1
    assert outcome["kwargs"] == {"keep": {"this": 1}}
    assert outcome["id"] == result.id


@pytest.mark.slow
def test_a_delayed_call_of_one_library_is_run_by_the_worker_of_the_other(mixed: Site) -> None:
    for client_lib, queue in [(THEIRS, "l"), (OURS, "c"), (OURS, "l")]:
        due = time.time() + 0.5
        ran = mixed.client(client_lib).tasks["t.now"].apply_async(countdown=0.5, queue=queue).get(timeout=10)
        assert due - 0.001 <= ran < due + 2


@pytest.mark.slow
@BOTH_WAYS
def test_revoked_before_it_runs(site: Site, client_lib: str, worker_lib: str) -> None:
    """A revoke of either library's client reaches a worker of the other; what is due later never starts."""
    site.worker("-P", "solo", program=worker_lib)
    client = site.client(client_lib)
    result = client.tasks["t.work"].apply_async(countdown=1.5)
    client.tasks["t.add"].delay(1, 1).get(timeout=10)
    result.revoke()
    with pytest.raises(Exception, match="revoked"):
        result.get(timeout=10)
    assert result.state == "REVOKED"
    client.tasks["t.add"].apply_async((1, 1), countdown=1.6).get(timeout=10)  # due after it
    assert not site.ledger.starts()[result.id]


@pytest.mark.slow
@BOTH_WAYS
def test_what_a_stopped_worker_leaves_the_other_library_takes(site: Site, client_lib: str, worker_lib: str) -> None:
    """Warm shutdown with tasks waiting in the worker: they are back in the queue, in order, for anybody."""
    worker = site.worker("-c", "1", program=worker_lib)
    client = site.client(client_lib)
    running = client.tasks["t.work"].delay("gate")
    site.ledger.wait("start", running.id)
    waiting = [client.tasks["t.who"].delay() for _ in range(6)]
    later = client.tasks["t.who"].apply_async(countdown=2)
    worker.signal(15)
    worker.wait_log("Warm shutdown")
    site.open("gate")
    assert worker.wait() == 0
    assert running.get(timeout=5) == "worked"
    site.worker("-c", "1", program=client_lib)
    assert [result.get(timeout=10)["lib"] for result in waiting] == [client_lib] * 6
    assert later.get(timeout=10)["lib"] == client_lib
