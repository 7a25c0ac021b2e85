"""kombu on an SQLite file: routing, fan-out, queues that come and go, waiting; seen from two connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue

from celerylite.brokers import sqlite_upkeep
from celerylite.transports import register

FANOUT = Exchange("news", "fanout")
TOPIC = Exchange("animals", "topic")


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[[], Connection]]:
    register()
    made: list[Connection] = []

    def make() -> Connection:
        connection = Connection(f"sqlite:///{tmp_path}/kombu.db")
        made.append(connection)
        return connection

    yield make
    for connection in made:
        connection.release()


def publish(connection: Connection, body: Any, exchange: Exchange | None = None, key: str = "", **options: Any) -> None:
    declare = [exchange] if exchange is not None else []
    Producer(connection.channel()).publish(body, exchange=exchange or "", routing_key=key, declare=declare, **options)


def drain(connection: Connection, *queues: Queue, count: int, no_ack: bool = False) -> list[Any]:
    found: list[Any] = []

    def take(body: Any, message: Any) -> None:
        found.append(body)
        if not no_ack:
            message.ack()

    with Consumer(connection.channel(), list(queues), callbacks=[take], no_ack=no_ack):
        while len(found) < count:
            connection.drain_events(timeout=10)
    return found


def rows(connection: Connection, table: str) -> int:
    database = connection.transport.database
    return database.run(lambda link: link.read(f"SELECT count(*) FROM {table}"))[0][0]


def test_a_message_goes_from_one_connection_to_the_other(connect: Any) -> None:
    queue = Queue("q", Exchange("q"), routing_key="q")
    here, there = connect(), connect()
    queue(there.channel()).declare()
    publish(here, {"n": 1}, Exchange("q"), "q")
    assert drain(there, queue, count=1) == [{"n": 1}]
    assert rows(here, "message") == 0


def test_urgent_ones_first(connect: Any) -> None:
    here = connect()
    for priority in (9, 0, 5):
        publish(here, priority, key="q", priority=priority)
    assert drain(connect(), Queue("q"), count=3) == [0, 5, 9]


def test_topics(connect: Any) -> None:
    here = connect()
    queues = [Queue("cats", TOPIC, routing_key="cat.#"), Queue("big", TOPIC, routing_key="*.big")]
    for queue in queues:
        queue(here.channel()).declare()
    for key in ("cat.small", "cat.big", "dog.big", "dog.small"):
        publish(here, key, TOPIC, key)
    assert drain(here, queues[0], count=2) == ["cat.small", "cat.big"]
    assert drain(here, queues[1], count=2) == ["cat.big", "dog.big"]


def test_fan_out_reaches_everybody_and_nobody_else(connect: Any) -> None:
    first, second = (Queue(name, FANOUT, auto_delete=True) for name in ("one", "two"))
    here, there = connect(), connect()
    heard: dict[str, list[Any]] = {"one": [], "two": []}
    ready = threading.Barrier(3)

    def listen(connection: Connection, queue: Queue) -> None:
        callback = lambda body, message: (heard[queue.name].append(body), message.ack())  # noqa: E731
        with Consumer(connection, [queue], callbacks=[callback]):
            ready.wait(10)
            while len(heard[queue.name]) < 3:
                connection.drain_events(timeout=10)

    threads = [threading.Thread(target=listen, args=pair) for pair in ((here, first), (there, second))]
    for thread in threads:
        thread.start()
    ready.wait(10)
    sender = connect()
    for number in range(3):
        publish(sender, number, FANOUT)
    for thread in threads:
        thread.join(20)
    assert heard == {"one": [0, 1, 2], "two": [0, 1, 2]}
    publish(sender, "nobody listens", FANOUT)
    assert (rows(sender, "message"), rows(sender, "binding"), rows(sender, "queue")) == (0, 0, 0)


def test_a_wait_ends_in_time(connect: Any) -> None:
    connection = connect()
    with Consumer(connection, [Queue("q")], callbacks=[print]), pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.05)


def test_a_queue_of_a_killed_consumer_expires(connect: Any) -> None:
    here = connect()
    Queue("gone", FANOUT, expires=0.05)(here.channel()).declare()
    Queue("stays", FANOUT)(here.channel()).declare()
    publish(here, "x", FANOUT)
    assert rows(here, "message") == 2
    time.sleep(0.06)  # a queue's lifetime is what is tested
    here.transport.database.run(sqlite_upkeep.Upkeep().do)
    assert (rows(here, "message"), rows(here, "binding")) == (1, 1)


def test_what_is_not_acknowledged_comes_again(connect: Any) -> None:
    here = connect()
    publish(here, "x", key="q")
    queue = here.SimpleQueue("q")
    assert queue.get(timeout=5).payload == "x"
    queue.close()
    here.release()
    assert drain(connect(), Queue("q"), count=1) == ["x"]


def test_purge_size_and_delete(connect: Any) -> None:
    here = connect()
    channel = here.channel()
    queue = Queue("q", Exchange("q"), routing_key="q")(channel)
    queue.declare()
    for number in range(3):
        publish(here, number, Exchange("q"), "q")
    assert queue.queue_declare().message_count == 3
    assert queue.purge() == 3
    publish(here, "x", Exchange("q"), "q")
    queue.unbind_from(Exchange("q"), "q")
    publish(here, "nowhere", Exchange("q"), "q")
    assert queue.queue_declare().message_count == 1
    queue.delete()
    assert not channel._has_queue("q")


def test_the_url_is_shown_as_an_absolute_path(connect: Any, tmp_path: Path) -> None:
    assert connect().as_uri() == f"sqlite:///{tmp_path}/kombu.db"
