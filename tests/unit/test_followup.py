"""What follows an outcome, or the end of a chord: values; nothing is sent."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from celerylite import Celery, chain, chord, followup, group
from celerylite.backends.chords import Ended
from celerylite.context import Context
from celerylite.exceptions import ChordError, Reject
from celerylite.execution import Execution, Outcome, plan_for


@pytest.fixture
def tasks(app: Celery) -> dict[str, Any]:
    """By name: `add`, `errback` (old style), `handler` (new style, which notes what it was called with)."""

    @app.task(shared=False, name="add")
    def add(x: Any, y: Any = 0) -> Any:
        return x + y

    @app.task(shared=False, name="errback")
    def errback(task_id: str) -> None: ...

    calls: list[Any] = []

    @app.task(shared=False, name="handler")
    def handler(request: Any, exc: BaseException, traceback: str) -> None:
        calls.append((request.id, request.task, exc))
        raise RuntimeError("handlers may fail too")

    return {"add": add, "errback": errback, "handler": handler, "calls": calls}


def ran(tasks: dict[str, Any], state: str, value: Any, **request: Any) -> Execution:
    """An execution of `add` that has come to this end."""
    context = Context({"id": "me", "root_id": "root", "delivery_info": {}, **request})
    execution = Execution(plan_for(tasks["add"]), context, (), {}, lambda *_: None)
    execution.outcome = Outcome(state, value)
    return execution


def sent(following: followup.Following) -> list[tuple[str, str, str]]:
    """(task, root, parent) of each message."""
    return [(m.headers["task"], m.headers["root_id"], m.headers["parent_id"]) for m in following.messages]


def frozen(signature: Any) -> Any:
    signature.freeze()
    return signature


def test_callbacks_and_the_next_step(tasks: dict[str, Any]) -> None:
    steps = [frozen(tasks["add"].s(2)), frozen(tasks["add"].s(1))]  # the next one is the last
    execution = ran(tasks, "SUCCESS", 7, callbacks=[tasks["errback"].s()], chain=steps)
    following = followup.follow(execution)
    assert sent(following) == [("errback", "root", "me"), ("add", "root", "me")]
    assert following.messages[1].headers["id"] == steps[1].id
    assert not following.parts and not following.records


def test_what_the_task_asked_to_be_sent_comes_first(app: Celery, tasks: dict[str, Any]) -> None:
    execution = ran(tasks, "RETRY", None)
    dispatch = chord([tasks["add"].s(1, 1)], tasks["add"].s()).collect()
    for item in (*dispatch.chords, *dispatch.messages):
        execution.context.send_at_end(item)
    execution.context.send_at_end(followup.Following(records=[("other", b"")]))
    following = followup.follow(execution)
    assert following.chords == dispatch.chords
    assert following.messages == dispatch.messages
    assert following.records == [("other", b"")]


@pytest.mark.parametrize(("state", "value"), [("RETRY", None), ("IGNORED", None), ("REJECTED", Reject("no", True))])
def test_what_does_not_end_a_part(tasks: dict[str, Any], state: str, value: Any) -> None:
    execution = ran(tasks, state, value, group="g", group_index=3, chord=tasks["add"].s(), chain=[tasks["add"].s()])
    following = followup.follow(execution)
    assert (following.parts, following.records, following.messages) == ([], [], [])


@pytest.mark.parametrize(
    ("state", "value", "counted"),
    [("SUCCESS", 5, "SUCCESS"), ("FAILURE", ValueError("x"), "FAILURE"), ("REJECTED", Reject("x"), "FAILURE")],
)
def test_what_ends_a_part(tasks: dict[str, Any], state: str, value: Any, counted: str) -> None:
    body = tasks["add"].s()
    [part] = followup.follow(ran(tasks, state, value, group="g", group_index=3, chord=body)).parts
    assert (part.group_id, part.index, part.task_id, part.state, part.root_id) == ("g", 3, "me", counted, "root")
    assert part.body == body


def test_a_failure_fails_all_that_would_have_followed(tasks: dict[str, Any]) -> None:
    add = tasks["add"]
    end = group(add.s(1), add.s(2))
    end.freeze(group_id="outer", chord=add.s(9), group_index=4)
    body = add.s(3)
    middle = chord([add.s(1)], body)
    middle.freeze()
    execution = ran(tasks, "FAILURE", ValueError("x"), chain=[end, middle], errbacks=[tasks["errback"].s()])
    following = followup.follow(execution)
    assert sent(following) == [("errback", "root", "me")]
    members = [task.id for task in end.tasks]
    assert sorted(task_id for task_id, _ in following.records) == sorted([*members, middle.body.id])
    assert [(part.group_id, part.index, part.task_id) for part in following.parts] == [
        ("outer", 4, members[0]),
        ("outer", 5, members[1]),
    ]


def test_errbacks_that_cannot_be_sent_do_not_hide_the_failure(
    tasks: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    errback = tasks["errback"].s().set(serializer="nobody knows it")
    execution = ran(tasks, "FAILURE", ValueError("x"), errbacks=[errback])
    with caplog.at_level(logging.ERROR):
        assert followup.fails(execution).messages == []
    assert "Following up the failure of task me failed" in caplog.text


# -- chords


def ended(body: Any, *parts: Any) -> Ended:
    """A chord whose parts came to these values; exceptions have failed."""
    listed = [
        (f"p{index}", "FAILURE" if isinstance(value, BaseException) else "SUCCESS", value)
        for index, value in enumerate(parts)
    ]
    return Ended("g", "last", "root", None, dict(body), listed)


def test_the_body_is_called_with_the_results(app: Celery, tasks: dict[str, Any]) -> None:
    body = frozen(tasks["add"].s())
    following = followup.finish_chord(app, ended(body, 1, 2))
    assert sent(following) == [("add", "root", "last")]
    assert following.messages[0].headers["id"] == body.id
    assert following.messages[0].headers["argsrepr"] == "([1, 2],)"


def test_a_failed_header_fails_the_body(app: Celery, tasks: dict[str, Any]) -> None:
    body = tasks["add"].s().on_error(tasks["errback"].s()).on_error(tasks["handler"].s())
    body.freeze(group_id="outer", chord=tasks["add"].s(), group_index=1)
    following = followup.finish_chord(app, ended(body, 1, ValueError("x"), KeyError("y")))
    assert sent(following) == [("errback", body.id, body.id)]
    [(task_id, record)] = following.records
    assert task_id == body.id and b"ChordError" in record and b"p1 raised ValueError('x')" in record
    [part] = following.parts  # the chord is itself a part of another
    assert (part.group_id, part.index, part.state) == ("outer", 1, "FAILURE")
    [(called_with, name, exc)] = tasks["calls"]
    assert (called_with, name) == (body.id, "add")
    assert isinstance(exc, ChordError) and isinstance(exc.__cause__, ValueError)


def test_a_body_that_is_a_chain(app: Celery, tasks: dict[str, Any]) -> None:
    body = chain(tasks["add"].s().on_error(tasks["errback"].s()), tasks["add"].s(1).on_error(tasks["errback"].s()))
    body.freeze()
    following = followup.finish_chord(app, ended(body, ValueError("x")))
    assert len(sent(following)) == 1  # of the step that would have run
    assert {task_id for task_id, _ in following.records} == {task.id for task in body.tasks}


def test_a_body_that_is_a_chord(app: Celery, tasks: dict[str, Any]) -> None:
    inner = tasks["add"].s().on_error(tasks["errback"].s())
    body = chord([tasks["add"].s(), tasks["add"].s()], inner)
    body.freeze()
    following = followup.finish_chord(app, ended(body, ValueError("x")))
    assert sent(following) == [("errback", body.body.id, body.body.id)]
    assert [task_id for task_id, _ in following.records] == [body.body.id]


def test_a_body_that_cannot_be_sent(app: Celery, tasks: dict[str, Any]) -> None:
    body = frozen(tasks["add"].s().set(serializer="nobody knows it"))
    following = followup.finish_chord(app, ended(body, 1))
    [(task_id, record)] = following.records
    assert task_id == body.id and b"Callback error" in record
