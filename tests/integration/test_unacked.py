"""Messages that a killed Celery worker had taken come back to their queues, once, and as Celery would put them back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import redis
from kombu import Connection

from celerylite import Celery
from celerylite.brokers.redis import RedisBroker
from tests.conftest import THEIRS, Site
from tests.support.waiting import wait_for

#: Overdue as soon as it is there.
AT_ONCE = {"visibility_timeout": 0}


@pytest.fixture
def broker_of(redis_url: str) -> Iterator[Callable[..., RedisBroker]]:
    """`broker_of(**transport_options)` → a broker on the test's database."""
    apps: list[Celery] = []

    def make(**options: Any) -> RedisBroker:
        app = Celery("unacked", broker=redis_url, set_as_current=False)
        app.conf.broker_transport_options = options
        apps.append(app)
        assert isinstance(app.broker, RedisBroker)
        return app.broker

    yield make
    for app in apps:
        app.close()


def send(broker_url: str, count: int, **options: Any) -> None:
    app = Celery("sender", broker=broker_url, set_as_current=False)
    app.conf.broker_transport_options = options.pop("transport", {})
    for number in range(count):
        app.send_task("t.work", task_id=str(number), priority=(0, 3, 9)[number % 3], **options)
    app.close()


class Holder:
    """A consumer of kombu's that takes messages and never acknowledges any."""

    def __init__(self, url: str, **options: Any) -> None:
        self.connection = Connection(url, transport_options=options)
        self.channel = self.connection.default_channel

    def take(self, queue: str, count: int) -> None:
        for _ in range(count):
            assert self.channel.basic_get(queue), "the queue is empty"

    def restore(self) -> None:
        """What a living Celery worker does every now and then."""
        self.channel.qos.restore_visible(num=10, interval=0)

    def vanish(self) -> None:
        """As by SIGKILL: kombu would give back everything when it closes."""
        self.channel.qos._delivered.clear()
        self.connection.release()


@pytest.fixture
def hold(redis_url: str) -> Iterator[Callable[..., Holder]]:
    holders: list[Holder] = []

    def make(**options: Any) -> Holder:
        holders.append(Holder(redis_url, **options))
        return holders[-1]

    yield make
    for holder in holders:
        holder.vanish()


def reclaim(broker: RedisBroker) -> None:
    """One round of what a worker of ours does every few seconds."""
    keeper = broker.keeper(["celery"], lease=5.0)
    keeper.reclaim(None, lambda raw, reason: None)
    keeper.close()


def lists(client: redis.Redis) -> dict[bytes, list[Any]]:
    """All lists of the database, as they will be taken."""
    keys = [key for key in client.scan_iter() if client.type(key) == b"list"]
    return {key: [json.loads(raw) for raw in reversed(client.lrange(key, 0, -1))] for key in keys}


@pytest.mark.parametrize(
    "options", [{}, {"global_keyprefix": "p:", "unacked_key": "u", "unacked_index_key": "i", "sep": ":"}]
)
def test_as_kombu_restores(
    options: dict[str, Any],
    redis_url: str,
    redis_client: redis.Redis,
    broker_of: Callable[..., RedisBroker],
    hold: Callable[..., Holder],
) -> None:
    """Same lists, same order, same flags, and nothing left of the notes."""
    restored = []
    for ours in (True, False):
        redis_client.flushdb()
        send(redis_url, 7, queue="here", transport=options)
        before = lists(redis_client)
        holder = hold(**AT_ONCE, **options)
        holder.take("here", 7)
        if ours:
            reclaim(broker_of(**AT_ONCE, **options))
        else:
            holder.restore()
        keys = set(redis_client.keys())
        assert not [key for key in keys if b"unacked" in key or key in (b"p:u", b"p:i")]
        after = lists(redis_client)
        restored.append({key: [m["headers"]["id"] for m in after[key]] for key in after})
        assert restored[-1] == {key: [m["headers"]["id"] for m in before[key]] for key in before}
        for message in (message for found in after.values() for message in found):
            assert message["headers"]["redelivered"] is message["properties"]["delivery_info"]["redelivered"] is True
    assert restored[0] == restored[1]


def test_not_before_its_time(
    redis_url: str, redis_client: redis.Redis, broker_of: Callable[..., RedisBroker], hold: Callable[..., Holder]
) -> None:
    send(redis_url, 3)
    hold().take("celery", 3)
    reclaim(broker_of())
    reclaim(broker_of(visibility_timeout=0, ack_emulation=False))
    assert redis_client.hlen("unacked") == 3
    assert lists(redis_client) == {}


def test_not_twice_beside_celery(
    redis_url: str, redis_client: redis.Redis, broker_of: Callable[..., RedisBroker], hold: Callable[..., Holder]
) -> None:
    """Two of ours and one of kombu's restore the same messages at the same time."""
    send(redis_url, 300)
    theirs = hold(visibility_timeout=0, unacked_restore_limit=100)
    hold().take("celery", 300)
    together = threading.Barrier(3)

    def at_once(restore: Callable[[], Any]) -> None:
        together.wait(10)
        restore()

    def kombu_restores() -> None:
        while redis_client.hlen("unacked"):
            theirs.restore()

    with ThreadPoolExecutor(3) as threads:
        ours = [partial(reclaim, broker_of(**AT_ONCE)) for _ in range(2)]
        for done in [threads.submit(at_once, restore) for restore in (*ours, kombu_restores)]:
            done.result(30)
    ids = [message["headers"]["id"] for found in lists(redis_client).values() for message in found]
    assert sorted(ids, key=int) == [str(number) for number in range(300)]


def test_what_leads_nowhere_is_set_aside(
    redis_url: str, redis_client: redis.Redis, broker_of: Callable[..., RedisBroker]
) -> None:
    info = {"exchange": "gone", "routing_key": "k"}
    message = {"body": "e30=", "properties": {"delivery_info": info}, "headers": {}}
    redis_client.hset("unacked", mapping={"tag": json.dumps([message, "gone", "k"]), "bad": "no JSON"})
    redis_client.zadd("unacked_index", {"tag": 1, "bad": 2, "without a note": 3})
    broker = broker_of()
    reclaim(broker)
    assert {letter.reason.rpartition(", ")[2] for letter in broker.dead()} == {
        "and exchange 'gone' leads to no queue by now", "and not readable",
    }  # fmt: skip
    assert not redis_client.exists("unacked", "unacked_index")


@pytest.mark.slow
def test_celery_worker_killed(site: Site) -> None:
    """What it ran, what it had fetched, and what it kept in memory for later all run on a worker of ours."""
    theirs = site.worker("-c", "1", "-Q", "celery,other", program=THEIRS, conf={"worker_prefetch_multiplier": 8})
    client = site.client()
    work = client.tasks["t.work_late"]
    first = work.apply_async(("gate",), queue="other")
    later = [work.apply_async(countdown=2) for _ in range(2)]
    waiting = [work.apply_async(queue=queue, priority=p) for queue in ("celery", "other") for p in (0, 6, None)]
    site.ledger.wait("start", first.id)
    wait_for(lambda: site.redis.hlen("unacked") >= 8, what="the worker to fetch them all")
    theirs.kill_tree()
    assert site.redis.hlen("unacked") >= 8

    options = {"visibility_timeout": 1}
    site.worker("-c", "2", "-Q", "celery,other", conf={"broker_transport_options": options, "worker_lease": 2})
    site.open("gate")
    for result in (first, *later, *waiting):
        assert result.get(timeout=20) is not None
    assert not site.redis.exists("unacked", "unacked_index")
    again = [event for event in site.ledger.events("start") if event.data["redelivered"]]
    assert len(again) >= 8
    assert set(site.ledger.finishes().values()) == {1}
