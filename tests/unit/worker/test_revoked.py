"""Revoked before they start: tasks are discarded, those that wait for them are told, and nothing is lost on the way."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from celerylite import Celery, chain, signals
from celerylite.app import revoking
from celerylite.contrib.testing.worker import start_worker
from celerylite.exceptions import TaskRevokedError
from celerylite.worker import revoked
from celerylite.worker.directives import Directives
from tests.support.waiting import wait_for


@pytest.fixture
def app() -> Iterator[Celery]:
    url = f"memory:///{uuid.uuid4().hex}"
    with Celery("revoked", broker=url, backend="cache+memory://", set_as_current=False) as app:
        yield app


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What a worker logs of requests; it sets up the loggers above this one for itself."""
    logger = logging.getLogger("celery.worker.request")
    logger.addHandler(caplog.handler)
    logger.setLevel("INFO")
    yield caplog
    logger.setLevel("NOTSET")
    logger.removeHandler(caplog.handler)


@pytest.fixture
def ran(app: Celery) -> list[Any]:
    """What the task `note` was called with."""
    found: list[Any] = []

    @app.task(shared=False, name="note")
    def note(value: Any = None) -> Any:
        found.append(value)
        return value

    return found


class Told:
    """The node of a worker, as far as revoking needs it."""

    def __init__(self, app: Celery, directives: Directives) -> None:
        self.app, self.broker, self.directives = app, app.broker, directives
        self.posted: list[dict[str, Any]] = []

    def post(self, kind: str, **fields: Any) -> None:
        self.posted.append({"directive": kind, **fields})
        self.directives.apply(self.posted[-1])


@pytest.fixture
def node(app: Celery) -> Any:
    return Told(app, Directives(["celery"]))


def run_all(app: Celery, last: Any) -> None:
    """A worker runs what waits, until this one has ended."""
    with start_worker(app, perform_ping_check=False):
        last.get(timeout=10)


def test_revoked_while_no_worker_lived(app: Celery, ran: list[Any], log: pytest.LogCaptureFixture) -> None:
    note = app.tasks["note"]
    heard: list[Any] = []
    signals.task_revoked.connect(receiver := lambda **fields: heard.append(fields), weak=False)
    dropped, last = note.delay("dropped"), note.delay("last")
    revoking.remember(app, dropped.id)
    try:
        run_all(app, last)
    finally:
        signals.task_revoked.disconnect(receiver)
    assert ran == ["last"]
    assert dropped.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="revoked"):
        dropped.get(timeout=5)
    assert [(one["sender"], one["request"].id, one["terminated"], one["signum"], one["expired"]) for one in heard] == [
        (note, dropped.id, False, None, False)
    ]
    assert f"Discarding revoked task: note[{dropped.id}]" in log.messages
    assert not app.broker.queue_length("celery")


def test_revoked_by_a_stamp(app: Celery, ran: list[Any], log: pytest.LogCaptureFixture) -> None:
    note = app.tasks["note"]
    send = note.apply_async
    dropped = [
        send(("one",), headers={"stamped_headers": ["tenant"], "stamps": {"tenant": "acme"}}),
        send(("two",), headers={"stamped_headers": ["tenant"], "stamps": {"tenant": ["other", "acme"]}}),
    ]
    kept = [
        send(("kept",), headers={"stamped_headers": ["tenant"], "stamps": {"tenant": "acme2"}}),
        send(("plain",), headers={"tenant": "acme"}),
    ]
    revoking.remember_stamps(app, {"tenant": ["acme", "gone"]})
    run_all(app, kept[-1])
    assert ran == ["kept", "plain"]
    assert [one.state for one in dropped] == ["REVOKED", "REVOKED"]
    text = f"Discarding revoked task: note[{dropped[0].id}] (revoked by header: {{'tenant': 'acme'}})"
    assert text in log.messages


def test_a_chain_behind_a_revoked_task_fails_with_it(app: Celery, ran: list[Any]) -> None:
    note = app.tasks["note"]
    first = note.si("first").set(task_id="the-first")
    result = chain(first, note.si("second")).apply_async()
    last = note.delay("last")
    revoking.remember(app, "the-first")
    run_all(app, last)
    assert ran == ["last"]
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)


def test_a_revoke_that_a_living_worker_hears(app: Celery, ran: list[Any], node: Any) -> None:
    revoked.revoke(node, ["a", "b"])
    assert node.posted == [{"directive": "revoke", "ids": ["a", "b"]}]
    assert set(revoking.recall(app)[0]) == {"a", "b"}  # kept for those that come later
    assert app.AsyncResult("a").state == "REVOKED"


def test_what_has_begun_or_ended_keeps_its_state(app: Celery, node: Any) -> None:
    for task_id, state in (("done", "SUCCESS"), ("begun", "STARTED"), ("again", "RETRY"), ("runs", "PENDING")):
        if state != "PENDING":
            app.backend.store_result(task_id, None, state)
    revoked.revoke(node, ["done", "begun", "again", "runs"], running=["runs"])
    states = [app.AsyncResult(task_id).state for task_id in ("done", "begun", "again", "runs")]
    assert states == ["SUCCESS", "STARTED", "REVOKED", "PENDING"]


def test_stamps_of_several_revokes_add_up(app: Celery, node: Any) -> None:
    revoked.revoke_stamps(node, {"tenant": "a"})
    revoked.revoke_stamps(node, {"tenant": ["b", "a"], "other": 1})
    assert node.directives.revoked_stamps == {"tenant": ["a", "b"], "other": [1]}
    assert revoking.recall(app)[1].keys() == {"tenant", "other"}


def test_catching_up_tells_what_was_missed_and_nothing_twice(app: Celery, node: Any) -> None:
    revoked.revoke(node, ["heard"])
    revoking.remember(app, "missed")
    revoking.remember_stamps(app, {"tenant": "acme"})
    node.posted.clear()
    revoked.catch_up(node)
    revoked.catch_up(node)
    assert node.posted == [
        {"directive": "revoke", "ids": ["missed"]}, {"directive": "revoke_stamps", "stamps": {"tenant": ["acme"]}},
    ]  # fmt: skip


def test_nothing_is_asked_while_nothing_is_revoked() -> None:
    directives = Directives()
    answers = revoked.Revoked(directives)
    assert not answers.any
    directives.apply({"directive": "revoke", "ids": ["x"]})
    assert answers.any


def test_a_server_that_is_away_is_asked_again(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = [OSError("away"), OSError("away"), ({"kept": time.time()}, {})]

    def recall(*_: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(revoking, "recall", recall)
    monkeypatch.setattr(revoked, "AGAIN", 0)
    monkeypatch.setattr(app.broker, "connection_errors", (OSError,))
    directives = Directives()
    revoked.recall(app, app.broker, directives, lambda: False)
    assert "kept" in directives.revoked
    assert caplog.text.count("Revokes cannot be read: away") == 1


def test_revoking_while_a_worker_runs(app: Celery, ran: list[Any]) -> None:
    note = app.tasks["note"]
    with start_worker(app, perform_ping_check=False) as worker:
        wait_for(lambda: getattr(worker, "node", None), 10)
        revoked.revoke(worker.node, ["later"])
        dropped, last = note.apply_async(("dropped",), task_id="later"), note.delay("last")
        last.get(timeout=10)
    assert ran == ["last"]
    assert dropped.state == "REVOKED"
