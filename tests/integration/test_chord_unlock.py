"""Chords with a store that cannot count: the task `celery.chord_unlock` goes round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from celerylite import Celery, chain, chord, group
from celerylite.contrib.testing.worker import start_worker
from celerylite.exceptions import ChordError
from tests.contract.test_backends import DictBackend
from tests.support.waiting import wait_for


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("unlock", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.result_chord_retry_interval = 0.02
    app.backend = DictBackend(app)
    yield app
    app.close()


@pytest.fixture
def tasks(app: Celery) -> dict[str, Any]:
    called: list[str] = []

    @app.task(shared=False, name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(shared=False, name="same", ignore_result=False)
    def same(values: Any) -> Any:
        return values

    @app.task(shared=False, name="quiet", ignore_result=True)
    def quiet(value: Any) -> Any:
        return value

    @app.task(shared=False, name="fail")
    def fail() -> None:
        raise ValueError("no")

    @app.task(shared=False, name="errback")
    def errback(task_id: str) -> None:
        called.append(task_id)

    return {**{task.name: task for task in (add, same, quiet, fail, errback)}, "called": called}


def test_the_body_gets_the_results(app: Celery, tasks: dict[str, Any]) -> None:
    add, same, quiet = tasks["add"], tasks["same"], tasks["quiet"]
    with start_worker(app, perform_ping_check=False):
        header = [add.s(1, 1), quiet.s(5), chain(add.s(1, 1), group(add.s(1), add.s(2)))]
        assert chord(header)(same.s()).get(timeout=15) == [2, 5, [3, 4]]
        assert chain(add.s(1, 1), group(add.s(1), add.s(2)), same.s(), same.s()).apply_async().get(timeout=15) == [3, 4]


def test_a_part_that_fails(app: Celery, tasks: dict[str, Any]) -> None:
    body = tasks["same"].s().on_error(tasks["errback"].s())
    with start_worker(app, perform_ping_check=False):
        result = chord([tasks["add"].s(1, 1), tasks["fail"].s()])(body)
        with pytest.raises(ChordError, match="no"):
            app.AsyncResult(result.id).get(timeout=15)
        wait_for(lambda: tasks["called"] == [result.id], what="the errback")
