"""Events in both directions: Celery's receiver hears our workers, ours hears Celery's; field for field."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.slow

#: What each event about a task says, beside what all of them say.
FIELDS = {
    "task-sent": {
        "uuid", "root_id", "parent_id", "name", "args", "kwargs", "retries", "eta", "expires", "queue", "exchange",
        "routing_key",
    },
    "task-received": {
        "uuid", "name", "args", "kwargs", "root_id", "parent_id", "retries", "eta", "expires",
    },
    "task-started": {"uuid"},
    "task-succeeded": {"uuid", "result", "runtime"},
    "task-failed": {"uuid", "exception", "traceback"},
    "task-retried": {"uuid", "exception", "traceback"},
    "task-rejected": {"uuid", "requeue"},
    "task-revoked": {"uuid", "terminated", "signum", "expired"},
    "worker-heartbeat": {"freq", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys"},
}  # fmt: skip
FIELDS["worker-online"] = FIELDS["worker-offline"] = FIELDS["worker-heartbeat"]
ALL = {"hostname", "utcoffset", "pid", "clock", "timestamp", "type", "local_received"}


class Listener:
    """A receiver of `lib` in a thread, which keeps what it hears."""

    def __init__(self, site: Site, lib: str) -> None:
        self.app = site.client(lib)
        self.state = importlib.import_module(f"{lib}.events.state").State()
        self.heard: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._connection = self.app.connection_for_read()
        self.receiver = self.app.events.Receiver(self._connection, handlers={"*": self._hear})
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _listen(self) -> None:
        listening = self.receiver.on_consume_ready

        def ready(*args: Any, **kwargs: Any) -> None:
            listening(*args, **kwargs)
            self._ready.set()

        self.receiver.on_consume_ready = ready  # type: ignore[method-assign]
        try:
            self.receiver.capture()
        except (*self._connection.connection_errors, AttributeError):
            assert self.receiver.should_stop  # the server has gone before us

    def _hear(self, event: dict[str, Any]) -> None:
        self.heard.append(dict(event))
        self.state.event(event)

    def of(self, task_id: str) -> list[dict[str, Any]]:
        return [event for event in self.heard if event.get("uuid") == task_id]

    def types_of(self, task_id: str) -> list[str]:
        return [event["type"] for event in self.of(task_id)]

    def wait_for(self, task_id: str, kind: str) -> None:
        wait_for(lambda: kind in self.types_of(task_id), 20, f"{kind} of {task_id}; heard {self.types_of(task_id)}")

    def close(self) -> None:
        self.receiver.should_stop = True
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._connection.close()


@pytest.fixture(scope="module")
def worker(module_site: Site) -> WorkerProcess:
    return module_site.worker("-c", "2", "-E", "-n", "ours@here", "--heartbeat-interval", "1")


@pytest.fixture(scope="module", params=[THEIRS, OURS])
def listener(module_site: Site, worker: WorkerProcess, request: pytest.FixtureRequest) -> Iterator[Listener]:
    listener = Listener(module_site, request.param)
    wait_for(lambda: "ours@here" in listener.state.workers, 20, "a heartbeat")
    yield listener
    listener.close()


@pytest.fixture
def call(module_site: Site, listener: Listener) -> Callable[..., Any]:
    client = module_site.client(OURS)
    return lambda name, *args, **options: client.tasks[name].apply_async(args, **options)


def test_the_life_of_a_task(listener: Listener, call: Callable[..., Any]) -> None:
    result = call("t.add", 2, 3)
    listener.wait_for(result.id, "task-succeeded")
    events = listener.of(result.id)
    assert [event["type"] for event in events] == ["task-received", "task-started", "task-succeeded"]
    for event in events:
        assert event.keys() == FIELDS[event["type"]] | ALL
        assert event["hostname"] == "ours@here"
    clocks = [event["clock"] for event in events]
    assert clocks == sorted(set(clocks))
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    assert (events[0]["name"], events[0]["args"], events[0]["kwargs"]) == ("t.add", "(2, 3)", "{}")
    assert events[2]["result"] == "5" and events[2]["runtime"] >= 0
    task = listener.state.tasks[result.id]
    assert (task.name, task.state, task.worker.hostname, task.result) == ("t.add", "SUCCESS", "ours@here", "5")


def test_heartbeats_say_how_the_worker_is(listener: Listener, worker: WorkerProcess) -> None:
    before = len(listener.heard)
    wait_for(
        lambda: [event for event in listener.heard[before:] if event["type"] == "worker-heartbeat"][1:], 20,
        "two heartbeats",
    )  # fmt: skip
    beat = next(event for event in reversed(listener.heard) if event["type"] == "worker-heartbeat")
    assert beat.keys() == FIELDS["worker-heartbeat"] | ALL
    assert beat["pid"] == worker.pid and beat["freq"] == 1
    assert listener.state.workers["ours@here"].alive


def test_failures_and_expiry(listener: Listener, call: Callable[..., Any]) -> None:
    failed = call("t.fail", "ValueError", "boom")
    expired = call("t.add", 1, 1, expires=-1)
    listener.wait_for(failed.id, "task-failed")
    listener.wait_for(expired.id, "task-revoked")
    last = listener.of(failed.id)[-1]
    assert last.keys() == FIELDS["task-failed"] | ALL
    assert "Traceback" in last["traceback"]
    (revoked,) = listener.of(expired.id)
    assert revoked.keys() == FIELDS["task-revoked"] | ALL
    assert (revoked["terminated"], revoked["signum"], revoked["expired"]) == (False, None, True)
