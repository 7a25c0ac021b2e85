"""The short way out, and what an idle worker must not load for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celerylite.events.outlet import Outlet
from celerylite.worker.news import BATCH, _parcels
from tests.unit.events.recording import Recording


def test_an_event_as_it_travels(app: Any) -> None:
    broker, outlet = Recording(), Outlet(app, "w@here", 7)
    event = outlet.stamp({"uuid": "1", "timestamp": 1.5, "type": "task-started"}, 0.0)
    assert list(event) == ["hostname", "utcoffset", "pid", "clock", "uuid", "timestamp", "type"]
    assert outlet.send([([event], "task.multi")], broker)
    (message,) = broker.announced
    assert (message.exchange, message.routing_key) == ("celeryev", "task.multi")
    assert message.headers == {"hostname": "w@here"}
    assert message.content_type == "application/json" and message.properties == {"delivery_mode": 1}
    assert json.loads(message.body) == [{**event, "hostname": "w@here", "pid": 7}]


def test_the_clock_goes_on(app: Any) -> None:
    outlet = Outlet(app)
    clocks = [outlet.stamp({})["clock"] for _ in range(3)]
    assert clocks == [clocks[0], clocks[0] + 1, clocks[0] + 2]


def test_a_broker_that_is_away_is_told_of_once(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    broker, outlet = Recording(), Outlet(app)
    broker.away = True
    assert not outlet.send([({}, "worker.heartbeat")], broker)
    assert not outlet.send([({}, "worker.heartbeat")], broker)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    broker.away = False
    assert outlet.send([({}, "worker.heartbeat")], broker)


@pytest.mark.parametrize(("listeners", "heard"), [(0, False), (3, True)])
def test_it_knows_whether_anybody_listens(app: Any, listeners: int, heard: bool) -> None:
    outlet = Outlet(app)
    outlet.send([({}, "worker.heartbeat")], Recording(listeners))
    assert outlet.heard is heard


def test_without_a_way_of_its_own_kombu_sends(app: Any) -> None:
    """The memory transport, which tests with the in-memory broker listen on."""
    heard: list[Any] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": heard.append})
        with receiver.consumer_context() as (listening, _, _):
            outlet = Outlet(app, "w@here", 1)
            event = outlet.stamp({"timestamp": 1.0, "type": "worker-online"})
            assert outlet.send([(event, "worker.online")])
            listening.drain_events(timeout=5)
            outlet.close()
    assert [(event["type"], event["hostname"]) for event in heard] == [("worker-online", "w@here")]


def test_batches_keep_the_order() -> None:
    own = [{"type": "task-started", "uuid": str(number)} for number in range(BATCH + 1)]
    made_up = {"type": "task-half-done", "uuid": "0"}
    parcels = _parcels([*own, made_up, own[0]])
    assert parcels == [
        (own[:BATCH], "task.multi"), (own[BATCH:], "task.multi"), (made_up, "task.half-done"), ([own[0]], "task.multi"),
    ]  # fmt: skip
