"""What goes by kombu on a Redis Cluster: remote control, exchanges, copies for all; and beats that agree there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue

from celerylite import transports
from tests.conftest import Site, Workers
from tests.support.ledger import Ledger
from tests.support.redis_cluster import RedisCluster
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

PATIENCE = 40.0
CONF = {"task_queues": "exchanges", "broker_transport_options": {"global_keyprefix": "mine:"}}


@pytest.fixture(scope="module")
def site(
    redis_cluster: RedisCluster, tmp_path_factory: pytest.TempPathFactory, start_module_worker: Workers
) -> Iterator[Site]:
    """A worker whose queues hang on exchanges."""
    redis_cluster.flush()
    site = Site(redis_cluster.url, Ledger(tmp_path_factory.mktemp("ledger")), start_module_worker)
    site.worker("-c", "1", "-n", "one@here", conf=CONF)
    yield site
    site.close()


@pytest.fixture(scope="module")
def client(site: Site) -> Any:
    return site.client(**CONF)


def test_remote_control(client: Any) -> None:
    assert client.control.ping(timeout=PATIENCE, limit=1) == [{"one@here": {"ok": "pong"}}]
    found = client.control.inspect(["one@here"], timeout=PATIENCE, limit=1).active_queues()
    assert sorted(queue["name"] for queue in found["one@here"]) == ["celery", "q.direct", "q.star", "q.topic"]


def test_queues_are_added_and_cancelled(site: Site, client: Any) -> None:
    """One on each node, while the worker runs."""
    work = client.tasks["t.work_late"]
    for queue in ("added", "foo", "slow"):
        answers = client.control.add_consumer(queue, reply=True, timeout=PATIENCE, limit=1)
        assert "ok" in answers[0]["one@here"]
        assert work.apply_async(queue=queue).get(timeout=PATIENCE) == "worked"
    running = work.apply_async((None, 1.0), queue="foo")
    site.ledger.wait("start", running.id, timeout=PATIENCE)
    client.control.cancel_consumer("foo", reply=True, timeout=PATIENCE, limit=1)
    assert running.get(timeout=PATIENCE) == "worked"
    left = work.apply_async(queue="foo")
    assert work.apply_async(queue="slow").get(timeout=PATIENCE) == "worked"
    assert work.apply_async(queue="added", countdown=0.5).get(timeout=PATIENCE) == "worked"
    assert not left.ready()
    client.control.add_consumer("foo", reply=True, timeout=PATIENCE, limit=1)
    assert left.get(timeout=PATIENCE) == "worked"
    for queue in ("added", "foo", "slow"):
        client.control.cancel_consumer(queue, reply=True, timeout=PATIENCE, limit=1)


def test_exchanges(site: Site, client: Any) -> None:
    add, work = client.tasks["t.add"], client.tasks["t.work"]
    assert add.apply_async((1, 1), exchange="ex.direct", routing_key="straight").get(timeout=PATIENCE) == 2
    assert add.apply_async((2, 2), queue="q.topic").get(timeout=PATIENCE) == 4
    assert add.apply_async((3, 3), exchange="ex.topic", routing_key="animal.fox.red").get(timeout=PATIENCE) == 6
    sent = work.apply_async(exchange="ex.topic", routing_key="animal.rabbit")
    wait_for(lambda: site.ledger.count("finish", sent.id) == 2, PATIENCE, "both queues that fit to have it run")


def test_nothing_is_left_outside_of_the_prefix(client: Any, redis_cluster: RedisCluster) -> None:
    client.tasks["t.add"].apply_async((1, 1), ignore_result=True)
    for node in redis_cluster.masters:
        with node.client() as redis:
            assert [key for key in redis.keys() if not key.startswith((b"mine:", b"celery-t", b"_kombu."))] == []


def test_copies_for_all(redis_cluster: RedisCluster, ledger: Ledger, start_worker: Workers) -> None:
    site = Site(redis_cluster.url, ledger, start_worker)
    conf = {"task_queues": "broadcast"}
    for name in ("a@here", "b@here"):
        site.worker("-c", "1", "-n", name, conf=conf)
    client = site.client(**conf)
    sent = client.tasks["t.work"].apply_async(queue="everybody", ignore_result=True)
    wait_for(lambda: ledger.count("finish", sent.id) == 2, PATIENCE, "both copies to run")
    assert client.tasks["t.add"].delay(1, 1).get(timeout=PATIENCE) == 2
    site.close()


def test_kombus_own_consumers(redis_cluster: RedisCluster) -> None:
    """What is not acknowledged is there again for the next one; copies go to who listens."""
    transports.register()
    url = transports.for_kombu(redis_cluster.url)
    work, news = Queue("kombu.work", Exchange("kombu.work")), Exchange("kombu.news", type="fanout")
    got: list[Any] = []
    with Connection(url) as connection:
        producer = Producer(connection.channel())
        producer.publish({"n": 1}, exchange=work.exchange, routing_key="", declare=[work])
        with connection.channel() as channel, Consumer(channel, [work], callbacks=[lambda *args: got.append(args)]):
            connection.drain_events(timeout=PATIENCE)
        copies: list[Any] = []
        queues = [Queue(f"kombu.news.{name}", news, auto_delete=True) for name in ("x", "y")]
        with Consumer(connection.channel(), [work, *queues], on_message=copies.append, no_ack=True):
            producer.publish("extra", exchange=news, routing_key="")
            while len(copies) < 3:
                connection.drain_events(timeout=PATIENCE)
    assert [body for body, _ in got] == [{"n": 1}]
    assert sorted(str(message.decode()) for message in copies) == ["extra", "extra", "{'n': 1}"]
    with Connection(url) as connection, connection.channel() as channel:
        assert not channel._has_queue("kombu.work")
