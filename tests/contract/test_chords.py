"""What every result store does for chords that it counts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celerylite import Celery
from celerylite.backends.chords import Part
from celerylite.canvas.dispatch import ChordStart
from celerylite.exceptions import ChordError, TaskRevokedError
from celerylite.result import GroupResult
from celerylite.utils.uuids import uuid

BODY = {"task": "body", "args": [], "kwargs": {}, "options": {"task_id": "b"}, "subtask_type": None, "immutable": False}
STORES = ["redis", "redis, in any order", "cache", "sqlite", pytest.param("cluster", marks=pytest.mark.slow)]


@pytest.fixture(params=STORES)
def app(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Celery:
    url = {"cache": "cache+memory://", "sqlite": f"sqlite:///{tmp_path}/results.db"}.get(request.param, redis_url)
    if request.param == "cluster":
        url = request.getfixturevalue("redis_cluster").url
    app = Celery("chords", broker="memory://", backend=url, set_as_current=False)
    if request.param == "redis, in any order":
        app.conf.result_backend_transport_options = {"result_chord_ordered": False}
    return app


class Header:
    """The header of one chord, whose parts end when the test says so."""

    def __init__(self, app: Celery, size: int, *, nested: bool = False) -> None:
        self.backend: Any = app.backend
        self.ids = [uuid() for _ in range(size)]
        self.group_id = uuid()
        leaves = [app.AsyncResult(task_id) for task_id in self.ids]
        inside = [leaves[0], GroupResult(uuid(), leaves[1:], app=app)] if nested else leaves
        results = GroupResult(self.group_id, inside, app=app)
        self.backend.start_chords([ChordStart(self.group_id, size, results, BODY, {})])  # type: ignore[arg-type]

    def end(self, index: int, state: str = "SUCCESS", result: Any = None) -> Any:
        """One part has ended; the end of the chord, if this was the last."""
        task_id = self.ids[index]
        result = index * 10 if result is None else result
        self.backend.store_result(task_id, result, state)
        kept = self.backend.encode_result(result, state)
        part = Part(self.group_id, index, task_id, state, kept, BODY, root_id="root", priority=3)
        ended = self.backend.count_parts([part])
        return ended[0] if ended else None


def test_the_last_part_ends_a_chord(app: Celery) -> None:
    header = Header(app, 3)
    assert header.end(1) is None
    assert header.end(0) is None
    ended = header.end(2)
    assert sorted(ended.results()) == [0, 10, 20]
    assert (ended.group_id, ended.task_id, ended.root_id, ended.priority) == (header.group_id, header.ids[2], "root", 3)
    assert ended.body == BODY


def test_results_are_in_the_headers_order(app: Celery) -> None:
    if app.conf.result_backend_transport_options:
        pytest.skip("this store was told that the order does not matter")
    header = Header(app, 12)
    for index in reversed(range(1, 12)):
        assert header.end(index) is None
    assert header.end(0).results() == [index * 10 for index in range(12)]


def test_a_part_that_comes_twice_counts_once(app: Celery) -> None:
    header = Header(app, 3)
    for index in (0, 0, 0, 1, 1):
        assert header.end(index) is None
    assert sorted(header.end(2).results()) == [0, 10, 20]


def test_a_chord_ends_once(app: Celery) -> None:
    header = Header(app, 2)
    header.end(0)
    ended = header.end(1)
    assert header.end(1) is None
    header.backend.finish_chord(ended)
    assert header.end(0) is None
    assert header.end(1) is None


def test_a_part_that_failed(app: Celery) -> None:
    header = Header(app, 2)
    header.end(0, "FAILURE", ValueError("no"))
    ended = header.end(1)
    with pytest.raises(ChordError, match=rf"Dependency {header.ids[0]} raised ValueError\('no'\)") as caught:
        ended.results()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_part_that_was_revoked(app: Celery) -> None:
    header = Header(app, 1)
    with pytest.raises(ChordError, match="TaskRevokedError"):
        header.end(0, "REVOKED", TaskRevokedError("expired")).results()


def test_groups_in_a_header(app: Celery) -> None:
    header = Header(app, 3, nested=True)
    header.end(2)
    header.end(0)
    assert header.end(1).results() == [0, [10, 20]]


def test_nothing_is_overdue_at_first(app: Celery) -> None:
    header = Header(app, 1)
    header.end(0)
    assert app.backend.overdue_chord() is None
