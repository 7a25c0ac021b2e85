"""The message that follows a task stays with the process that ran the task, and is not lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.envelope import decode
from celerylite.brokers.values import Settlement, Store, Unreadable
from celerylite.message import Message


@pytest.fixture
def broker(redis_app: Any) -> Iterator[Any]:
    yield redis_app.broker
    redis_app.close()


@pytest.fixture
def consumer(broker: Any) -> Iterator[Any]:
    consumer = new_consumer(broker)
    yield consumer
    consumer.close()


def new_consumer(broker: Any, queues: tuple[str, ...] = ("celery",), *, serial: bool = True) -> Any:
    consumer = broker.consumer(queues, serial=serial, lease=10.0)
    assert consumer.open(lambda: False)
    return consumer


@pytest.fixture
def running(redis_app: Any, consumer: Any) -> Any:
    """A task that runs, the only one in the queue."""
    redis_app.send_task("first")
    (delivery,) = consumer.fetch(2, 0)
    assert consumer.begin(delivery, ack=True)
    return delivery


@pytest.fixture
def follower(redis_app: Any) -> Message:
    return redis_app.signature("next", (1, {"a": "é"})).as_message()


def names(deliveries: list[Any], consumer: Any) -> list[str]:
    return [consumer.read(delivery).headers["task"] for delivery in deliveries]


def fetched(consumer: Any, most: int = 2) -> list[Any]:
    """The next messages, of a consumer that may have to notice a break first."""
    return consumer.fetch(most, 0) or consumer.fetch(most, 0)


def test_it_comes_back_at_once(
    consumer: Any, running: Any, follower: Message, broker: Any, redis_client: redis.Redis
) -> None:
    consumer.settle(running, Settlement(Store(b"result", b"record"), [follower]), acked=True, last=True)
    (delivery,) = consumer.fetch(2, 0)
    assert redis_client.get("result") == b"record"
    assert redis_client.hgetall(consumer._held) == {delivery.tag: delivery.raw}
    assert delivery.queue == "celery"
    assert broker.queue_length("celery") == 0
    assert consumer.begin(delivery, ack=True)
    consumer.flush()
    assert not redis_client.exists(consumer._held)


def test_it_is_the_message_that_others_would_have_read(consumer: Any, running: Any, follower: Message) -> None:
    consumer.settle(running, Settlement(None, [follower]), acked=True, last=True)
    (delivery,) = consumer.fetch(2, 0)
    ours, theirs = consumer.read(delivery), decode(delivery.raw)
    for part in Message.__slots__:
        if part != "properties":
            assert getattr(ours, part) == getattr(theirs, part)
    assert ours.properties == theirs.properties
    assert ours.body == follower.body


def test_a_late_acknowledgement_goes_with_it(
    redis_app: Any, consumer: Any, follower: Message, redis_client: redis.Redis
) -> None:
    redis_app.send_task("first")
    (delivery,) = consumer.fetch(2, 0)
    assert consumer.begin(delivery, ack=False)
    consumer.settle(delivery, Settlement(None, [follower]), acked=False, last=True)
    (kept,) = consumer.fetch(2, 0)
    assert redis_client.hkeys(consumer._held) == [kept.tag]


def test_steps_follow_each_other(redis_app: Any, consumer: Any, running: Any) -> None:
    delivery = running
    for number in range(5):
        step = redis_app.signature("step", (number,)).as_message()
        consumer.settle(delivery, Settlement(None, [step]), acked=True, last=True)
        (delivery,) = consumer.fetch(2, 0)
        assert consumer.read(delivery).headers["argsrepr"] == f"({number},)"
        assert consumer.begin(delivery, ack=True)


@pytest.mark.parametrize(("priority", "order"), [(0, ["waiting", "next"]), (9, ["next", "waiting"])])
def test_it_stands_in_line_behind_others(
    redis_app: Any, consumer: Any, running: Any, follower: Message, broker: Any, priority: int, order: list[str]
) -> None:
    """With Redis the highest priority is 0."""
    redis_app.send_task("waiting", priority=priority)
    consumer.settle(running, Settlement(None, [follower]), acked=True, last=True)
    consumer.flush()
    assert broker.queue_length("celery") == 2
    assert names(consumer.fetch(2, 0), consumer) == order


@pytest.mark.parametrize("many", [False, True])
def test_others_are_sent(redis_app: Any, consumer: Any, running: Any, broker: Any, many: bool) -> None:
    """Messages for other queues, and several at once."""
    sent = [redis_app.signature("next", queue="celery" if many else "other").as_message() for _ in range(1 + many)]
    consumer.settle(running, Settlement(None, sent), acked=True, last=True)
    consumer.flush()
    assert broker.queue_length("celery" if many else "other") == len(sent)


def test_nothing_stays_where_more_waits(redis_app: Any, consumer: Any, follower: Message, broker: Any) -> None:
    """The last fetch was full: nobody asks."""
    redis_app.send_tasks([("first", (), {})] * 3)
    first, second = consumer.fetch(2, 0)
    assert consumer.begin(first, ack=True) and consumer.begin(second, ack=True)
    consumer.settle(second, Settlement(None, [follower]), acked=True, last=True)
    assert consumer._kept is None
    assert names(consumer.fetch(2, 0), consumer) == ["first", "next"]


def test_nothing_stays_with_threads(redis_app: Any, broker: Any, follower: Message) -> None:
    consumer = new_consumer(broker, serial=False)
    redis_app.send_task("first")
    (delivery,) = consumer.fetch(2, 0)
    assert consumer.begin(delivery, ack=True)
    consumer.settle(delivery, Settlement(None, [follower]), acked=True, last=True)
    consumer.flush()
    assert broker.queue_length("celery") == 1
    consumer.close()


def test_nothing_stays_of_many_queues(redis_app: Any, broker: Any) -> None:
    consumer = new_consumer(broker, tuple(f"q{number}" for number in range(50)))
    redis_app.send_task("first", queue="q7")
    (delivery,) = consumer.fetch(2, 0)
    assert consumer.begin(delivery, ack=True)
    follower = redis_app.signature("next", queue="q7").as_message()
    consumer.settle(delivery, Settlement(None, [follower]), acked=True, last=True)
    consumer.flush()
    assert broker.queue_length("q7") == 1
    consumer.close()


def test_a_queue_that_is_left(consumer: Any, running: Any, follower: Message, broker: Any) -> None:
    """What stayed is handed out; the process gives it back, as all that it has taken from there."""
    consumer.settle(running, Settlement(None, [follower]), acked=True, last=True)
    consumer.set_queues([])
    kept = consumer.fetch(2, 0)
    assert names(kept, consumer) == ["next"]
    consumer.release(kept)
    consumer.flush()
    assert broker.queue_length("celery") == 1


# -- what may go wrong


def test_the_connection_breaks_before_the_answer(
    consumer: Any, running: Any, follower: Message, redis_client: redis.Redis
) -> None:
    consumer.settle(running, Settlement(None, [follower]), acked=True, last=True)
    while not redis_client.hlen(consumer._held):  # the server has done it
        pass
    consumer.link.drop()
    (delivery,) = fetched(consumer)
    assert names([delivery], consumer) == ["next"]
    assert redis_client.hkeys(consumer._held) == [delivery.tag]
    assert consumer.begin(delivery, ack=True)
    consumer.flush()
    assert not redis_client.exists(consumer._held)
    assert consumer.fetch(2, 0) == []


@pytest.mark.parametrize("waited", [False, True])
def test_the_connection_is_gone_before_the_question(
    redis_app: Any, follower: Message, broker: Any, redis_client: redis.Redis, waited: bool
) -> None:
    """Also where the task was waited for, after which a process waits again without looking into its queues."""
    consumer = broker.consumer(
        ["celery"], serial=True, lease=10.0, on_block=lambda blocked: redis_app.send_task("first") if blocked else None
    )
    assert consumer.open(lambda: False)
    if not waited:
        redis_app.send_task("first")
    (running,) = consumer.fetch(2, 10)
    assert consumer.begin(running, ack=True)
    consumer.flush()
    consumer.link.drop()
    consumer.settle(running, Settlement(None, [follower]), acked=True, last=True)
    (delivery,) = fetched(consumer)
    assert names([delivery], consumer) == ["next"]
    assert redis_client.hkeys(consumer._held) == [delivery.tag]
    assert broker.queue_length("celery") == 0
    consumer.close()


def test_a_closing_consumer_gives_it_back(
    broker: Any, redis_app: Any, follower: Message, redis_client: redis.Redis
) -> None:
    consumer = new_consumer(broker)
    redis_app.send_task("first")
    (delivery,) = consumer.fetch(2, 0)
    assert consumer.begin(delivery, ack=True)
    consumer.settle(delivery, Settlement(None, [follower]), acked=True, last=True)
    consumer.close()
    assert broker.queue_length("celery") == 1
    assert not redis_client.exists(consumer._held)
    assert redis_client.zcard(scripts.LEASES) == 0


def test_the_lease_is_renewed_with_it(
    consumer: Any, running: Any, follower: Message, redis_client: redis.Redis
) -> None:
    """Whoever holds a message has a lease: without one nobody would ever give the message back."""
    redis_client.zrem(scripts.LEASES, consumer.id)
    consumer.settle(running, Settlement(None, [follower]), acked=True, last=True)
    assert len(consumer.fetch(2, 0)) == 1
    assert redis_client.zscore(scripts.LEASES, consumer.id) > redis_client.time()[0] + consumer.lease - 2


def test_a_lost_lease(redis_app: Any, consumer: Any, follower: Message, redis_client: redis.Redis) -> None:
    """Somebody else has the task: what follows is theirs to send."""
    redis_app.send_task("first")
    (delivery,) = consumer.fetch(2, 0)
    assert consumer.begin(delivery, ack=False)
    redis_client.delete(consumer._held)
    redis_client.sadd(consumer._moved, delivery.tag)
    consumer.settle(delivery, Settlement(None, [follower]), acked=False, last=True)
    assert consumer.fetch(2, 0) == []
    redis_client.delete(consumer._moved)


def test_one_that_cannot_be_read(redis_app: Any, consumer: Any, running: Any) -> None:
    """It is handed out like any other; whoever reads it sets it aside."""
    message = redis_app.signature("next").as_message()
    message.headers["mine"] = {"__type__": "uuid", "__value__": "not one"}
    consumer.settle(running, Settlement(None, [message]), acked=True, last=True)
    (delivery,) = consumer.fetch(2, 0)
    with pytest.raises(Unreadable):
        consumer.read(delivery)
