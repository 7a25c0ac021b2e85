"""Consumers and keepers on one file: marks, leases, what is left of the dead, and the size of the file."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celerylite import Celery, brokers
from celerylite.brokers import sqlite_consumer, sqlite_keeper, sqlite_marks, sqlite_upkeep
from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.sqlite import SqliteBroker
from celerylite.brokers.sqlite_consumer import Held, SqliteConsumer
from celerylite.brokers.sqlite_keeper import SqliteKeeper
from celerylite.brokers.values import Settlement, Store
from celerylite.message import Message

LEASE = 30.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SqliteBroker]:
    url = f"sqlite:///{tmp_path}/celerylite.db"
    app = Celery("keeping", broker=url, backend=url, set_as_current=False)
    broker = brokers.connect(app, worker="w@here")
    assert isinstance(broker, SqliteBroker)
    yield broker
    broker.close()
    app.close()


@pytest.fixture
def keeper(broker: SqliteBroker) -> Iterator[SqliteKeeper]:
    keeper = broker.keeper(["q"], lease=LEASE)
    assert isinstance(keeper, SqliteKeeper)
    yield keeper
    keeper.close()


@pytest.fixture
def consume(broker: SqliteBroker) -> Iterator[Callable[..., SqliteConsumer]]:
    made: list[SqliteConsumer] = []

    def make(*queues: str, serial: bool = True, lease: float = LEASE, **options: Any) -> SqliteConsumer:
        consumer = broker.consumer(queues or ("q",), serial=serial, lease=lease, **options)
        assert isinstance(consumer, SqliteConsumer)
        assert consumer.open(lambda: False)
        made.append(consumer)
        return consumer

    yield make
    for consumer in made:
        if consumer._marks._map is not None:
            consumer.close()


def send(broker: SqliteBroker, *texts: str, queue: str = "q", **options: Any) -> None:
    broker.publish_many([message(text, queue, **options) for text in texts])


def message(text: str, queue: str = "q", **options: Any) -> Message:
    properties = {"correlation_id": text, "delivery_mode": 2, "delivery_info": {}}
    return Message(
        {"id": text, "task": "t"}, text.encode(), "application/json", "utf-8", properties, routing_key=queue, **options
    )


def texts(consumer: SqliteConsumer, deliveries: list[Any]) -> list[str]:
    return [consumer.read(delivery).body.decode() for delivery in deliveries]


def waiting(broker: SqliteBroker, queue: str = "q") -> list[str]:
    consumer = broker.consumer((queue,), serial=False, lease=LEASE)
    assert consumer.open(lambda: False)
    found = texts(consumer, consumer.fetch(1000, 0))  # type: ignore[arg-type]
    consumer.close()
    return found


def rows(broker: SqliteBroker) -> int:
    return broker._read("SELECT count(*) FROM message", ())[0][0]


def die(consumer: SqliteConsumer) -> str:
    """What is left of a killed process: its rows and its file, which nobody locks any more."""
    number = consumer._marks._number
    assert number is not None
    os.close(number)
    consumer._marks._map = None
    return consumer.id


def reclaim(keeper: SqliteKeeper, monkeypatch: pytest.MonkeyPatch, limit: int | None = None) -> list[str]:
    buried: list[str] = []
    monkeypatch.setattr(sqlite_keeper, "GRACE", 0.0)
    keeper.reclaim(limit, lambda raw, reason: buried.append(reason))
    return buried


# -- acknowledging


def test_one_that_came_alone_is_acknowledged_by_a_transaction(broker: SqliteBroker, consume: Any) -> None:
    send(broker, "a")
    consumer = consume()
    (delivery,) = consumer.fetch(10, 0)
    assert consumer.begin(delivery, ack=True)
    assert rows(broker) == 0


def test_those_of_a_batch_are_marked_and_deleted_with_the_next(broker: SqliteBroker, consume: Any) -> None:
    send(broker, "a", "b", "c")
    consumer = consume()
    for delivery in consumer.fetch(10, 0):
        assert consumer.begin(delivery, ack=True)
        consumer.settle(delivery, Settlement(), acked=True)
    assert rows(broker) == 3
    consumer.fetch(10, 0)
    assert rows(broker) == 0


def test_before_a_wait_nothing_is_left_undone(broker: SqliteBroker, consume: Any) -> None:
    send(broker, "a", "b")
    consumer = consume()
    for delivery in consumer.fetch(10, 0):
        assert consumer.begin(delivery, ack=True)
        consumer.settle(delivery, Settlement(), acked=True)
    consumer.flush()
    assert rows(broker) == 0 and not consumer._link.dirty


def test_a_settlement_is_one_transaction(broker: SqliteBroker, consume: Any) -> None:
    send(broker, "a")
    consumer = consume()
    (delivery,) = consumer.fetch(1, 0)
    assert consumer.begin(delivery, ack=False)
    backend = broker.database
    store = Store(b"celery-task-meta-a", b"{}", 60)
    consumer.settle(delivery, Settlement(store, [message("next")]), acked=False)
    assert rows(broker) == 1 and waiting(broker) == ["next"]
    assert backend.run(lambda link: link.read("SELECT value FROM result")) == [(b"{}",)]


def test_a_settlement_of_what_is_not_ours_any_more_does_nothing(
    broker: SqliteBroker, consume: Any, caplog: pytest.LogCaptureFixture
) -> None:
    send(broker, "a")
    consumer = consume()
    (delivery,) = consumer.fetch(1, 0)
    broker.database.run(lambda link: link.execute("UPDATE message SET consumer = 'other'"))
    with caplog.at_level(logging.WARNING):
        consumer.settle(delivery, Settlement(Store(b"k", b"{}"), [message("next")]), acked=False)
    assert "lease had run out" in caplog.text
    assert broker.database.run(lambda link: link.read("SELECT value FROM result")) == []
    assert rows(broker) == 1


def test_after_its_sure_time_a_message_is_asked_for(broker: SqliteBroker, consume: Any) -> None:
    send(broker, "a", "b", "c")
    consumer = consume(sure=0.0)
    kept, given, late = consumer.fetch(10, 0)
    broker.database.run(lambda link: link.execute("UPDATE message SET consumer = NULL WHERE id = ?", (given.id,)))
    assert not consumer.fresh(kept)
    assert consumer.begin(kept, ack=True)
    assert not consumer.begin(given, ack=True)
    assert consumer.begin(late, ack=False)


def test_closing_gives_back_what_has_not_started_in_order(broker: SqliteBroker, consume: Any) -> None:
    send(broker, "a", "b", "c", "d")
    consumer = consume()
    first, *_ = consumer.fetch(3, 0)
    assert consumer.begin(first, ack=True)
    consumer.close()
    assert waiting(broker) == ["b", "c", "d"]


def test_requeued_ones_are_first_in_line_and_marked(broker: SqliteBroker, consume: Any) -> None:
    send(broker, "a", "b")
    consumer = consume()
    (delivery,) = consumer.fetch(1, 0)
    consumer.requeue(delivery)
    (again,) = consumer.fetch(1, 0)
    assert texts(consumer, [again]) == ["a"]
    assert consumer.read(again).headers["redelivered"] is True


def test_one_take_has_a_limit_of_bytes(broker: SqliteBroker, consume: Any) -> None:
    send(broker, *[f"{number}{'x' * 200_000}" for number in range(5)])
    assert len(consume().fetch(5, 0)) == 2


def test_queues_by_turns_and_priorities_first(broker: SqliteBroker, consume: Any) -> None:
    send(broker, "a1", "a2", queue="a")
    send(broker, "b1", "b2", queue="b")
    consumer = consume("a", "b")
    assert [texts(consumer, consumer.fetch(1, 0))[0][0] for _ in range(4)] == ["b", "a", "b", "a"]


# -- waking


def test_a_message_wakes_a_waiting_consumer_at_once(broker: SqliteBroker, consume: Any) -> None:

    consumer = consume()
    consumer.fetch(1, 0)
    threading.Timer(0.05, lambda: send(broker, "a")).start()
    assert texts(consumer, consumer.fetch(1, 20)) == ["a"]


def test_what_nobody_rang_for_is_found_all_the_same(
    broker: SqliteBroker, consume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(broker.database.bells, "ring", lambda name: None)
    monkeypatch.setattr(sqlite_consumer, "SAFETY", 0.05)
    consumer = consume()
    threading.Timer(0.05, lambda: send(broker, "a")).start()
    assert texts(consumer, consumer.fetch(1, 20)) == ["a"]


def test_wake_ends_a_wait(consume: Any) -> None:

    consumer = consume()
    threading.Timer(0.05, consumer.wake).start()
    before = time.monotonic()
    assert consumer.fetch(1, 30) == []
    assert time.monotonic() - before < 20


# -- the dead


def test_what_a_dead_process_had_not_started_goes_back_in_order(
    broker: SqliteBroker, consume: Any, keeper: SqliteKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(broker, "a", "b", "c", "d")
    consumer = consume()
    first, *_ = consumer.fetch(3, 0)
    assert consumer.begin(first, ack=True)
    name = die(consumer)
    reclaim(keeper, monkeypatch)
    assert waiting(broker) == ["b", "c", "d"]  # "a" had been acknowledged, by a mark
    assert rows(broker) == 3
    assert not Path(broker.database.bells.path(sqlite_marks.file_name(name))).exists()


def test_a_dead_process_has_a_moment_of_grace(broker: SqliteBroker, consume: Any, keeper: SqliteKeeper) -> None:
    send(broker, "a")
    consumer = consume()
    consumer.fetch(1, 0)
    die(consumer)
    keeper.reclaim(None, lambda raw, reason: None)
    assert waiting(broker) == []


def test_what_a_dead_process_ran_late_is_counted_and_set_aside_at_last(
    broker: SqliteBroker, consume: Any, keeper: SqliteKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(broker, "bad", "good")
    buried: list[str] = []
    for _ in range(2):
        consumer = consume()
        bad, *_ = consumer.fetch(2, 0)
        assert consumer.begin(bad, ack=False)
        die(consumer)
        buried += reclaim(keeper, monkeypatch, limit=2)
    assert buried == ["2 workers died while they ran it (worker_delivery_limit)"]
    assert [letter.task_id for letter in broker.dead()] == ["bad"]
    assert waiting(broker) == ["good"]


def test_a_stopped_process_loses_its_messages_but_what_it_has_acknowledged(
    broker: SqliteBroker, consume: Any, keeper: SqliteKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(broker, "a", "b")
    consumer = consume(lease=0.05)
    first, second = consumer.fetch(2, 0)
    consumer._marks.set(first.number, sqlite_marks.EARLY)
    monkeypatch.setattr(sqlite_keeper, "uptime", lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + 60)
    keeper.reclaim(None, lambda raw, reason: None)
    assert waiting(broker) == ["b"]
    assert consumer._insist(lambda link: consumer._let_go(link, first))
    assert not consumer._insist(lambda link: consumer._let_go(link, second))


def test_a_lease_that_is_renewed_is_good(broker: SqliteBroker, consume: Any, keeper: SqliteKeeper) -> None:
    send(broker, "a", "b")
    consumer = consume(lease=0.0)
    consumer.fetch(2, 0)
    keeper.renew([consumer.id])
    keeper.reclaim(None, lambda raw, reason: None)
    assert waiting(broker) == []


def test_abandon_tells_what_was_running(broker: SqliteBroker, consume: Any, keeper: SqliteKeeper) -> None:
    send(broker, "a", "b", "c")
    consumer = consume()
    early, late, _ = consumer.fetch(3, 0)
    assert consumer.begin(early, ack=True) and consumer.begin(late, ack=False)
    name = die(consumer)
    (found,) = keeper.abandon(name, [early.tag, late.tag])
    assert isinstance(found, Held) and found.raw == late.raw
    assert waiting(broker) == ["c"]
    assert keeper.discard(name, found) and not keeper.discard(name, found)
    assert rows(broker) == 1


def test_a_hoarder_is_spared_of_what_it_has_not_started(
    broker: SqliteBroker, consume: Any, keeper: SqliteKeeper
) -> None:
    send(broker, "a", "b", "c", "d")
    consumer = consume()
    first, second, *_, last = consumer.fetch(4, 0)
    assert consumer.begin(first, ack=True) and consumer.begin(second, ack=False)
    assert keeper.spare(consumer.id, second.tag, last.number) == 2
    assert waiting(broker) == ["c", "d"]
    assert not consumer._insist(lambda link: consumer._let_go(link, last))


# -- due messages


def test_due_ones_go_to_the_front_the_earliest_first(broker: SqliteBroker, keeper: SqliteKeeper) -> None:
    now = time.time()
    send(broker, "waits")
    for text, late in (("second", 1.0), ("first", 2.0), ("third", 0.5)):
        send(broker, text, due=now - late)
    send(broker, "tomorrow", due=now + 1000)
    left = keeper.promote()
    assert left is not None and 900 < left <= 1000
    assert waiting(broker) == ["first", "second", "third", "waits"]


def test_a_keeper_hears_of_new_ones(broker: SqliteBroker, keeper: SqliteKeeper) -> None:
    assert keeper.promote() is None
    keeper.wait(0, lambda: ())
    send(broker, "soon", due=time.time() + 50)
    assert keeper.wait(20, lambda: ())
    assert (keeper.promote() or 0) > 40


# -- the size of the file


def test_expired_results_go(broker: SqliteBroker, keeper: SqliteKeeper) -> None:
    now = time.time()
    results = [(b"k%d" % number, "SUCCESS", now + (-1 if number < 650 else 100), b"{}", now) for number in range(700)]
    with keeper.link as link:
        link.many(schema.STORE, results)
    upkeep = sqlite_upkeep.Upkeep()
    for _ in range(3):
        upkeep.do(keeper.link)
    assert broker._read("SELECT count(*) FROM result", ()) == [(50,)]


def test_free_pages_are_given_back(broker: SqliteBroker, keeper: SqliteKeeper) -> None:
    for _ in range(8):
        send(broker, *["x" * 3000] * 200)
    keeper.link.read("PRAGMA wal_checkpoint(TRUNCATE)")
    full = os.path.getsize(broker.address.path)
    broker.purge(["q"])
    upkeep = sqlite_upkeep.Upkeep()
    for _ in range(50):
        upkeep.do(keeper.link)
    keeper.link.read("PRAGMA wal_checkpoint(TRUNCATE)")
    assert full > 15_000_000 > 12_000_000 > os.path.getsize(broker.address.path)


def test_the_log_does_not_grow_for_ever(broker: SqliteBroker, keeper: SqliteKeeper) -> None:
    log = Path(broker.address.path + "-wal")
    for _ in range(20):
        send(broker, *["x" * 3000] * 200)
        keeper.wait(0, lambda: ())
    assert log.stat().st_size < 3 * sqlite_upkeep.LOG_SIZE


def test_strays_are_swept_away(broker: SqliteBroker, keeper: SqliteKeeper) -> None:
    broker.purge(["q"])  # there is a file now
    bells = broker.database.bells
    number = bells.listen("l.1.dead")
    assert number is not None
    os.close(number)
    alive = bells.listen("l.1.alive")
    assert alive is not None

    def leave(link: Any) -> None:
        with link:
            link.many("INSERT INTO waiter (key, bell) VALUES (?, ?)", [(b"k", "l.1.dead"), (b"k", "l.1.alive")])

    broker.database.run(leave)
    sqlite_upkeep.Upkeep().do(keeper.link)
    assert broker._read("SELECT bell FROM waiter", ()) == [("l.1.alive",)]
    assert "l.1.dead" not in os.listdir(bells.folder) and "l.1.alive" in os.listdir(bells.folder)
    os.close(alive)
