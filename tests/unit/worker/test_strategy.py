"""How messages become requests: older protocols as Celery reads them, request classes, and tasks with a strategy."""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from celerylite import Celery
from celerylite.contrib.testing.worker import start_worker
from celerylite.exceptions import InvalidTaskError
from celerylite.worker import strategy
from celerylite.worker.request import Request
from tests.conftest import OURS, THEIRS

BODIES: list[dict[str, Any]] = [
    {"task": "t.add", "id": "1", "args": [1, 2], "kwargs": {"a": 3}},
    {"task": "t.add", "id": "1", "args": (1,), "kwargs": {}, "utc": False, "taskset": "group", "retries": 2},
    {
        "task": "t.add", "id": "1", "kwargs": {"y": 1}, "eta": "2026-01-01T00:00:00", "expires": None, "utc": True,
        "timelimit": (10, 5), "callbacks": [{"task": "t.next"}], "errbacks": None, "chord": {"task": "t.body"},
        "group": "g", "root_id": "r", "parent_id": "p", "argsrepr": "(…)", "shadow": "s", "origin": "gen1@h",
        "meth": "m",
    },
]  # fmt: skip
HEADERS: list[dict[str, Any] | None] = [None, {}, {"id": "from the headers", "retries": 7, "mine": [1]}]


@pytest.mark.parametrize("name", ["hybrid_to_proto2", "proto1_to_proto2"])
@pytest.mark.parametrize("headers", HEADERS, ids=str)
@pytest.mark.parametrize("body", BODIES, ids=["plain", "taskset", "everything"])
def test_older_bodies_are_read_as_celery_reads_them(name: str, body: dict[str, Any], headers: Any) -> None:
    theirs = pytest.importorskip("celery.worker.strategy")
    message = SimpleNamespace(headers=headers, payload=body)
    expected = getattr(theirs, name)(copy.deepcopy(message), copy.deepcopy(body))
    assert getattr(strategy, name)(message, copy.deepcopy(body)) == expected


@pytest.mark.parametrize("convert", [strategy.hybrid_to_proto2, strategy.proto1_to_proto2])
def test_keyword_arguments_must_be_a_mapping(convert: Any) -> None:
    with pytest.raises(InvalidTaskError, match="mapping"):
        convert(SimpleNamespace(headers={}), {"task": "t.add", "id": "1", "args": [], "kwargs": [1]})


class Timed(Request):
    """A request of a project's own."""

    seen: list[str] = []

    @classmethod
    def from_message(cls, *args: Any, **kwargs: Any) -> Any:
        request = super().from_message(*args, **kwargs)
        cls.seen.append(request.name)
        return request


@pytest.mark.parametrize("given", [Timed, f"{__name__}:Timed", f"{__name__}.Timed"], ids=["class", "name", "dotted"])
def test_a_request_class_is_a_class_or_its_name(app: Celery, given: Any) -> None:
    @app.task(Request=given, shared=False)
    def timed() -> str:
        return "done"

    Timed.seen.clear()
    with start_worker(app, perform_ping_check=False):
        assert timed.delay().get(timeout=10) == "done"
    assert Timed.seen == [timed.name]


@pytest.mark.parametrize("given", ["nowhere.at.all:Request", f"{__name__}:nothing", dict], ids=str)
def test_a_request_class_that_is_none_is_told_of_and_the_task_runs(
    app: Celery, given: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(Request=given, shared=False, name="odd")
    def odd() -> str:
        return "done"

    with start_worker(app, perform_ping_check=False):
        assert odd.delay().get(timeout=10) == "done"
    assert "odd.Request must be a subclass" in caplog.text


@pytest.mark.skipif(OURS == THEIRS, reason="Celery calls it")
def test_messages_of_a_task_with_a_strategy_of_its_own_are_set_aside(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(Strategy="proj.strategies:Batches", shared=False, name="batched")
    def batched(requests: Any) -> None:
        raise AssertionError("it must not run")

    @app.task(Strategy="celery.worker.strategy:default", shared=False, name="usual")
    def usual() -> str:
        return "done"

    with start_worker(app, perform_ping_check=False), caplog.at_level(logging.ERROR):
        result = batched.delay(1)
        assert usual.delay().get(timeout=10) == "done"
        with pytest.raises(Exception, match="batched has a Strategy of its own"):
            result.get(timeout=10)
    assert "Task batched has a Strategy of its own ('proj.strategies:Batches')" in caplog.text
    assert [letter.reason for letter in app.broker.dead(10)] == [str(result.result)]
