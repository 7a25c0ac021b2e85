"""One suite for every broker's mailbox: a worker hears what kombu's clients broadcast, and they get its answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from celerylite import Celery, brokers
from celerylite.brokers.mailbox import Address, Mailbox, NoFanout
from celerylite.message import Message, loads
from tests.contract.places import Place, memory, redis, sqlite
from tests.support.rabbitmq import RabbitServer
from tests.support.waiting import wait_for

HOST = "ear@here"


def rabbitmq(request: pytest.FixtureRequest) -> Place:
    """A virtual host of the test's own."""
    server: RabbitServer = request.getfixturevalue("rabbit_server")
    return Place(server.new_vhost())


@pytest.fixture(
    params=[memory, redis, sqlite, pytest.param(rabbitmq, marks=pytest.mark.slow)], ids=lambda make: make.__name__
)
def app(request: pytest.FixtureRequest) -> Iterator[Any]:
    place = request.param(request)
    app = Celery("mailboxes", broker=place.url, backend="cache+memory://", set_as_current=False)
    app.conf.update(place.conf)
    app.conf.control_exchange = f"control{uuid4().hex}"  # kombu's memory is one for the process: nobody else is heard
    if request.param is memory:
        app.conf.broker_transport_options = {"polling_interval": 0.01}
    yield app
    app.close()


@pytest.fixture
def box(app: Any) -> Iterator[Mailbox]:
    broker = brokers.connect_worker(app, HOST)
    address = Address(
        f"{app.conf.control_exchange}.pidbox", lambda: app.control.mailbox.get_queue(HOST), app.connection_for_read
    )
    box = broker.mailbox(address)
    try:
        box.open()
    except NoFanout as exc:
        pytest.skip(f"{exc}")
    yield box
    box.close()
    broker.close()


def hear(box: Mailbox, count: int = 1) -> list[Message]:
    """So many requests, in the order in which they come."""
    found: list[Message] = []
    wait_for(lambda: found.extend(box.receive(0.5)) or len(found) >= count, 10, "requests")
    return found


def test_requests_are_heard_in_order(app: Any, box: Mailbox) -> None:
    for number in range(3):
        app.control.broadcast("ping", {"number": number})
    requests = [_loads(message) for message in hear(box, 3)]
    assert [(request["method"], request["arguments"]) for request in requests] == [
        ("ping", {"number": number}) for number in range(3)
    ]


def test_answers_arrive(app: Any, box: Mailbox) -> None:
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.extend(app.control.broadcast("ping", reply=True, timeout=10, limit=1)), daemon=True
    )
    asking.start()
    (message,) = hear(box)
    request = _loads(message)
    box.reply(
        Message(
            {"ticket": request["ticket"], "clock": 7}, b'{"ear@here": {"ok": "pong"}}', "application/json", "utf-8",
            {"delivery_mode": 1, "priority": 0}, request["reply_to"]["exchange"], request["reply_to"]["routing_key"],
        )  # fmt: skip
    )
    asking.join(15)
    assert answers == [{HOST: {"ok": "pong"}}]
    assert app.clock.value >= 7


def test_an_answer_that_nobody_waits_for_is_no_error(app: Any, box: Mailbox) -> None:
    properties = {"delivery_mode": 1, "priority": 0}
    exchange = f"reply.{app.conf.control_exchange}.pidbox"
    box.reply(Message({}, b"{}", "application/json", "utf-8", properties, exchange, "nobody"))
    app.control.broadcast("ping")
    assert hear(box)


def test_a_wait_can_be_ended(box: Mailbox) -> None:
    ended = threading.Event()

    def wait() -> None:
        box.receive(30.0)
        ended.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    wait_for(lambda: box.wake() or ended.wait(0.1), 10, "the wait to end")
    thread.join(10)


def test_it_can_be_opened_again(app: Any, box: Mailbox) -> None:
    box.open()
    app.control.broadcast("ping")
    assert len(hear(box)) == 1


def _loads(message: Message) -> Any:
    return loads(message.body, message.content_type, message.content_encoding)
