"""With a real Celery on the other side, on RabbitMQ: calls, rpc:// results, delays, priorities, exchanges, fan-out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.errors import Broken
from tests.support.ledger import Ledger
from tests.support.rabbitmq import RabbitServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

BOTH_WAYS = pytest.mark.parametrize("client_lib,worker_lib", [(THEIRS, OURS), (OURS, THEIRS)])
#: How Celery wants to be told that messages are to wait in the server.
QUORUM = {
    "task_default_queue_type": "quorum",
    "task_default_exchange_type": "topic",
    "broker_transport_options": {"confirm_publish": True},
}


class RabbitSite(Site):
    """A queue of the test's own on RabbitMQ, results as messages."""

    def __init__(self, url: str, ledger: Ledger, workers: Workers, redis_url: str) -> None:
        super().__init__(url, ledger, workers)
        self.redis_url = redis_url
        self.queue = f"compat-{uuid.uuid4().hex[:8]}"
        self.conf: dict[str, Any] = {
            "task_default_queue": self.queue,
            "task_default_exchange": self.queue,
            "task_default_routing_key": self.queue,
        }

    def client(self, lib: str = OURS, **conf: Any) -> Any:
        from tests.support.app import make_app

        client = make_app(lib, self.url, "rpc://", {**self.conf, **conf})
        self._clients.append(client)
        return client

    def environment(self, conf: Any = None, signals: str = "", env: Any = None) -> dict[str, str]:
        return super().environment({**self.conf, **(conf or {})}, signals, {"TEST_BACKEND": "rpc://", **(env or {})})


@pytest.fixture(scope="module")
def vhost(rabbit_server: RabbitServer) -> str:
    """The URL of a virtual host for this module: what it declares must not be there for other tests."""
    return rabbit_server.new_vhost()


@pytest.fixture
def rabbit_site(vhost: str, redis_url: str, tmp_path: Path, start_worker: Workers) -> Iterator[RabbitSite]:
    site = RabbitSite(vhost, Ledger(tmp_path / "ledger"), start_worker, redis_url)
    yield site
    site.close()


@BOTH_WAYS
def test_calls_results_and_failures(rabbit_site: RabbitSite, client_lib: str, worker_lib: str) -> None:
    rabbit_site.worker("-c", "2", program=worker_lib)
    tasks = rabbit_site.client(client_lib).tasks
    assert tasks["t.add"].delay(2, 3).get(timeout=15) == 5
    assert tasks["t.who"].delay().get(timeout=10)["lib"] == worker_lib
    assert tasks["t.echo"].delay(1, "ä€", a=None).get(timeout=10) == [[1, "ä€"], {"a": None}]
    results = [tasks["t.add"].delay(number, 1) for number in range(50)]
    assert [result.get(timeout=10) for result in results] == list(range(1, 51))
    failed = tasks["t.fail"].delay("Broken", 3, "no")
    with pytest.raises(Broken) as caught:
        failed.get(timeout=10)
    assert (caught.value.code, failed.state) == (3, "FAILURE")


@BOTH_WAYS
def test_retries_and_states(rabbit_site: RabbitSite, client_lib: str, worker_lib: str) -> None:
    rabbit_site.worker("-c", "1", program=worker_lib)
    tasks = rabbit_site.client(client_lib).tasks
    result = tasks["t.flaky"].delay(2, countdown=0.1)
    assert result.get(timeout=20)[:3] == [2, result.id, result.id]
    sent_at, ran_at = tasks["t.waits_retry"].delay(2.5).get(timeout=20)
    assert ran_at >= sent_at + 2.5 - 0.01


@BOTH_WAYS
@pytest.mark.parametrize("conf", [{}, QUORUM], ids=["classic", "quorum"])
def test_delays(rabbit_site: RabbitSite, client_lib: str, worker_lib: str, conf: dict[str, Any]) -> None:
    rabbit_site.conf.update(conf)
    rabbit_site.worker("-c", "1", program=worker_lib)
    now = rabbit_site.client(client_lib).tasks["t.now"]
    assert now.delay().get(timeout=15)
    due = time.time() + 2.4
    ran = now.apply_async(countdown=2.4).get(timeout=20)
    # Celery's delays are whole seconds.
    assert due - 0.5 <= ran < due + 2.5


def test_a_delay_of_ours_is_not_held_by_celerys_worker(rabbit_site: RabbitSite, rabbit_server: RabbitServer) -> None:
    """Celery's worker takes a message with an ETA at once and keeps it; ours is still in the server meanwhile."""
    rabbit_site.worker("-c", "1", program=THEIRS)
    client = rabbit_site.client(OURS)
    assert client.tasks["t.add"].delay(1, 1).get(timeout=15) == 2
    client.tasks["t.add"].apply_async((1, 1), countdown=3600)
    # 2048 seconds are the first stage of an hour; quorum queues count with some delay.
    wait_for(lambda: rabbit_server.queues(rabbit_site.url)["celery_delayed_11"], 30, "the message")


@BOTH_WAYS
def test_priorities(rabbit_site: RabbitSite, client_lib: str, worker_lib: str) -> None:
    """Higher numbers first, as RabbitMQ has it."""
    rabbit_site.conf["task_queue_max_priority"] = 10
    client = rabbit_site.client(client_lib)
    for n, priority in enumerate([1, 9, 5, 0, 10]):
        client.tasks["t.work"].apply_async(task_id=f"{n}:{priority}", priority=priority)
    rabbit_site.worker("-P", "solo", program=worker_lib, conf={"worker_prefetch_multiplier": 1}, ready=False)
    ran = [int(event.key.split(":")[1]) for event in rabbit_site.ledger.wait("start", count=5, timeout=30)]
    assert ran == [10, 9, 5, 1, 0]


@BOTH_WAYS
def test_task_queues_with_exchanges(rabbit_site: RabbitSite, client_lib: str, worker_lib: str) -> None:
    rabbit_site.worker("-c", "1", program=worker_lib, conf={"task_queues": "exchanges"})
    client = rabbit_site.client(client_lib, task_queues="exchanges")
    who = client.tasks["t.request"]

    def seen(**options: Any) -> dict[str, Any]:
        return who.apply_async(**options).get(timeout=15)["delivery_info"]

    assert seen(queue="q.direct")["routing_key"] == "q.direct"
    assert seen(exchange="ex.direct", routing_key="straight")["exchange"] == "ex.direct"
    assert seen(exchange="ex.topic", routing_key="animal.fox.red")["routing_key"] == "animal.fox.red"
    client.tasks["t.work"].apply_async(task_id="one", exchange="ex.topic", routing_key="white.rabbit")
    client.tasks["t.work"].apply_async(task_id="two", exchange="ex.topic", routing_key="animal.rabbit")
    rabbit_site.ledger.wait("finish", "two", count=2)
    rabbit_site.ledger.wait("finish", "one")
    assert rabbit_site.ledger.finishes() == {"one": 1, "two": 2}


def test_broadcast(rabbit_site: RabbitSite) -> None:
    """A copy for every worker of either library, whichever sends; two processes of a worker share one."""
    conf = {"task_queues": "broadcast", "task_default_queue": "celery"}
    for number, lib in enumerate((OURS, OURS, THEIRS)):
        rabbit_site.worker("-c", "2", "-n", f"w{number}@%h", program=lib, conf=conf)
    ids = [f"{lib}-{number}" for lib in (OURS, THEIRS) for number in range(4)]
    for lib in (OURS, THEIRS):
        work = rabbit_site.client(lib, **conf).tasks["t.work"]
        for key in ids:
            if key.startswith(f"{lib}-"):
                work.apply_async(queue="everybody", task_id=key, ignore_result=True)
    for key in ids:
        rabbit_site.ledger.wait("finish", key, count=3)
    assert rabbit_site.ledger.finishes() == dict.fromkeys(ids, 3)


def test_workers_of_both_libraries_share_a_queue(rabbit_site: RabbitSite) -> None:
    rabbit_site.worker("-c", "2", "-n", "c@%h", program=THEIRS)
    rabbit_site.worker("-c", "2", "-n", "l@%h", program=OURS)
    clients = [rabbit_site.client(THEIRS), rabbit_site.client(OURS)]
    results = [clients[n % 2].tasks["t.work"].delay(seconds=0.02) for n in range(100)]
    assert [result.get(timeout=30) for result in results] == ["worked"] * 100
    assert set(rabbit_site.ledger.starts().values()) == {1}
    hosts = {client.tasks["t.who"].delay().get(timeout=10)["host"][0] for client in clients * 15}
    assert hosts == {"c", "l"}


def test_reply_queue_is_declared_as_celery_does(
    rabbit_site: RabbitSite, rabbit_server: RabbitServer, vhost: str
) -> None:
    """Same arguments, or a message that went to one library's queue would find another's."""
    rows: list[str] = []
    for lib in (THEIRS, OURS):
        client = rabbit_site.client(lib)
        client.tasks["t.add"].delay(1, 1)
        oid = client.thread_oid if lib == THEIRS else client.oid
        listed = rabbit_server.control(
            "list_queues", "-p", vhost.rpartition("/")[2], "name", "durable", "auto_delete", "arguments",
            "--no-table-headers",
        )  # fmt: skip
        rows += [line.partition("\t")[2] for line in listed.splitlines() if line.startswith(oid)]
    assert len(rows) == 2 and rows[0] == rows[1]
