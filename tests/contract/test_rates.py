"""What rate limits ask of a broker: counting for all workers, messages that wait and come early. Redis' script does
the same arithmetic as `rates.Line`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from celerylite import Celery
from celerylite.brokers.base import Broker, Consumer
from celerylite.brokers.rates import Line
from celerylite.brokers.values import LIMITED
from celerylite.message import Message

QUEUE = "limited"


@pytest.fixture(params=("memory", "redis", "sqlite", pytest.param("redis_cluster", marks=pytest.mark.slow)))
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "redis_cluster":
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        url = cluster.url
    elif request.param == "redis":
        url = request.getfixturevalue("redis_url")
    elif request.param == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('tmp_path')}/celerylite.db"
    else:
        url = f"memory:///{uuid.uuid4().hex}"
    with Celery("rates", broker=url, set_as_current=False) as app:
        yield app.broker


def test_every_broker_reckons_as_the_line_does(broker: Broker) -> None:
    line, start = Line(), time.time()
    for back in (False, False, True, False, True, True, False, False, True):
        asked, known = broker.rate_wait("task", 100.0, back=back), line.wait(start, 100.0, back=back)
        assert asked == pytest.approx(known, abs=5)
        assert (asked == 0) == (known == 0)


def test_lines_are_apart_and_can_begin_anew(broker: Broker) -> None:
    assert broker.rate_wait("one", 100.0, back=False) == 0.0
    assert broker.rate_wait("other", 100.0, back=False) == 0.0
    assert broker.rate_wait("one", 100.0, back=False) > 90
    broker.forget_rate("one")
    assert broker.rate_wait("one", 100.0, back=False) == 0.0
    assert broker.rate_wait("other", 100.0, back=False) > 90


def send(broker: Broker, *names: str, queue: str = QUEUE) -> None:
    for name in names:
        headers = {"id": name, "task": "t", "odd": "é\0"}
        properties = {"correlation_id": name, "delivery_mode": 2, "delivery_info": {}, "priority": 3}
        broker.publish(Message(headers, b"[]", "application/json", "utf-8", properties, routing_key=queue))


@pytest.fixture
def consumer(broker: Broker) -> Iterator[Consumer]:
    found = broker.consumer([QUEUE, "others"], serial=False, lease=60)
    assert found.open(lambda: False)
    yield found
    found.close()


def take(consumer: Consumer, count: int) -> list[Message]:
    """That many messages, taken for good."""
    found: list[Message] = []
    while len(found) < count:
        deliveries = consumer.fetch(10, 5)
        assert deliveries
        for delivery in deliveries:
            found.append(consumer.read(delivery))
            consumer.ack(delivery)
    return found


def defer_all(consumer: Consumer, count: int, task: str = "proj.limited") -> None:
    """Have that many wait, the first one the shortest, an hour at the least."""
    for number in range(count):
        (delivery,) = consumer.fetch(1, 5)
        consumer.defer(delivery, time.time() + 3600 + number, {LIMITED: task})
    consumer.flush()


def test_deferred_with_a_header_nothing_else_changes(broker: Broker, consumer: Consumer) -> None:
    send(broker, "a")
    (delivery,) = consumer.fetch(1, 5)
    before = consumer.read(delivery)
    consumer.defer(delivery, time.time() - 1, {LIMITED: "proj.limited"})
    consumer.flush()
    keeper = broker.keeper([QUEUE], lease=60)
    keeper.promote()
    (after,) = take(consumer, 1)
    keeper.close()
    assert after.headers == {**before.headers, LIMITED: "proj.limited"}
    assert (after.body, after.properties["priority"]) == (before.body, 3)


def test_those_that_wait_come_early_the_next_ones_first(broker: Broker, consumer: Consumer) -> None:
    send(broker, *"abcde")
    defer_all(consumer, 5)
    keeper = broker.keeper([QUEUE], lease=60)
    assert keeper.advance(LIMITED, "proj.limited", 3) == 3
    assert [message.headers["id"] for message in take(consumer, 3)] == ["a", "b", "c"]
    assert keeper.advance(LIMITED, "proj.limited", 3) == 2
    assert keeper.advance(LIMITED, "proj.limited", 3) == 0
    keeper.close()


def test_only_the_task_that_is_asked_for_comes(broker: Broker, consumer: Consumer) -> None:
    send(broker, "a", "b")
    defer_all(consumer, 1, "proj.limited")
    defer_all(consumer, 1, "proj.limited.too")
    keeper = broker.keeper([QUEUE], lease=60)
    assert keeper.advance(LIMITED, "proj.limited", 10) == 1
    assert [message.headers["id"] for message in take(consumer, 1)] == ["a"]
    keeper.close()


def test_only_queues_of_this_worker(broker: Broker, consumer: Consumer) -> None:
    if type(broker).__name__ == "MemoryBroker":
        pytest.skip("within one process the queues are everybody's")
    send(broker, "a", queue="others")
    defer_all(consumer, 1)
    keeper = broker.keeper([QUEUE], lease=60)
    assert keeper.advance(LIMITED, "proj.limited", 10) == 0
    if "cluster" not in type(broker).__module__:  # whose keepers keep their queues so far
        keeper.set_queues([QUEUE, "others"])
        assert keeper.advance(LIMITED, "proj.limited", 10) == 1
    keeper.close()
