"""What beat asks of a broker: notebooks, and publishing together with a note. Every broker that has them passes."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celerylite import Celery
from celerylite.brokers.base import Broker
from celerylite.brokers.values import Claim
from celerylite.message import Message

BROKERS = ("memory", "redis", "sqlite", pytest.param("redis_cluster", marks=pytest.mark.slow))
QUEUE = "ticks"


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    elif request.param == "redis_cluster":
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        url = cluster.url
    elif request.param == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('tmp_path')}/celerylite.db"
    else:
        url = f"memory:///{uuid.uuid4().hex}"
    with Celery("notebooks", broker=url, set_as_current=False) as app:
        yield app.broker


def message(body: str = "[]", **options: Any) -> Message:
    properties = {"correlation_id": body, "delivery_mode": 2, "delivery_info": {}, **options.pop("properties", {})}
    return Message(
        {"id": body, "task": "t"}, body.encode(), "application/json", "utf-8", properties, routing_key=QUEUE, **options
    )


def claim(seen: bytes | None, value: bytes, *messages: Message, field: str = "entry") -> Claim:
    return Claim("book", field, seen, value, messages)


def waiting(broker: Broker) -> list[str]:
    """The bodies of what waits in the queue, oldest first; taken for good."""
    consumer = broker.consumer([QUEUE], serial=False, lease=60)
    assert consumer.open(lambda: False)
    bodies = []
    while found := consumer.fetch(100, 0):
        for delivery in found:
            bodies.append(consumer.read(delivery).body.decode())
            consumer.ack(delivery)
    consumer.flush()
    consumer.close()
    return bodies


def test_a_new_notebook_is_empty(broker: Broker) -> None:
    book = broker.notebook("book")
    assert book is not None
    assert book.version() == 0
    assert book.read() == (0, {})


def test_notes_are_written_and_deleted(broker: Broker) -> None:
    book = broker.notebook("book")
    assert book is not None
    assert book.change({"a": b"1", "b": b"\xff\x00", "täglich": b"3"})
    assert book.change({"a": b"2"}, drop=["b", "unknown"])
    version, notes = book.read()
    assert notes == {"a": b"2", "täglich": b"3"}
    assert version == book.version() > 0


def test_some_notes_are_looked_up(broker: Broker) -> None:
    book = broker.notebook("book")
    assert book is not None
    book.change({"a": b"1", "b": b"2"})
    assert book.look(["b", "unknown", "a"]) == [b"2", None, b"1"]
    assert book.look([]) == []


def test_each_change_makes_another_version(broker: Broker) -> None:
    book = broker.notebook("book")
    assert book is not None
    seen = {book.version()}
    for number in range(20):
        book.change({"a": b"%d" % number})
        seen.add(book.version())
    assert len(seen) == 21


def test_a_change_of_an_old_version_is_refused(broker: Broker) -> None:
    book = broker.notebook("book")
    assert book is not None
    book.change({"a": b"1"})
    before = book.version()
    book.change({"a": b"2"})
    assert not book.change({"a": b"3"}, version=before)
    assert book.read()[1] == {"a": b"2"}
    assert book.change({"a": b"4"}, version=book.version())
    assert book.read()[1] == {"a": b"4"}


def test_a_notebook_that_is_new_is_changed_as_version_0(broker: Broker) -> None:
    book = broker.notebook("book")
    assert book is not None
    assert book.change({"a": b"1"}, version=0)
    assert not book.change({"a": b"2"}, version=0)


def test_notebooks_are_apart(broker: Broker) -> None:
    one, two = broker.notebook("one"), broker.notebook("two")
    assert one is not None and two is not None
    one.change({"a": b"1"})
    assert two.read() == (0, {})


def test_a_claim_publishes_and_writes(broker: Broker) -> None:
    assert broker.publish_once([claim(None, b"1", message("first"))]) == [None]
    book = broker.notebook("book")
    assert book is not None and book.read()[1] == {"entry": b"1"}
    assert waiting(broker) == ["first"]


def test_a_claim_that_comes_late_learns_what_is_there(broker: Broker) -> None:
    broker.publish_once([claim(None, b"1", message("first"))])
    assert broker.publish_once([claim(None, b"2", message("second"))]) == [b"1"]
    assert broker.publish_once([claim(b"0", b"2", message("second"))]) == [b"1"]
    assert waiting(broker) == ["first"]
    assert broker.publish_once([claim(b"1", b"2", message("second"))]) == [None]
    assert waiting(broker) == ["second"]


def test_a_claim_of_a_note_that_is_gone(broker: Broker) -> None:
    assert broker.publish_once([claim(b"1", b"2", message("x"))]) == [b""]
    assert waiting(broker) == []


def test_a_repeated_claim_counts_as_one(broker: Broker) -> None:
    """The answer to the first may have been lost on the way."""
    again = claim(None, b"1", message("first"))
    assert broker.publish_once([again]) == [None]
    assert broker.publish_once([again]) == [None]
    assert waiting(broker) == ["first"]


def test_claims_are_done_in_order_each_by_itself(broker: Broker) -> None:
    answers = broker.publish_once(
        [
            claim(None, b"1", message("a")),
            claim(b"1", b"2", message("b"), message("c")),
            claim(b"1", b"9", message("lost")),
            claim(None, b"1", message("d"), field="other"),
        ]
    )
    assert answers == [None, None, b"2", None]
    assert waiting(broker) == ["a", "b", "c", "d"]


def test_claims_leave_the_version_alone(broker: Broker) -> None:
    book = broker.notebook("book")
    assert book is not None
    book.change({"a": b"1"})
    before = book.version()
    broker.publish_once([claim(None, b"1", message("first"))])
    assert book.version() == before


def test_a_claim_may_send_nothing(broker: Broker) -> None:
    assert broker.publish_once([claim(None, b"1")]) == [None]
    assert broker.publish_once([claim(None, b"2")]) == [b"1"]


def test_a_message_that_is_due_later_waits(broker: Broker) -> None:
    keeper_side = broker.consumer([QUEUE], serial=False, lease=60)  # a live worker, who promotes
    assert keeper_side.open(lambda: False)
    keeper_side.fetch(1, 0)
    broker.publish_once([claim(None, b"1", message("later", due=broker.clock() + 3600), message("now"))])
    assert waiting(broker) == ["now"]
    keeper_side.close()


def test_priorities_are_kept(broker: Broker) -> None:
    broker.publish_once(
        [claim(None, b"1", message("low", properties={"priority": 9}), message("high", properties={"priority": 0}))]
    )
    assert waiting(broker) == ["high", "low"]


def test_the_clock_is_about_now(broker: Broker) -> None:
    assert abs(broker.clock() - time.time()) < 60


def test_one_of_many_wins(broker: Broker) -> None:
    """Twenty threads count to fifty together; each number is published once."""
    won: list[int] = []
    go = threading.Barrier(20)

    def count(name: int) -> None:
        go.wait()
        seen: bytes | None = None
        while (number := int((seen or b"0").split(b" ")[0]) + 1) <= 50:
            value = b"%d by %d" % (number, name)
            answer = broker.publish_once([claim(seen, value, message(str(number)))])[0]
            if answer is None:
                won.append(number)
            seen = value if answer is None else answer

    run_all([lambda name=name: count(name) for name in range(20)])
    assert sorted(won) == list(range(1, 51))
    assert sorted(map(int, waiting(broker))) == list(range(1, 51))


def run_all(functions: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
