"""`EventDispatcher` and `EventReceiver` over kombu's memory transport, and the message of an event."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celerylite.events import Event, event_exchange, get_exchange, group_from
from celerylite.exceptions import ImproperlyConfigured


class Radio:
    """A receiver that has been listening from the start; `hear` returns what has come since."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.events: list[dict[str, Any]] = []
        self._given = app.connection_for_read()
        self.receiver = app.events.Receiver(self._given, handlers={"*": self.events.append})
        self._listening = self.receiver.consumer_context()
        self.connection, _, _ = self._listening.__enter__()

    def hear(self, count: int) -> list[dict[str, Any]]:
        while len(self.events) < count:
            self.connection.drain_events(timeout=5)
        heard, self.events[:] = self.events[:], []
        return heard

    def close(self) -> None:
        self._listening.__exit__(None, None, None)
        self._given.close()


@pytest.fixture
def radio(app: Any) -> Iterator[Radio]:
    app.conf.event_exchange = f"ev.{uuid.uuid4()}"  # the memory transport is one for the process
    radio = Radio(app)
    yield radio
    radio.close()


@pytest.fixture
def dispatcher(app: Any, radio: Radio) -> Iterator[Callable[..., Any]]:
    connection = app.connection_for_write()
    yield lambda **options: app.events.Dispatcher(connection, hostname="me@here", **options)
    connection.close()


def test_an_event_arrives(radio: Radio, dispatcher: Callable[..., Any]) -> None:
    dispatcher().send("task-progress", uuid="1", percent=5)
    (event,) = radio.hear(1)
    assert (event["type"], event["hostname"], event["uuid"], event["percent"]) == ("task-progress", "me@here", "1", 5)
    assert event.keys() >= {"utcoffset", "pid", "clock", "timestamp", "local_received"}


def test_groups_and_batches(radio: Radio, dispatcher: Callable[..., Any]) -> None:
    told: list[str] = []
    one = dispatcher(
        groups=["task", "worker"], buffer_group=["task"], buffer_limit=3, on_send_buffered=lambda: told.append("kept")
    )
    one.send("disk-full")
    one.send("task-a")
    one.send("worker-a")
    one.send("task-b")
    assert [event["type"] for event in radio.hear(1)] == ["worker-a"]
    one.send("task-c")
    assert [event["type"] for event in radio.hear(3)] == ["task-a", "task-b", "task-c"]
    one.send("task-d")
    one.flush()
    assert [event["type"] for event in radio.hear(1)] == ["task-d"]
    assert told == ["kept"] * 3


def test_switching_on_and_off(radio: Radio, dispatcher: Callable[..., Any]) -> None:
    one = dispatcher(enabled=False)
    switched: list[bool] = []
    one.on_enabled.add(lambda: switched.append(True))
    one.on_disabled.add(lambda: switched.append(False))
    one.send("task-a")
    one.enable()
    one.send("task-b")
    one.disable()
    one.disable()
    one.send("task-c")
    assert [event["type"] for event in radio.hear(1)] == ["task-b"]
    assert switched == [True, False]


class Broken:
    """A producer whose broker is away."""

    def publish(self, *args: Any, **kwargs: Any) -> None:
        raise ConnectionRefusedError("away")


def test_what_the_broker_does_not_take_is_kept(radio: Radio, dispatcher: Callable[..., Any]) -> None:
    one, other = dispatcher(), dispatcher()
    working, one.producer = one.producer, Broken()
    one.send("task-a")
    one.send("task-b")
    other.extend_buffer(one)
    one.producer = working
    one.flush()
    assert [event["type"] for event in radio.hear(2)] == ["task-a", "task-b"]
    other.flush()
    assert [event["type"] for event in radio.hear(2)] == ["task-a", "task-b"]


def test_or_its_error_is_raised(dispatcher: Callable[..., Any]) -> None:
    one = dispatcher(buffer_while_offline=False)
    one.producer = Broken()
    with pytest.raises(ConnectionRefusedError):
        one.send("task-a")


def test_the_default_dispatcher(app: Any, radio: Radio) -> None:
    with app.events.default_dispatcher(hostname="w@here") as one:
        one.send("task-progress", uuid="1")
    assert radio.hear(1)[0]["hostname"] == "w@here"


def test_the_receivers_clock_follows(app: Any, radio: Radio) -> None:
    def received(**event: Any) -> dict[str, Any]:
        return radio.receiver.event_from_message({"type": "worker-x", "timestamp": 1.0, **event})[1]

    received(clock=100)
    assert app.clock.value == 101
    assert received(clock=None)["clock"] == 102
    assert received(type="task-sent", clock=9)["clock"] == 101  # just before what the workers tell next


def test_times_are_put_in_our_zone(radio: Radio) -> None:
    _, event = radio.receiver.event_from_message(
        {"type": "worker-x", "timestamp": 1000.0, "utcoffset": -2}, now=lambda: 7.0, adjust_timestamp=lambda t, o: t + o
    )
    assert (event["timestamp"], event["local_received"]) == (998.0, 7.0)


def test_handlers_of_a_type_come_before_that_of_all(radio: Radio) -> None:
    heard: list[Any] = []
    radio.receiver.handlers = {"task-a": lambda event: heard.append("a"), "*": lambda event: heard.append("*")}
    radio.receiver.process("task-a", {})
    radio.receiver.process("task-b", {})
    assert heard == ["a", "*"]


def test_a_queue_cannot_be_exclusive_and_durable(app: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="event_queue_exclusive"):
        app.events.Receiver(app.connection_for_read(), queue_exclusive=True, queue_durable=True)


def test_the_queue_is_as_the_settings_say(app: Any) -> None:
    app.conf.update(event_queue_ttl=7.0, event_queue_expires=70.0, event_queue_prefix="mine")
    queue = app.events.Receiver(app.connection_for_read(), node_id="n", routing_key="task.#").queue
    assert (queue.name, queue.routing_key, queue.message_ttl, queue.expires) == ("mine.n", "task.#", 7.0, 70.0)
    assert queue.exclusive and queue.auto_delete and not queue.durable


def test_making_an_event() -> None:
    event = Event("task-a", {"x": 1}, y=2)
    assert event.keys() == {"x", "y", "timestamp", "type"} and event["type"] == "task-a"
    assert Event("task-a", timestamp=3)["timestamp"] == 3
    assert group_from("task-half-done") == "task"


@pytest.mark.parametrize(("driver", "kind"), [("redis", "fanout"), ("amqp", "topic"), ("sqlite", "topic")])
def test_the_exchange(driver: str, kind: str) -> None:
    class Connection:
        class transport:
            driver_type = driver

    exchange = get_exchange(Connection, name="other")
    assert (exchange.name, exchange.type) == ("other", kind)
    assert (event_exchange.name, event_exchange.type) == ("celeryev", "topic")


def test_what_is_no_event_is_passed_over(app: Any, radio: Radio, caplog: pytest.LogCaptureFixture) -> None:
    with app.producer_or_acquire() as producer:
        for body in ([], [1, {"no": "type"}, {"type": "task-a", "clock": 1}], {"type": "task-b"}):
            producer.publish(body, exchange=radio.receiver.exchange, routing_key="x")
    assert [event["type"] for event in radio.hear(2)] == ["task-a", "task-b"]
    assert [record.getMessage() for record in caplog.records if record.name == "celery.events"] == [
        "Not an event: 1", "Not an event: {'no': 'type'}",
    ]  # fmt: skip
