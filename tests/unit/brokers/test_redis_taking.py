"""Taking from Redis ahead of need: nothing is taken twice or lost, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from celerylite.brokers.values import Settlement, Store


@pytest.fixture
def broker(redis_app: Any) -> Iterator[Any]:
    yield redis_app.broker
    redis_app.close()


@pytest.fixture
def consumer(broker: Any) -> Iterator[Any]:
    consumer = new_consumer(broker)
    yield consumer
    consumer.close()


def new_consumer(broker: Any) -> Any:
    consumer = broker.consumer(["celery"], serial=True, lease=10.0)
    assert consumer.open(lambda: False)
    return consumer


@pytest.fixture
def send(redis_app: Any) -> Any:
    """`send(n)`: n messages in the queue."""
    return lambda n: redis_app.send_tasks([("t", (number,), {}) for number in range(n)])


def numbers(deliveries: list[Any], consumer: Any) -> list[str]:
    return [consumer.read(delivery).headers["argsrepr"] for delivery in deliveries]


def expected(*given: int) -> list[str]:
    return [f"({number},)" for number in given]


def test_what_was_prepared_comes_next(consumer: Any, send: Any) -> None:
    send(5)
    told: list[int] = []
    assert numbers(consumer.fetch(2, 0), consumer) == expected(0, 1)
    consumer.prepare(2, told.append)
    consumer.prepare(2, told.append)  # once is enough
    assert numbers(consumer.fetch(50, 0), consumer) == expected(2, 3)
    assert told == [3]
    assert numbers(consumer.fetch(50, 0), consumer) == expected(4)


def test_the_connection_breaks_before_the_answer(
    consumer: Any, send: Any, broker: Any, redis_client: redis.Redis
) -> None:
    send(6)
    running = consumer.fetch(2, 0)
    consumer.prepare(2, lambda number: None)
    while redis_client.hlen(consumer._held) < 4:  # the server has taken them
        pass
    consumer.link.drop()
    for delivery in running:
        assert consumer.begin(delivery, ack=True)  # connects again
    assert consumer.fetch(10, 0) == []  # the break is noticed
    assert numbers(consumer.fetch(10, 0), consumer) == expected(2, 3, 4, 5)
    assert broker.queue_length("celery") == 0


def test_what_was_held_back_goes_out_before_the_next_batch(
    consumer: Any, send: Any, redis_client: redis.Redis
) -> None:
    send(4)
    sent: list[bool] = []
    consumer.on_sent = lambda: sent.append(True)
    first, second = consumer.fetch(2, 0)
    consumer.prepare(2, lambda number: None)
    assert consumer.begin(first, ack=True) and consumer.begin(second, ack=True)
    consumer.flush()  # the answer to the take is here too
    settlement = Settlement(Store(b"result", b"record"))
    assert not consumer.settle(second, settlement, acked=True, last=True)
    assert not sent
    assert len(consumer.fetch(2, 0)) == 2
    assert sent == [True]
    consumer.flush()
    assert redis_client.get("result") == b"record"


def test_an_end_gives_back_what_was_prepared(send: Any, broker: Any) -> None:
    send(4)
    consumer = new_consumer(broker)
    running = consumer.fetch(2, 0)
    consumer.prepare(2, lambda number: None)
    for delivery in running:
        assert consumer.begin(delivery, ack=True)
    consumer.close()
    assert broker.queue_length("celery") == 2
    other = new_consumer(broker)
    assert numbers(other.fetch(10, 0), other) == expected(2, 3)
    other.close()
