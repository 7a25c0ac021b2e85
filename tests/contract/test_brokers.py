"""One suite that every broker passes: what is sent is taken once, in order, and never lost before it is let go."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Exchange, Queue

from celerylite import Celery, brokers
from celerylite.brokers import Broker, Consumer, Delivery
from celerylite.brokers.envelope import decode
from celerylite.message import Message
from tests.contract.places import PLACES, Maker, Place
from tests.support.waiting import wait_for

#: The last part of every name of queues and exchanges, another one in each test.
SUFFIX = ""
QUEUE = ""
#: Longer than any broker needs to bring a message.
PATIENCE = 20.0


def name(text: str) -> str:
    """The name of a queue or exchange of this test's own."""
    return f"{text}-{SUFFIX}"


@pytest.fixture(autouse=True)
def own_names() -> None:
    """On a server that is shared, tests must not meet in a queue."""
    global SUFFIX, QUEUE
    SUFFIX = uuid.uuid4().hex[:8]
    QUEUE = name("work")


@pytest.fixture(params=PLACES, ids=lambda make: make.__name__)
def place(request: pytest.FixtureRequest) -> Place:
    make: Maker = request.param
    return make(request)


@pytest.fixture
def app(place: Place) -> Iterator[Any]:
    app = Celery("contract", broker=place.url, backend="cache+memory://", set_as_current=False)
    app.conf.update(task_default_queue=QUEUE, **place.conf)
    yield app
    app.close()


class Bench:
    """Brokers and consumers of one test, all closed at its end."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.broker: Broker = brokers.connect(app)
        self._consumers: list[Consumer] = []
        self._ended = threading.Event()
        self._house = threading.Thread(target=self._keep_house, daemon=True)
        self._house.start()

    def _keep_house(self) -> None:
        keeper = brokers.connect(self.app).keeper([QUEUE], lease=30.0)
        while not self._ended.is_set():
            keeper.renew([consumer.id for consumer in self._consumers])
            keeper.promote()
            self._ended.wait(0.05)
        keeper.close()

    def consumer(self, *queues: str, serial: bool = True) -> Consumer:
        """A consumer of these queues, connected."""
        names = queues or (QUEUE,)
        consumer = self.broker.consumer(names, serial=serial, lease=30.0)
        self._consumers.append(consumer)
        self.broker.declare([self.app.amqp.queues[name] for name in names])
        assert consumer.open(lambda: False)
        return consumer

    def message(self, text: str, queue: str = "", **options: Any) -> Message:
        """A message that says `text`."""
        queue = queue or QUEUE
        properties = {"correlation_id": text, "reply_to": "", "delivery_mode": 2, **options.pop("properties", {})}
        declared = self.app.amqp.queues[queue]
        headers = {"task": "t", "id": text, "number": 5, "nothing": None, "list": [1, "ü"], "map": {"a": 0.5}}
        options = {"exchange": "", "routing_key": queue, "queue": declared, **options}
        return Message(headers, text.encode(), "application/json", "utf-8", properties, **options)

    def send(self, *texts: str, queue: str = "", **options: Any) -> None:
        """Publish messages in one go."""
        self.broker.publish_many([self.message(text, queue, **options) for text in texts])

    def close(self, consumer: Consumer | None = None) -> None:
        """Close one consumer, or everything."""
        for each in self._consumers if consumer is None else [consumer]:
            each.close()
        if consumer is None:
            self._ended.set()
            self._house.join()
            self.broker.close()
        else:
            self._consumers.remove(consumer)


@pytest.fixture
def bench(app: Any) -> Iterator[Bench]:
    bench = Bench(app)
    yield bench
    bench.close()


def take(consumer: Consumer, count: int, most: int | None = None) -> list[Delivery]:
    """Fetch until there are so many, not acknowledging any."""
    found: list[Delivery] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < deadline:
        found += consumer.fetch(most or count - len(found), 0.5)
    assert len(found) == count, f"{len(found)} of {count} came"
    return found


def run(consumer: Consumer, count: int, most: int = 1) -> list[str]:
    """Take so many and acknowledge each as an early task does; what they say."""
    said: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while len(said) < count and time.monotonic() < deadline:
        for delivery in consumer.fetch(most, 0.5):
            said.append(says(consumer, delivery))
            assert consumer.begin(delivery, ack=True)
    assert len(said) == count, f"{said} of {count} came"
    return said


def says(consumer: Consumer, delivery: Delivery) -> str:
    return consumer.read(delivery).body.decode()


def assert_came(place: Place, said: list[str], expected: list[str], *, front: bool = False) -> None:
    """All of them, once; in this order where the broker keeps one (with `front`, also for what was given back)."""
    assert sorted(said) == sorted(expected)
    if place.ordered and (place.front or not front):
        assert said == expected


def assert_empty(bench: Bench, *queues: str) -> None:
    """Nothing waits, and nobody has anything to give back."""
    bench.close(bench.consumer(*queues))
    wait_for(lambda: not any(map(bench.broker.queue_length, queues or [QUEUE])), 10, "the queues to be empty")


# -- what is sent


def test_what_is_sent_comes_as_it_was(bench: Bench) -> None:
    sent = bench.message("hello", properties={"priority": 3})
    bench.broker.publish(sent)
    consumer = bench.consumer()

    (delivery,) = take(consumer, 1)

    got = consumer.read(delivery)
    assert delivery.queue == QUEUE
    assert isinstance(delivery.tag, bytes) and isinstance(delivery.raw, bytes)
    assert (got.headers, got.body, got.content_type, got.content_encoding) == (
        sent.headers, b"hello", "application/json", "utf-8",
    )  # fmt: skip
    assert {key: got.properties.get(key) for key in ("correlation_id", "priority")} == {
        "correlation_id": "hello", "priority": 3,
    }  # fmt: skip
    assert not got.properties["delivery_info"].get("redelivered")
    consumer.ack(delivery)


def test_any_bytes_and_sizes(bench: Bench) -> None:
    bodies = [b"", bytes(range(256)), b"x" * 300_000]
    consumer = bench.consumer()
    for body in bodies:
        message = bench.message("")
        message.body, message.content_type, message.content_encoding = body, "application/data", "binary"
        bench.broker.publish(message)
        (delivery,) = take(consumer, 1)
        assert consumer.read(delivery).body == body
        consumer.ack(delivery)


def test_order(bench: Bench, place: Place) -> None:
    texts = [f"m{number:03}" for number in range(60)]
    bench.send(*texts)
    assert_came(place, run(bench.consumer(), 60, most=7), texts)
    assert_empty(bench)


def test_never_more_than_was_asked_for(bench: Bench) -> None:
    bench.send(*map(str, range(10)))
    consumer = bench.consumer()
    first = take(consumer, 3, most=3)
    assert len(first) == 3
    assert len(consumer.fetch(2, 2.0)) <= 2


def test_queues_of_their_own(bench: Bench) -> None:
    bench.send("a", queue=name("one"))
    bench.send("b", queue=name("two"))
    assert run(bench.consumer(name("two")), 1) == ["b"]
    assert run(bench.consumer(name("one")), 1) == ["a"]


@pytest.mark.parametrize("most", [1, 4])
def test_one_consumer_of_many_queues(bench: Bench, place: Place, most: int) -> None:
    queues = [name("one"), name("two"), name("three")]
    for queue in queues:
        bench.send(*[f"{queue}{number}" for number in range(5)], queue=queue)
    said = run(bench.consumer(*queues), 15, most=most)
    assert sorted(said) == sorted(f"{queue}{number}" for queue in queues for number in range(5))
    for queue in queues:
        assert_came(place, [text for text in said if text.startswith(queue)], [f"{queue}{n}" for n in range(5)])
    assert_empty(bench, *queues)


def test_queues_change_while_something_is_held(bench: Bench) -> None:
    one, two, three = queues = name("one"), name("two"), name("three")
    consumer = bench.consumer(one, two, serial=False)
    bench.send("a", queue=one)
    (held,) = take(consumer, 1)
    assert consumer.begin(held, ack=False)
    bench.broker.declare([bench.app.amqp.queues[three]])
    consumer.set_queues([two, three])
    bench.send("b", queue=two)
    bench.send("c", queue=three)
    bench.send("d", queue=one)
    assert sorted(run(consumer, 2)) == ["b", "c"]
    assert consumer.fetch(1, 0.3) == []
    consumer.ack(held)
    consumer.set_queues([])
    assert consumer.fetch(1, 0.1) == []
    consumer.set_queues([one])
    assert run(consumer, 1) == ["d"]
    assert_empty(bench, *queues)


def test_what_was_asked_for_before_a_queue_was_cancelled_is_not_lost(bench: Bench, place: Place) -> None:
    one, two = name("one"), name("two")
    consumer = bench.consumer(one)
    bench.broker.declare([bench.app.amqp.queues[two]])
    bench.send(*"abcd", queue=one)
    assert len(run(consumer, 1)) == 1
    consumer.prepare(2, lambda number: None)
    consumer.set_queues([two])
    bench.send("e", queue=two)
    came: list[str] = []
    while "e" not in came:
        for delivery in consumer.fetch(2, 0.5):
            if delivery.queue == one:
                consumer.release([delivery])
            else:
                came.append(says(consumer, delivery))
                assert consumer.begin(delivery, ack=True)
    consumer.set_queues([one])
    assert len(run(consumer, 3)) == 3
    assert_empty(bench, one, two)


def test_urgent_ones_first(bench: Bench, place: Place) -> None:
    if not place.priorities:
        pytest.skip("this broker has no priorities")
    urgent, usual = (0, 9) if place.url.startswith(("redis", "memory", "sqlite")) else (9, 0)
    bench.send("usual", properties={"priority": usual})
    bench.send("urgent", properties={"priority": urgent})
    assert run(bench.consumer(), 2) == ["urgent", "usual"]


def test_many_threads_send(bench: Bench) -> None:
    def send(letter: str) -> None:
        for number in range(20):
            bench.send(f"{letter}{number}")

    threads = [threading.Thread(target=send, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = run(bench.consumer(), 80, most=10)
    assert sorted(said) == sorted(f"{letter}{number}" for letter in "abcd" for number in range(20))


def test_a_closed_broker_opens_again(bench: Bench) -> None:
    bench.send("one")
    bench.broker.close()
    bench.send("two")
    assert sorted(run(bench.consumer(), 2)) == ["one", "two"]


def test_length_and_purge(bench: Bench) -> None:
    bench.close(bench.consumer(name("other")))
    bench.send("a", "b", "c")
    wait_for(lambda: bench.broker.queue_length(QUEUE) == 3, 10, "three messages")
    assert bench.broker.queue_length(name("other")) == 0
    assert bench.broker.purge([QUEUE, name("other")]) == 3
    assert bench.broker.queue_length(QUEUE) == 0


def test_a_queue_that_nobody_declared_is_empty(bench: Bench) -> None:
    assert bench.broker.queue_length(name("never-heard-of")) == 0
    assert bench.broker.purge([name("never-heard-of")]) == 0


# -- waiting


def test_waits_for_the_first(bench: Bench) -> None:
    consumer = bench.consumer()
    assert consumer.fetch(1, 0.05) == []
    timer = threading.Timer(0.3, bench.send, ["late"])
    timer.start()
    (delivery,) = consumer.fetch(5, PATIENCE)
    assert says(consumer, delivery) == "late"
    timer.join()


def test_wake(bench: Bench) -> None:
    consumer = bench.consumer()
    timer = threading.Timer(0.2, consumer.wake)
    timer.start()
    started = time.monotonic()
    assert consumer.fetch(1, 2 * PATIENCE) == []
    assert time.monotonic() - started < PATIENCE
    timer.join()


def test_a_consumer_of_nothing_waits(bench: Bench) -> None:
    consumer = bench.broker.consumer([], serial=True, lease=30.0)
    assert consumer.open(lambda: False)
    assert consumer.fetch(1, 0.05) == []
    consumer.close()


# -- letting go


def test_what_is_acknowledged_is_gone(bench: Bench) -> None:
    bench.send("early", "late", "early too")
    consumer = bench.consumer()
    for _ in range(3):
        (delivery,) = take(consumer, 1)
        early = says(consumer, delivery).startswith("early")
        assert consumer.begin(delivery, ack=early)
        if not early:
            consumer.ack(delivery)
    consumer.flush()
    bench.close(consumer)
    assert_empty(bench)


def test_what_is_not_acknowledged_comes_again(bench: Bench, place: Place) -> None:
    texts = list("abcdef")
    bench.send(*texts)
    first = bench.consumer()
    taken = take(first, 4)
    assert first.begin(taken[0], ack=True)
    assert first.begin(taken[1], ack=False)
    bench.close(first)

    left = [says(first, delivery) for delivery in taken[1:]]
    left += sorted(set(texts) - {says(first, delivery) for delivery in taken})
    assert_came(place, run(bench.consumer(), 5, most=3), left, front=True)


def test_requeued_ones_are_marked(bench: Bench) -> None:
    bench.send("again")
    consumer = bench.consumer()
    (delivery,) = take(consumer, 1)
    assert consumer.begin(delivery, ack=False)
    consumer.requeue(delivery)

    (second,) = take(consumer, 1)

    got = consumer.read(second)
    assert got.body == b"again"
    assert got.properties["delivery_info"].get("redelivered") or got.headers.get("redelivered")
    consumer.ack(second)
    consumer.flush()
    bench.close(consumer)
    assert_empty(bench)


def test_released_ones_come_again_in_order(bench: Bench, place: Place) -> None:
    bench.send(*"abcdef")
    consumer = bench.consumer()
    taken = take(consumer, 4)
    assert consumer.begin(taken[0], ack=True)
    consumer.release(taken[1:])
    left = [says(consumer, delivery) for delivery in taken[1:]]
    left += sorted(set("abcdef") - {says(consumer, delivery) for delivery in taken})
    assert_came(place, run(consumer, 5, most=2), left, front=True)


def test_fresh_until_let_go(bench: Bench) -> None:
    bench.send("a", "b")
    consumer = bench.consumer()
    first, second = take(consumer, 2, most=2)
    assert consumer.fresh(first) and consumer.fresh(second)
    consumer.release([second])
    consumer.ack(first)


def test_two_consumers_share(bench: Bench) -> None:
    texts = {f"m{number}" for number in range(40)}
    bench.send(*sorted(texts))
    one, other = bench.consumer(), bench.consumer()
    said: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while len(said) < 40 and time.monotonic() < deadline:
        for consumer in (one, other):
            for delivery in consumer.fetch(2, 0.1):
                said.append(says(consumer, delivery))
                assert consumer.begin(delivery, ack=True)
    assert sorted(said) == sorted(texts)
    bench.close(one)
    bench.close(other)
    assert_empty(bench)


def test_other_threads_acknowledge_while_one_waits(bench: Bench) -> None:
    bench.send("a", "b")
    consumer = bench.consumer(serial=False)
    taken = take(consumer, 2)
    waiting = threading.Thread(target=consumer.fetch, args=(1, PATIENCE))
    waiting.start()
    for delivery in taken:
        assert consumer.begin(delivery, ack=False)
        consumer.ack(delivery)
    consumer.wake()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    consumer.flush()
    bench.close(consumer)
    assert_empty(bench)


# -- later


@pytest.mark.parametrize("seconds", [0.3, pytest.param(2.2, marks=pytest.mark.slow)])
def test_not_before_its_time(bench: Bench, place: Place, seconds: float) -> None:
    if place.delays is False:
        pytest.skip("this broker cannot delay")
    consumer = bench.consumer()
    due = time.time() + seconds
    bench.send("later", due=due)
    bench.send("now")

    said: list[str] = []
    while len(said) < 2:
        (delivery,) = take(consumer, 1)
        if says(consumer, delivery) == "later" and time.time() < due:
            consumer.defer(delivery, due)  # as the worker does with what comes too early
            continue
        said.append(says(consumer, delivery))
        consumer.ack(delivery)

    assert said == ["now", "later"]
    assert due <= time.time() < due + PATIENCE


@pytest.mark.parametrize("seconds", [0.4, pytest.param(2.6, marks=pytest.mark.slow)])
def test_deferred_ones_come_when_they_are_due(bench: Bench, seconds: float) -> None:
    bench.send("later")
    consumer = bench.consumer()
    (first,) = take(consumer, 1)
    due = time.time() + seconds
    consumer.defer(first, due)
    bench.send("now")
    assert run(consumer, 1) == ["now"]

    while True:
        (delivery,) = take(consumer, 1)
        if time.time() >= due:
            break
        consumer.defer(delivery, due)

    assert says(consumer, delivery) == "later"
    assert time.time() < due + PATIENCE
    consumer.ack(delivery)
    consumer.flush()
    bench.close(consumer)
    assert_empty(bench)


# -- set aside


def test_bury_look_retry_purge(bench: Bench, place: Place) -> None:
    bench.broker.purge_dead()
    consumer = bench.consumer()
    for text in ("bad", "worse"):
        bench.send(text)
        (delivery,) = take(consumer, 1)
        assert says(consumer, delivery) == text
        consumer.bury(delivery, f"it is {text}")
    bench.send("good")
    assert run(consumer, 1) == ["good"]
    consumer.flush()

    letters = bench.broker.dead()
    if not place.ordered:
        letters.sort(key=lambda letter: letter.reason, reverse=True)
    assert [(letter.reason, letter.queue, letter.task_id) for letter in letters] == [
        ("it is worse", QUEUE, "worse"), ("it is bad", QUEUE, "bad"),
    ]  # fmt: skip
    assert len(bench.broker.dead(limit=1)) == 1

    assert bench.broker.retry_dead([letters[1].id]) == 1
    assert run(consumer, 1) == ["bad"]
    assert [letter.task_id for letter in bench.broker.dead()] == ["worse"]
    assert bench.broker.retry_dead() == 1
    assert run(consumer, 1) == ["worse"]
    assert bench.broker.dead() == []

    bench.send("bad")
    (delivery,) = take(consumer, 1)
    consumer.bury(delivery, "again")
    consumer.flush()
    assert bench.broker.purge_dead() == 1
    assert bench.broker.dead() == []


# -- exchanges


def test_a_topic_exchange_routes(bench: Bench, app: Any, place: Place) -> None:
    exchange = Exchange(name("animals"), type="topic")
    app.amqp.queues.add(Queue(name("all"), exchange, routing_key="animal.#"))
    app.amqp.queues.add(Queue(name("rabbits"), exchange, routing_key="*.rabbit"))
    consumers = {text: bench.consumer(name(text)) for text in ("all", "rabbits")}
    bench.send("fox", exchange=name("animals"), routing_key="animal.fox", queue=name("all"))
    bench.send("rabbit", exchange=name("animals"), routing_key="animal.rabbit", queue=name("all"))
    assert sorted(run(consumers["all"], 2)) == ["fox", "rabbit"]
    assert run(consumers["rabbits"], 1) == ["rabbit"]


def test_a_fanout_exchange_gives_to_all(bench: Bench, app: Any, place: Place) -> None:
    if not place.exchanges:
        pytest.skip("fan-out on this broker has tests of its own")
    exchange = Exchange(name("news"), type="fanout")
    for text in ("here", "there"):
        app.amqp.queues.add(Queue(name(text), exchange, routing_key=""))
    consumers = [bench.consumer(name(text)) for text in ("here", "there")]
    bench.send("extra", exchange=name("news"), routing_key="", queue=name("here"))
    for consumer in consumers:
        assert run(consumer, 1) == ["extra"]


# -- through a worker


@pytest.mark.parametrize("pool", ["solo", pytest.param("threads", marks=pytest.mark.slow)])
def test_a_worker_runs_tasks(app: Any, place: Place, pool: str) -> None:
    from celerylite.contrib.testing.worker import start_worker

    seen: list[tuple[int, bool]] = []

    @app.task(shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(bind=True, shared=False, max_retries=3)
    def twice(self: Any) -> str:
        if not self.request.retries:
            raise self.retry(countdown=0.2)
        return "done"

    @app.task(acks_late=True, bind=True, shared=False)
    def late(self: Any, number: int) -> int:
        seen.append((number, bool(self.request.delivery_info["redelivered"])))
        return number

    with start_worker(app, pool=pool, perform_ping_check=False):
        results = [add.delay(number, 1) for number in range(30)]
        assert [result.get(timeout=PATIENCE) for result in results] == list(range(1, 31))
        assert twice.delay().get(timeout=PATIENCE) == "done"
        assert [late.delay(number).get(timeout=PATIENCE) for number in range(3)] == [0, 1, 2]
        soon = add.apply_async((1, 1), countdown=0.5)
        assert soon.get(timeout=PATIENCE) == 2
    # On AMQP a message that waited behind a busy process and was given back counts as redelivered, too.
    assert [number for number, _ in seen] == [0, 1, 2]
    assert place.url.startswith("amqp") or not any(again for _, again in seen)


# -- looking without taking


def test_what_waits_can_be_listed(bench: Bench) -> None:
    """Where the broker can: the earliest first, only of the queues that were asked for, and nothing is taken."""
    consumer = bench.consumer()
    due = time.time() + 1000
    bench.broker.publish(bench.message("later", due=due + 10))
    bench.broker.publish(bench.message("sooner", due=due))
    if not bench.broker.delayed([QUEUE]):
        pytest.skip("this broker's delays cannot be listed")
    listed = bench.broker.delayed([QUEUE])
    assert [(one.queue, decode(one.raw).body) for one in listed] == [(QUEUE, b"sooner"), (QUEUE, b"later")]
    assert [one.due for one in listed] == pytest.approx([due, due + 10])
    assert len(bench.broker.delayed([QUEUE], 1)) == 1
    assert bench.broker.delayed([name("other")]) == []
    assert consumer.fetch(5, 0) == []


def test_what_is_held_can_be_listed(bench: Bench) -> None:
    consumer = bench.consumer()
    bench.send("a", "b", "c")
    taken = take(consumer, 3, 3)
    listed = bench.broker.held([consumer.id])
    if not listed:
        pytest.skip("only the consumer knows what it holds")
    assert [decode(one.raw).body for one in listed[consumer.id]] == [b"a", b"b", b"c"]
    numbers = [int(delivery.tag.split(b"\0")[0]) for delivery in taken]
    assert [one.number for one in listed[consumer.id]] == numbers
    consumer.release(taken)
