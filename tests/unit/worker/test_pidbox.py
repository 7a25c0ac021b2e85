"""Requests to a worker, by a client in the same process: who answers, with what, and what cannot end the listening."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celerylite import Celery
from celerylite.contrib.testing.worker import start_worker
from celerylite.worker.control import Panel, control_command, inspect_command
from tests.support.waiting import wait_for

NAME = "box@here"


@pytest.fixture(scope="module")
def app() -> Any:
    app = Celery("pidbox", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.broker_transport_options = {"polling_interval": 0.005}

    @app.task(name="p.add", rate_limit="10/s", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    return app


@pytest.fixture(scope="module")
def commands() -> Iterator[None]:
    """Commands of a project's own."""
    data, meta = dict(Panel.data), dict(Panel.meta)

    @inspect_command(args=[("n", int)], signature="[N=1]")
    def doubled(state: Any, n: int = 1) -> dict[str, Any]:
        """Twice a number.

        And more.
        """
        return {"n": 2 * n, "host": state.hostname, "app": state.app.main, "thread": threading.current_thread().name}

    @control_command(name="broken", visible=False, default_timeout=3.0)
    def anything(state: Any) -> None:
        raise LookupError("nothing there")

    @inspect_command()
    def unwritable(state: Any) -> Any:
        return object()

    yield
    Panel.data.clear()
    Panel.meta.clear()
    Panel.data.update(data)
    Panel.meta.update(meta)


@pytest.fixture(scope="module")
def worker(app: Any, commands: None) -> Iterator[Any]:
    with start_worker(app, perform_ping_check=False, hostname=NAME) as worker:
        yield worker


def ask(app: Any, command: str, timeout: float = 5.0, **arguments: Any) -> Any:
    """The only worker's answer."""
    (answer,) = app.control.broadcast(command, arguments, reply=True, timeout=timeout, limit=1)
    return answer[NAME]


def test_ping(app: Any, worker: Any) -> None:
    assert ask(app, "ping") == {"ok": "pong"}


def test_an_unknown_command(app: Any, worker: Any) -> None:
    assert ask(app, "no_such") == {"error": "KeyError('no_such')"}


def test_wrong_arguments(app: Any, worker: Any) -> None:
    expected = "query_task() missing 1 required positional argument: 'ids'"
    assert ask(app, "query_task") == {"error": repr(TypeError(expected))}


def test_a_command_of_the_projects_own(app: Any, worker: Any) -> None:
    assert ask(app, "doubled", n=4) == {"n": 8, "host": NAME, "app": "pidbox", "thread": "pidbox"}
    about = Panel.meta["doubled"]
    assert (about.type, about.help) == ("inspect", "Twice a number.")
    assert (about.args, about.signature) == ([("n", int)], "[N=1]")
    assert Panel.meta["broken"].visible is False and Panel.meta["broken"].default_timeout == 3.0


def test_a_command_that_fails_is_answered_and_logged(
    app: Any, worker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(app, "broken") == {"error": "LookupError('nothing there')"}
    assert ask(app, "ping") == {"ok": "pong"}
    assert "pidbox command error: LookupError('nothing there')" in caplog.messages


def test_an_answer_that_cannot_be_written(app: Any, worker: Any) -> None:
    assert "error" in ask(app, "unwritable")
    assert ask(app, "ping") == {"ok": "pong"}


@pytest.mark.parametrize(
    "whom, heard",
    [
        ({"destination": [NAME]}, True),
        ({"destination": ["other@here"]}, False),
        ({"pattern": "box@*", "matcher": "glob"}, True),
        ({"pattern": "b.x@", "matcher": "pcre"}, True),
        ({"pattern": "c*", "matcher": "glob"}, False),
    ],
)
def test_who_is_meant(app: Any, worker: Any, whom: dict[str, Any], heard: bool) -> None:
    timeout = 5.0 if heard else 0.05
    answers = app.control.broadcast("ping", reply=True, timeout=timeout, limit=1, **whom)
    assert bool(answers) is heard


def test_nonsense_does_not_end_the_listening(app: Any, worker: Any) -> None:
    with app.connection_for_write() as connection, connection.channel() as channel:
        producer = connection.Producer(channel)
        nowhere = {"reply_to": 3, "method": "ping"}
        for body in ([1, 2], "text", {"method": None}, {"method": {}, "arguments": 7}, nowhere):
            producer.publish(body, exchange="celery.pidbox", serializer="json")
        producer.publish(b"\xff", exchange="celery.pidbox", content_type="application/json", content_encoding="utf-8")
        producer.publish({"method": "ping"}, exchange="celery.pidbox", serializer="pickle")
    assert ask(app, "ping") == {"ok": "pong"}


def test_clocks_go_forward_together(app: Any, worker: Any) -> None:
    before = ask(app, "clock")["clock"]
    app.clock.adjust(before + 1000)
    assert ask(app, "clock")["clock"] > before + 1000


def test_tasks_that_are_registered(app: Any, worker: Any) -> None:
    assert "p.add [rate_limit=10/s]" in ask(app, "registered")
    names = ask(app, "registered", taskinfoitems=["name", "ignore_result", "none"])
    assert "p.add [name=p.add ignore_result=False]" in names
    assert not [name for name in names if name.startswith("celery.")]
    assert "celery.chord_unlock" in "".join(ask(app, "registered", builtins=True))


def test_tasks_that_wait(app: Any, worker: Any) -> None:
    result = app.tasks["p.add"].apply_async((1, 2), countdown=1000)
    (entry,) = wait_for(lambda: ask(app, "scheduled"))
    assert entry["request"]["id"] == result.id and entry["request"]["args"] == [1, 2]
    assert ask(app, "query_task", ids=result.id)[result.id][0] == "scheduled"
    assert ask(app, "query_task", ids=["none"]) == {}


def test_counts_of_tasks(app: Any, worker: Any) -> None:
    before = ask(app, "stats")["total"].get("p.add", 0)
    assert app.tasks["p.add"].delay(1, 2).get(timeout=10) == 3
    stats = ask(app, "stats")
    assert stats["total"]["p.add"] == before + 1
    assert "password" not in stats["broker"]


def test_limits_of_unknown_tasks(app: Any, worker: Any) -> None:
    assert ask(app, "rate_limit", task_name="none", rate_limit="1/s") == {"error": "unknown task"}
    assert ask(app, "time_limit", task_name="none", hard=1) == {"error": "unknown task"}
    assert ask(app, "rate_limit", task_name="p.add", rate_limit="often")["error"].startswith("Invalid rate limit")
    assert ask(app, "time_limit", task_name="p.add", hard=7, soft=5) == {"ok": "time limits set successfully"}
    assert worker.directives.time_limits["p.add"] == (5.0, 7.0)


def test_revokes(app: Any, worker: Any) -> None:
    assert ask(app, "revoke", task_id="r1") == {"ok": "tasks {'r1'} flagged as revoked"}
    assert "r1" in ask(app, "revoked")
    assert ask(app, "revoke", task_id="r2", terminate=True) == {"ok": "terminate: tasks unknown"}
    assert "SIGNOPE" in ask(app, "revoke", task_id="r3", terminate=True, signal="NOPE")["error"]
    assert "r3" not in ask(app, "revoked")


def test_hello_of_another_worker(app: Any, worker: Any) -> None:
    answer = ask(app, "hello", from_node="w2@there", revoked={"theirs": 1.0})
    assert "theirs" in answer["revoked"] and isinstance(answer["clock"], int)
    assert ask(app, "hello", from_node=NAME) is None


def test_events(app: Any, worker: Any) -> None:
    assert ask(app, "enable_events") == {"ok": "task events enabled"}
    assert ask(app, "enable_events") == {"ok": "task events already enabled"}
    assert ask(app, "disable_events") == {"ok": "task events disabled"}


def test_remote_control_can_be_off(app: Any) -> None:
    app.conf.worker_enable_remote_control = False
    try:
        with start_worker(app, perform_ping_check=False, hostname="deaf@here"):
            assert not app.control.broadcast("ping", destination=["deaf@here"], reply=True, timeout=0.05)
    finally:
        app.conf.worker_enable_remote_control = True


def test_shutdown(app: Any) -> None:
    with start_worker(app, perform_ping_check=False, hostname="last@here") as worker:
        app.control.broadcast("shutdown", destination=["last@here"])
        wait_for(lambda: worker._stop_wanted)


