"""Replacing a task by a canvas, and adding parts to a chord, as a worker sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from celerylite import Celery, chain, context, group
from celerylite.canvas import ChordStart
from celerylite.context import Context
from celerylite.exceptions import Ignore, ImproperlyConfigured
from celerylite.message import loads
from tests.unit.canvas.conftest import Tasks

REQUEST: dict[str, Any] = {
    "id": "ID", "root_id": "ROOT", "called_directly": False, "replaced_task_nesting": 1, "args": (), "kwargs": {},
}  # fmt: skip


@pytest.fixture
def replaced(tasks: Tasks) -> Callable[..., list[Any]]:
    """What a running task with this request leaves behind when it is replaced."""

    def run(sig: Any, **request: Any) -> list[Any]:
        token = context.push(tasks.add, Context({**REQUEST, **request}))
        try:
            with pytest.raises(Ignore):
                tasks.add.replace(sig)
            return list(tasks.add.request._outbox or ())
        finally:
            context.pop(token)

    return run


def embed(message: Any) -> dict[str, Any]:
    return loads(message.body, message.content_type, message.content_encoding)[2]


def test_the_signature_takes_over(tasks: Tasks, replaced: Any) -> None:
    links = {"callbacks": [tasks.note.s()], "errbacks": [tasks.note_error.s()], "chain": [tasks.add.s(7)]}
    (message,) = replaced(tasks.add.s(1), group="G", group_index=2, chord=tasks.total.s(), stamps={"x": 1},
                          stamped_headers=["x"], **links)  # fmt: skip
    headers, body = message.headers, embed(message)
    assert (headers["id"], headers["root_id"], headers["replaced_task_nesting"]) == ("ID", "ROOT", 2)
    assert (headers["group"], headers["group_index"], headers["stamps"]) == ("G", 2, {"x": 1})
    assert [body[key][0]["task"] for key in ("callbacks", "errbacks", "chain")] == ["note", "note_error", "add"]
    assert body["chord"]["task"] == "total"
    assert not tasks.told  # sent together with the acknowledgement


def test_by_a_chain(tasks: Tasks, replaced: Any) -> None:
    (message,) = replaced(chain(tasks.add.s(1), tasks.add.s(2)), chain=[tasks.add.s(7)], callbacks=[tasks.note.s()])
    body = embed(message)
    after, end = body["chain"]
    assert (end["options"]["task_id"], end["args"], after["args"]) == ("ID", [2], [7])
    assert (body["callbacks"], end["options"]["link"][0]["task"]) == (None, "note")


def test_by_a_group(tasks: Tasks, replaced: Any) -> None:
    start, *messages = replaced(group(tasks.add.s(1), tasks.add.s(2)), group="G", chord=tasks.total.s())
    assert isinstance(start, ChordStart)
    body = embed(messages[0])["chord"]
    assert (body["task"], body["kwargs"], body["options"]["task_id"]) == ("celery.accumulate", {"index": 0}, "ID")
    assert body["options"]["group_id"] == "G" and body["options"]["chord"]["task"] == "total"
    assert len(messages) == start.size == 2


def test_what_cannot_stand_there(tasks: Tasks) -> None:
    token = context.push(tasks.add, Context(REQUEST))
    try:
        for wrong in (5, tasks.add.s(1).set(chord=tasks.total.s()), chain()):
            with pytest.raises(ImproperlyConfigured):
                tasks.add.replace(wrong)
    finally:
        context.pop(token)


def test_one_more_part(tasks: Tasks, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    added = []
    monkeypatch.setattr(type(app.backend), "add_to_chord", lambda self, group, result: added.append((group, result.id)))
    token = context.push(tasks.add, Context({**REQUEST, "group": "G", "group_index": 1, "chord": tasks.total.s()}))
    try:
        result = tasks.add.add_to_chord(tasks.add.s(5))
        lazy = tasks.add.add_to_chord(tasks.add.s(6), lazy=True)
    finally:
        context.pop(token)
    (message,) = tasks.told
    assert (message.headers["group"], message.chord["task"], message.id) == ("G", "total", result.id)
    assert added == [("G", result.id), ("G", lazy.id)]
    token = context.push(tasks.add, Context(REQUEST))
    try:
        with pytest.raises(ValueError, match="not member of any chord"):
            tasks.add.add_to_chord(tasks.add.s(5))
    finally:
        context.pop(token)
