"""The worker's voice: what it says of itself, and that nothing is lost while the broker is away for a while."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celerylite import signals
from celerylite.worker import news as module
from celerylite.worker.board import Board
from celerylite.worker.directives import Directives
from celerylite.worker.emitter import Emitter
from celerylite.worker.event_pipe import EventPipe
from celerylite.worker.news import News
from celerylite.worker.node import LocalRoad, Node
from celerylite.worker.options import WorkerOptions
from tests.support.waiting import wait_for
from tests.unit.events.recording import Recording


@pytest.fixture
def broker() -> Recording:
    return Recording()


@pytest.fixture
def start(app: Any, broker: Recording) -> Iterator[Callable[..., News]]:
    """Starts a voice with these options of the worker."""
    started: list[News] = []
    pipe, board = EventPipe(), Board(2)

    def make(**options: Any) -> News:
        told = Directives(events=True)
        road = LocalRoad(lambda: None, lambda kind, fields: None)
        news = News(Node(app, WorkerOptions("w@here", [], **options), board, broker, told, road), pipe)
        news.start()
        started.append(news)
        return news

    yield make
    for news in started:
        news.stop()


def said(broker: Recording) -> list[str]:
    """The types of all events so far, each with its task's id."""
    found = []
    for message in list(broker.announced):
        body = json.loads(message.body)
        found += [f"{e['type']} {e.get('uuid', '')}".strip() for e in (body if isinstance(body, list) else [body])]
    return found


def test_it_comes_beats_when_asked_and_goes(start: Callable[..., News], broker: Recording) -> None:
    beats: list[Any] = []
    receiver = lambda **_: beats.append(1)  # noqa: E731 (kept alive here)
    signals.heartbeat_sent.connect(receiver)
    news = start(heartbeat_interval=60)
    wait_for(lambda: said(broker) == ["worker-online"], 5)
    news.beat()
    wait_for(lambda: said(broker) == ["worker-online", "worker-heartbeat"], 5)
    news.stop()
    signals.heartbeat_sent.disconnect(receiver)
    assert said(broker)[2:] == ["worker-offline"] and beats == [1]
    online = json.loads(broker.announced[0].body)
    assert (online["freq"], online["active"], online["processed"], online["sw_ident"]) == (60, 0, 0, "py-celery")


def test_a_worker_without_heartbeats_only_tells_of_tasks(start: Callable[..., News], broker: Recording) -> None:
    news = start(heartbeats=False)
    news.send("task-started", uuid="1")
    wait_for(lambda: said(broker) == ["task-started 1"], 5)
    news.stop()
    assert said(broker) == ["task-started 1"]


def test_it_beats_seldom_while_nobody_listens(start: Callable[..., News], broker: Recording) -> None:
    broker.listeners = 0
    news = start()
    wait_for(lambda: said(broker) == ["worker-online"], 5)
    wait_for(lambda: news.interval == module.QUIET_INTERVAL, 5)
    broker.listeners = 1
    news.beat()
    wait_for(lambda: news.interval == module.INTERVAL, 5)


def test_events_wait_for_a_broker_that_is_away(
    start: Callable[..., News], broker: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)
    monkeypatch.setattr(module, "PAUSE", 0.01)
    news = start(heartbeats=False)
    broker.away = True
    emitter = Emitter(news.pipe, at_once=True)
    for number in range(5):
        emitter.tell("task-started", uuid=str(number))
    wait_for(lambda: broker.refused > 3, 5)
    broker.away = False
    wait_for(lambda: len(said(broker)) == 5, 5)
    assert said(broker) == [f"task-started {number}" for number in range(5)]
    clocks = [event["clock"] for message in broker.announced for event in json.loads(message.body)]
    assert clocks == sorted(clocks)


def test_task_events_are_for_whoever_wants_them(start: Callable[..., News], broker: Recording) -> None:
    news = start(heartbeats=False)
    assert news.enabled and news.groups == {"worker", "task"} and news.events is news.emitter
    news.node.post("events", on=False)
    assert news.groups == {"worker"} and news.events is None
    news.send("task-started", uuid="1")
    news.send("worker-custom")
    wait_for(lambda: said(broker) == ["worker-custom"], 5)
