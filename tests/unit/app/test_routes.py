"""Which queue a call goes to."""

from __future__ import annotations

import re
from typing import Any

import pytest

from celerylite import Celery
from celerylite.exceptions import QueueNotFound


def by_function(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """A router that a setting names."""
    return {"queue": "from.path"} if name == "path" else None


class OldRouter:
    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        return "old" if task == "old" else None


ROUTES = [
    {"exact": "e", "glob.*": {"queue": "g", "priority": 3}, re.compile(r"(a|b)\..+"): {"queue": "r"}},
    [("first.*", "one"), ("first.x", "exact wins")],
    f"{__name__}.by_function",
    OldRouter(),
    lambda name, args, kwargs, options, task=None, **kw: (
        {"queue": f"n{len(args)}"} if name == "count" else None
    ),
]


@pytest.mark.parametrize(
    "name,queue",
    [
        ("exact", "e"),
        ("glob.x.y", "g"),
        ("a.x", "r"),
        ("first.a", "one"),
        ("first.x", "exact wins"),
        ("path", "from.path"),
        ("old", "old"),
        ("count", "n2"),
        ("other", "celery"),
    ],
)
def test_routes(app: Celery, sent: list, name: str, queue: str) -> None:
    app.conf.task_routes = ROUTES
    for _ in range(2):
        app.send_task(name, (1, 2))
    assert [message.routing_key for message in sent] == [queue, queue]
    assert sent[0].properties.get("priority") == (3 if queue == "g" else None)


def test_what_the_caller_says_wins(app: Celery, sent: list) -> None:
    app.conf.task_routes = {"x": {"queue": "routed", "priority": 1}}
    app.send_task("x", queue="mine", priority=9)
    assert (sent[0].routing_key, sent[0].properties["priority"]) == ("mine", 9)


def test_a_change_of_the_settings_counts_at_once(app: Celery, sent: list) -> None:
    app.send_task("x")
    app.conf.task_routes = {"x": "elsewhere"}
    app.send_task("x")
    app.conf.task_routes = None
    app.conf.task_default_queue = "default"
    app.send_task("x")
    app.conf.task_default_delivery_mode = 1
    app.send_task("x")
    assert [m.routing_key for m in sent] == ["celery", "elsewhere", "default", "default"]
    assert [m.properties["delivery_mode"] for m in sent] == [2, 2, 2, 1]


def test_queues_that_may_not_be_made(app: Celery) -> None:
    app.conf.task_create_missing_queues = False
    with pytest.raises(QueueNotFound):
        app.send_task("x", queue="nope")


def test_selecting_queues(app: Celery) -> None:
    queues = app.amqp.queues
    app.select_queues("a,b")
    assert list(queues.consume_from) == ["a", "b"]
    queues.deselect(["a"])
    assert list(queues.consume_from) == ["b"]
    queues.select_add("c")
    assert list(queues.consume_from) == ["b", "c"]
    assert "exchange=b(direct) key=b" in queues.format()


def test_selected_queues_outlive_other_settings(app: Celery) -> None:
    app.select_queues("a")
    app.conf.worker_concurrency = 3
    app.conf.task_routes = {"x": "y"}
    assert list(app.amqp.queues.consume_from) == ["a"]
    app.conf.task_default_queue = "other"
    assert list(app.amqp.queues.consume_from) == ["other"]


def test_deselecting_from_all(app: Celery) -> None:
    app.conf.task_queues = {"a": {}, "b": {}, "c": {}}
    app.amqp.queues.deselect("a,zzz")
    assert list(app.amqp.queues.consume_from) == ["b", "c"]
    assert "zzz" not in app.amqp.queues
