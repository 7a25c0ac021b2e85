"""What `app.control` sends: the commands and arguments that Celery 5.7 sends, and how answers are put together."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest

from celerylite import Celery
from celerylite.app import control
from celerylite.exceptions import DuplicateNodenameWarning, ImproperlyConfigured

EVENT = {"id": "id", "topic": "task", "action": {"task": "t"}}
REVOKE = {"terminate": False, "signal": "SIGTERM"}
#: method, its arguments, the command and its arguments on the wire, as a Celery client sends them.
REQUESTS: list[tuple[str, tuple[Any, ...], str, dict[str, Any]]] = [
    ("revoke", ("a",), "revoke", {"task_id": "a", **REVOKE}),
    ("revoke", (["a", "b"], None, True, "SIGKILL"), "revoke",
     {"task_id": ["a", "b"], "terminate": True, "signal": "SIGKILL"}),
    ("terminate", ("a",), "revoke", {"task_id": "a", "terminate": True, "signal": "SIGTERM"}),
    ("revoke_by_stamped_headers", ({"h": "v"},), "revoke_by_stamped_headers", {"headers": {"h": "v"}, **REVOKE}),
    ("ping", (), "ping", {}),
    ("rate_limit", ("t", "10/m"), "rate_limit", {"task_name": "t", "rate_limit": "10/m"}),
    ("time_limit", ("t", 1, 2), "time_limit", {"task_name": "t", "soft": 1, "hard": 2}),
    ("add_consumer", ("q",), "add_consumer",
     {"queue": "q", "exchange": None, "exchange_type": "direct", "routing_key": None}),
    ("add_consumer", ("q", "e", "topic", "k", {"durable": False}), "add_consumer",
     {"queue": "q", "exchange": "e", "exchange_type": "topic", "routing_key": "k", "durable": False}),
    ("cancel_consumer", ("q",), "cancel_consumer", {"queue": "q"}),
    ("enable_events", (), "enable_events", {}),
    ("disable_events", (), "disable_events", {}),
    ("heartbeat", (), "heartbeat", {}),
    ("pool_grow", (), "pool_grow", {"n": 1}),
    ("pool_shrink", (2,), "pool_shrink", {"n": 2}),
    ("pool_restart", (["m"], True), "pool_restart", {"modules": ["m"], "reload": True, "reloader": None}),
    ("autoscale", (5, 2), "autoscale", {"max": 5, "min": 2}),
    ("shutdown", (), "shutdown", {}),
    ("election", ("id", "task", {"task": "t"}), "election", EVENT),
]  # fmt: skip


@pytest.fixture
def app() -> Any:
    """Without a server. kombu's memory transport is shared by the whole process, so it has an exchange of its own."""
    app = Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.control_exchange = "celery-of-this-test"
    return app


class Listener:
    """A queue on the exchange of remote control, read back as a worker reads it."""

    def __init__(self, app: Any) -> None:
        connection = app.connection_for_read()
        self.queue = app.control.mailbox.get_queue("w1@here")(connection.channel())
        self.queue.declare()

    def read(self) -> dict[str, Any]:
        message = self.queue.get(no_ack=True)
        assert message is not None
        return message.decode()


@pytest.fixture
def listener(app: Any) -> Listener:
    return Listener(app)


@pytest.mark.parametrize(("method", "args", "command", "arguments"), REQUESTS)
def test_requests(
    app: Any, listener: Listener, method: str, args: tuple[Any, ...], command: str, arguments: dict[str, Any]
) -> None:
    options = {"timeout": 0.01} if method == "ping" else {}
    assert not getattr(app.control, method)(*args, **options)
    sent = listener.read()
    assert (sent["method"], sent["arguments"]) == (command, arguments)
    assert (sent["destination"], sent["pattern"], sent["matcher"]) == (None, None, None)
    assert ("reply_to" in sent) == (method == "ping")


def test_destination_and_more_arguments(app: Any, listener: Listener) -> None:
    app.control.broadcast("custom", {"a": 1}, destination="w1@here", b=2)
    sent = listener.read()
    assert (sent["arguments"], sent["destination"]) == ({"a": 1, "b": 2}, ["w1@here"])
    app.control.enable_events(pattern="w*", matcher="glob")
    sent = listener.read()
    assert (sent["pattern"], sent["matcher"]) == ("w*", "glob")


class Answering(control.Control):
    """One whose workers' answers are known."""

    answers: Any = ()

    def broadcast(self, command: str, *args: Any, **kwargs: Any) -> Any:
        return self.answers


@pytest.fixture
def answering(app: Any) -> Any:
    app.control = Answering(app)
    return app


ANSWERS = [{"w1": {"ok": 1}}, {"w2": {"ok": 2}}]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"w1": {"ok": 1}, "w2": {"ok": 2}}),
        ({"destination": ["w1", "w2"]}, {"w1": {"ok": 1}, "w2": {"ok": 2}}),
        ({"destination": "w2"}, {"ok": 2}),
        ({"destination": "w3"}, None),
        ({"pattern": "w2"}, {"w2": {"ok": 2}}),
        ({"pattern": "w[1]", "matcher": "pcre"}, {"w1": {"ok": 1}}),
    ],
)
def test_whose_answers(answering: Any, options: dict[str, Any], expected: Any) -> None:
    answering.control.answers = ANSWERS
    assert answering.control.inspect(**options).stats() == expected


def test_nobody_answers(answering: Any) -> None:
    answering.control.answers = []
    assert answering.control.inspect().stats() is None
    assert control.Inspect(app=answering, destination="w1").stats() is None


def test_one_name_twice() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert control.flatten_reply(ANSWERS) == {"w1": {"ok": 1}, "w2": {"ok": 2}}
    with pytest.warns(DuplicateNodenameWarning, match="from node names: a, b"):
        assert control.flatten_reply([{"b": 1}, {"a": 1}, {"a": 2}, {"b": 3}]) == {"a": 2, "b": 3}


def test_signatures_of_celery() -> None:
    """By position and by name, as Celery's users call them."""
    theirs = pytest.importorskip("celery.app.control")
    for name in ("Control", "Inspect"):
        for method, function in inspect.getmembers(getattr(theirs, name), inspect.isfunction):
            if method.startswith("_") and method != "__init__":
                continue
            expected = inspect.signature(function).parameters
            found = inspect.signature(getattr(getattr(control, name), method)).parameters
            assert [(p.name, p.default, p.kind) for p in found.values()] == [
                (p.name, p.default, p.kind) for p in expected.values()
            ], f"{name}.{method}"
    assert set(theirs.__all__) == set(control.__all__)


def test_an_app_that_is_closed_takes_no_other_with_it(tmp_path: Path) -> None:
    """kombu's pools are shared by all apps of a URL."""
    url = f"sqlite:///{tmp_path}/q.db"
    first, second = (Celery(name, broker=url, set_as_current=False) for name in ("first", "second"))
    for app in (first, second):
        assert app.control.ping(timeout=0.01) == []
    first.close()
    assert second.control.ping(timeout=0.01) == []
    assert first.control.ping(timeout=0.01) == [], "it opens again when it is used again"
    first.close()
    second.close()


def test_nobody_listens_on_sqlite(tmp_path: Path) -> None:
    """The file knows how many listen: where nobody does, nothing is waited for."""
    app = Celery("tests", broker=f"sqlite:///{tmp_path}/q.db", backend="cache+memory://", set_as_current=False)
    assert app.control.ping(timeout=600) == []
    with app.connection_for_write() as connection:
        mailbox = app.control.mailbox(connection)
        queue = mailbox.get_queue("w1@here")(connection.channel())
        queue.declare()
        assert mailbox._broadcast("ping", {}, None, True, 0.01) == []
        assert mailbox.heard == 1
    app.close()


def test_queues_that_cannot_be(app: Any) -> None:
    app.conf.update(control_queue_durable=True, control_queue_exclusive=True)
    with pytest.raises(ImproperlyConfigured, match="control_queue_exclusive to False"):
        app.control.ping(timeout=0.01)
    app.conf.control_queue_exclusive = False
    assert app.control.mailbox.get_queue("w1@here").durable
