"""One consumer of many queues of a real RabbitMQ: priorities, delays, topics, copies for all; what is consumed how."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast

from celerylite import Celery, brokers
from celerylite.brokers import Consumer, Delivery
from celerylite.message import Message
from tests.support.rabbitmq import RabbitServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

PATIENCE = 20.0
#: What says that a connection was lost, or came again.
TROUBLE = {"connection_lost", "reconnected"}

Maker = Callable[..., "Bench"]


def queues_of_all_kinds() -> list[Queue]:
    animals = Exchange("animals", type="topic")
    return [
        Queue("urgent", Exchange(""), routing_key="urgent", queue_arguments={"x-max-priority": 10}),
        Queue("mammals", animals, routing_key="mammal.#"),
        Queue("animals", bindings=[binding(animals, routing_key=key) for key in ("mammal.#", "bird.*")]),
        Queue("careful", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "refused"}),
        Broadcast("everybody", queue="copy"),
    ]


class Bench:
    """An app with these queues, its broker, and consumers; all closed at the end."""

    def __init__(self, url: str, queues: list[Queue]) -> None:
        self.app: Any = Celery("queues", broker=url, backend="cache+memory://", set_as_current=False)
        self.app.conf.task_queues = queues
        self.broker: Any = brokers.connect(self.app)
        self.consumers: list[Any] = []

    def consumer(self, *names: str, serial: bool = True) -> Any:
        names = names or tuple(self.app.amqp.queues)
        consumer = self.broker.consumer(names, serial=serial, lease=30.0)
        self.consumers.append(consumer)
        assert consumer.open(lambda: False)
        return consumer

    def send(self, text: str, exchange: str, key: str, *, priority: int | None = None, delay: float = 0) -> None:
        properties: dict[str, Any] = {"delivery_mode": 2, "correlation_id": text}
        if priority is not None:
            properties["priority"] = priority
        message = Message({"id": text}, text.encode(), "application/json", "utf-8", properties, exchange, key)
        if delay:
            message.due = time.time() + delay
        self.broker.publish_many([message])

    def close(self) -> None:
        for consumer in self.consumers:
            consumer.close()
        self.broker.close()
        self.app.close()


@pytest.fixture
def make_bench(rabbit_server: RabbitServer) -> Iterator[Maker]:
    made: list[Bench] = []

    def make(queues: list[Queue] | None = None, url: str = "") -> Bench:
        made.append(Bench(url or rabbit_server.new_vhost(), queues_of_all_kinds() if queues is None else queues))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def said(consumer: Consumer, delivery: Delivery) -> str:
    return consumer.read(delivery).body.decode()


def run(consumer: Consumer, count: int, most: int = 1) -> list[str]:
    """Run so many as the task process does; what is not due yet waits."""
    came: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while len(came) < count and time.monotonic() < deadline:
        for delivery in consumer.fetch(most, 0.5):
            due = consumer.read(delivery).headers.get("due")
            if due and due > time.time():
                consumer.defer(delivery, due)
            else:
                came.append(said(consumer, delivery))
                assert consumer.begin(delivery, ack=True)
    assert len(came) == count, f"{came} of {count} came"
    return came


def assert_quiet(caplog: pytest.LogCaptureFixture) -> None:
    assert not [record.message for record in caplog.records if getattr(record, "action", "") in TROUBLE]


# -- many queues, one consumer


@pytest.mark.parametrize("most,serial", [(1, True), (8, True), (3, False)])
def test_all_kinds_of_queues_again_and_again(
    make_bench: Maker, caplog: pytest.LogCaptureFixture, most: int, serial: bool
) -> None:
    """The consumer of a Broadcast queue among others once stopped fetching: its queue was gone while a task ran."""
    bench = make_bench()
    consumer = bench.consumer(serial=serial)
    chance = random.Random(5)
    for round_ in range(30):
        sent = Counter[str]()
        for kind in chance.sample(range(5), 5):
            text = f"{round_}-{kind}"
            delay = chance.choice((0, 1.2)) if round_ % 10 == 9 else 0
            if kind == 0:
                bench.send(text, "", "urgent", priority=chance.randint(0, 9), delay=delay)
            elif kind == 1:
                bench.send(text, "animals", "mammal.fox", delay=delay)
                sent[text] += 1  # in `mammals` and in `animals`
            elif kind == 2:
                bench.send(text, "animals", "bird.owl", delay=delay)
            elif kind == 3:
                bench.send(text, "", "careful", delay=delay)
            else:
                bench.send(text, "everybody", "")
            sent[text] += 1
        assert Counter(run(consumer, sent.total(), most)) == sent
    assert_quiet(caplog)
    assert consumer.fetch(1, 0.2) == []


def test_most_urgent_first_beside_other_queues(make_bench: Maker) -> None:
    bench = make_bench()
    bench.broker.declare([bench.app.amqp.queues["urgent"]])
    for text, priority in (("low", 1), ("none", None), ("high", 9), ("middle", 5)):
        bench.send(text, "", "urgent", priority=priority)
    assert run(bench.consumer(), 4) == ["high", "middle", "low", "none"]


def test_the_delay_keeps_the_way_of_a_topic(make_bench: Maker) -> None:
    """What is delayed arrives where it would have arrived at once, and nowhere else."""
    bench = make_bench()
    consumer = bench.consumer()
    bench.send("fox", "animals", "mammal.fox.red", delay=1.5)
    bench.send("owl", "animals", "bird.owl", delay=1.5)
    where = Counter[tuple[str, str]]()
    deadline = time.monotonic() + PATIENCE
    while where.total() < 3 and time.monotonic() < deadline:
        for delivery in consumer.fetch(1, 0.5):
            where[delivery.queue, said(consumer, delivery)] += 1
            assert consumer.begin(delivery, ack=True)
    assert where == {("mammals", "fox"): 1, ("animals", "fox"): 1, ("animals", "owl"): 1}
    assert consumer.fetch(1, 0.2) == []


def test_refused_ones_go_to_the_dead_letter_exchange(make_bench: Maker) -> None:
    bench = make_bench()
    refused = Queue("refused", routing_key="refused")
    bench.broker.declare([refused])
    consumer = bench.consumer()
    for text, let_go in (
        ("rejected", consumer.reject),
        ("buried", lambda delivery: consumer.bury(delivery, "nobody knows it")),
    ):
        bench.send(text, "", "careful")
        (delivery,) = fetch_one(consumer)
        assert consumer.begin(delivery, ack=False)
        let_go(delivery)
        wait_for(lambda: bench.broker.queue_length("refused") == 1, 10, "the dead letter")
        (letter,) = fetch_one(other := bench.consumer("refused"))
        assert said(other, letter) == text
        other.ack(letter)
        bench.consumers.remove(other)
        other.close()
    assert not bench.broker.dead()


def fetch_one(consumer: Consumer) -> list[Delivery]:
    deadline = time.monotonic() + PATIENCE
    found: list[Delivery] = []
    while not found and time.monotonic() < deadline:
        found = consumer.fetch(1, 0.5)
    return found


# -- queues that need their consumer


def test_a_queue_that_deletes_itself_outlives_a_task(make_bench: Maker, rabbit_server: RabbitServer) -> None:
    """And what comes to it meanwhile is given to whoever is free."""
    url = rabbit_server.new_vhost()
    bench = make_bench([Queue("normal"), Queue("fleeting", auto_delete=True)], url)
    busy, free = bench.consumer(), bench.consumer()
    bench.send("long", "", "normal")
    (delivery,) = fetch_one(busy)
    assert busy.begin(delivery, ack=False)

    for number in range(3):
        bench.send(f"{number}", "", "fleeting")
    assert sorted(run(free, 3)) == ["0", "1", "2"]
    busy.ack(delivery)
    assert set(rabbit_server.queues(url)) >= {"normal", "fleeting"}


def test_a_copy_for_each_of_two_workers(make_bench: Maker, rabbit_server: RabbitServer) -> None:
    """A Broadcast queue has a name of its own in each worker; task processes of one worker share it."""
    url = rabbit_server.new_vhost()
    one, two = (make_bench([Queue("normal"), Broadcast("everybody")], url) for _ in range(2))
    first, second, third = one.consumer(), one.consumer(), two.consumer()
    for number in range(4):
        one.send(f"{number}", "everybody", "")
    assert sorted(run(third, 4)) == list("0123")
    both: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while len(both) < 4 and time.monotonic() < deadline:
        for consumer in (first, second):
            for delivery in consumer.fetch(1, 0.1):
                both.append(said(consumer, delivery))
                assert consumer.begin(delivery, ack=True)
    assert sorted(both) == list("0123")


def test_queues_are_added_and_cancelled(make_bench: Maker, caplog: pytest.LogCaptureFixture) -> None:
    bench = make_bench([Queue(name) for name in ("one", "two")] + [Queue("three", auto_delete=True)])
    consumer = bench.consumer("one")
    for queues in (["one", "two"], ["two", "three"], ["three"], ["one", "two", "three"], ["one"]):
        consumer.set_queues(queues)
        for queue in queues:
            bench.send(queue, "", queue)
        assert sorted(run(consumer, len(queues))) == sorted(queues)
    bench.broker.declare([bench.app.amqp.queues["two"]])
    bench.send("left alone", "", "two")
    assert consumer.fetch(1, 0.3) == []
    assert_quiet(caplog)


# -- trouble on several queues


def test_a_closed_channel_is_noticed(make_bench: Maker, caplog: pytest.LogCaptureFixture) -> None:
    """The server closes it when something is acknowledged that it never sent; once that went unnoticed."""
    bench = make_bench()
    consumer = bench.consumer()
    assert consumer.fetch(1, 0.05) == []
    consumer._inbox.ack(999)
    for text, queue in (("a", "urgent"), ("b", "careful")):
        bench.send(text, "", queue)
    assert sorted(run(consumer, 2)) == ["a", "b"]
    assert any("PRECONDITION_FAILED" in record.message for record in caplog.records)


def test_a_deleted_queue_is_declared_again(make_bench: Maker, caplog: pytest.LogCaptureFixture) -> None:
    bench = make_bench()
    consumer = bench.consumer()
    with bench.broker.port() as port:
        port.channel.queue_delete("mammals")
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        consumer.fetch(1, 0.3)
    bench.send("fox", "animals", "mammal.fox")
    assert run(consumer, 2) == ["fox", "fox"]


def test_quorum_queues_that_the_settings_do_not_know(make_bench: Maker, rabbit_server: RabbitServer) -> None:
    """They cannot share a window, which only the server's refusal says."""
    url = rabbit_server.new_vhost()
    names = ("one", "two", "three")
    quorum = {"x-queue-type": "quorum"}
    make_bench([Queue(name, queue_arguments=quorum) for name in names], url).consumer()
    bench = make_bench([Queue(name) for name in names], url)
    consumer = bench.consumer()
    for number in range(9):
        bench.send(f"{number}", "", names[number % 3])
    assert sorted(run(consumer, 9)) == sorted(map(str, range(9)))
