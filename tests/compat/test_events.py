"""Events in both directions: Celery's receiver hears our workers, ours hears Celery's; field for field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site
from tests.support.fresh import run_fresh
from tests.support.listener import Listener
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


@pytest.fixture(scope="module")
def worker(module_site: Site) -> WorkerProcess:
    return module_site.worker("-c", "2", "-E", "-n", "ours@here", "--heartbeat-interval", "1")


@pytest.fixture(scope="module", params=[THEIRS, OURS])
def listener(module_site: Site, worker: WorkerProcess, request: pytest.FixtureRequest) -> Iterator[Listener]:
    listener = Listener(module_site.client(request.param), request.param)
    wait_for(lambda: "ours@here" in listener.state.workers, 20, "a heartbeat")
    yield listener
    listener.close()


@pytest.fixture
def call(module_site: Site, listener: Listener) -> Callable[..., Any]:
    client = module_site.client(OURS)
    return lambda name, *args, gate=None, **options: client.tasks[name].apply_async(
        args, {"gate": gate} if gate else {}, **options
    )


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


def test_heartbeats_say_how_the_worker_is(
    listener: Listener, worker: WorkerProcess, call: Callable[..., Any]
) -> None:
    listener.wait_for(call("t.add", 2, 3).id, "task-succeeded")
    before = len(listener.heard)
    wait_for(
        lambda: [event for event in listener.heard[before:] if event["type"] == "worker-heartbeat"][1:], 20,
        "two heartbeats",
    )  # fmt: skip
    beat = next(event for event in reversed(listener.heard) if event["type"] == "worker-heartbeat")
    assert beat.keys() == FIELDS["worker-heartbeat"] | ALL
    assert beat["pid"] == worker.pid and beat["freq"] == 1
    assert beat["active"] == 0 and beat["processed"] >= 1 and len(beat["loadavg"]) == 3
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


def test_retries(listener: Listener, call: Callable[..., Any]) -> None:
    result = call("t.flaky", 1)
    listener.wait_for(result.id, "task-succeeded")
    received, started, retried, again, *_ = events = listener.of(result.id)
    assert [event["type"] for event in events] == [
        "task-received", "task-started", "task-retried", "task-received", "task-started", "task-succeeded",
    ]  # fmt: skip
    assert retried.keys() == FIELDS["task-retried"] | ALL
    assert (received["retries"], again["retries"]) == (0, 1)
    assert again["eta"] and not received["eta"]


def test_a_client_tells_of_its_calls(listener: Listener, module_site: Site) -> None:
    """By every road: one call, many in one trip, a chain whose second step the worker sends."""
    client = module_site.client(OURS, task_send_sent_event=True)
    add = client.tasks["t.add"]
    ids = [add.delay(1, 1).id, add.apply_async((1, 2), countdown=0.01).id, client.send_task("t.add", (1, 3)).id]
    ids += [result.id for result in client.send_tasks([add.s(1, 4), add.s(1, 5)])]
    ids.append((add.s(1, 6)).apply_async().id)
    for task_id in ids:
        listener.wait_for(task_id, "task-sent")
        (event,) = (event for event in listener.of(task_id) if event["type"] == "task-sent")
        assert event.keys() == FIELDS["task-sent"] | ALL
        assert event["hostname"].startswith("gen")
        assert (event["name"], event["queue"], event["exchange"], event["routing_key"]) == (
            "t.add", "celery", "", "celery",
        )  # fmt: skip


def test_nothing_is_told_while_events_are_off(module_site: Site, listener: Listener) -> None:
    """Of a quiet worker only heartbeats are heard; the tasks in another queue are its own."""
    quiet = module_site.worker("-c", "1", "-n", "quiet@here", "-Q", "quiet", "--heartbeat-interval", "1")
    silent = module_site.worker("-c", "1", "-n", "silent@here", "-Q", "silent", "-E", "--without-heartbeat")
    client = module_site.client(OURS)
    add = client.tasks["t.add"]
    results = [add.apply_async((1, 2), queue=queue) for queue in ("quiet", "silent")]
    assert [result.get(timeout=20) for result in results] == [3, 3]
    listener.wait_for(results[1].id, "task-succeeded")
    told = {"destination": ["quiet@here"], "reply": True, "limit": 1, "timeout": 10}
    assert client.control.enable_events(**told) == [{"quiet@here": {"ok": "task events enabled"}}]
    loud = add.apply_async((1, 2), queue="quiet")
    listener.wait_for(loud.id, "task-succeeded")
    assert client.control.disable_events(**told) == [{"quiet@here": {"ok": "task events disabled"}}]
    results.append(add.apply_async((1, 2), queue="quiet"))
    assert results[2].get(timeout=20) == 3
    wait_for(lambda: "quiet@here" in listener.state.workers, 20, "a heartbeat of the quiet worker")
    assert quiet.terminate() == silent.terminate() == 0
    wait_for(
        lambda: any(e["type"] == "worker-offline" and e["hostname"] == "quiet@here" for e in listener.heard), 20,
        "the quiet worker's goodbye",
    )  # fmt: skip
    assert listener.of(results[0].id) == [] == listener.of(results[2].id)
    assert not any(e["type"].startswith("worker-") and e["hostname"] == "silent@here" for e in listener.heard)


def test_ours_hears_celerys_worker(module_site: Site) -> None:
    theirs = module_site.worker("-c", "1", "-E", "-n", "theirs@here", "-Q", "theirs", program=THEIRS)
    listener = Listener(module_site.client(OURS), OURS)
    client = module_site.client(THEIRS, task_send_sent_event=True)
    result = client.tasks["t.add"].apply_async((2, 3), queue="theirs")
    listener.wait_for(result.id, "task-succeeded")
    listener.wait_for(result.id, "task-sent")
    for event in listener.of(result.id):
        assert event.keys() == FIELDS[event["type"]] | ALL
    task = listener.state.tasks[result.id]
    assert (task.state, task.worker.hostname, task.result, task.routing_key) == (
        "SUCCESS", "theirs@here", "5", "theirs",
    )  # fmt: skip
    wait_for(lambda: listener.state.workers["theirs@here"].alive, 20, "a heartbeat of Celery's worker")
    theirs.terminate()
    wait_for(lambda: not listener.state.workers["theirs@here"].alive, 20, "its goodbye")
    listener.close()


def test_events_of_a_tasks_own(listener: Listener, module_site: Site) -> None:
    result = module_site.client(OURS).tasks["t.tell"].delay("task-half-done", percent=50)
    listener.wait_for(result.id, "task-half-done")
    (event,) = (event for event in listener.of(result.id) if event["type"] == "task-half-done")
    assert event.keys() == {"uuid", "percent"} | ALL
    assert (event["percent"], event["hostname"]) == (50, "ours@here")


def test_a_heartbeat_loads_nothing_of_kombus_messaging(redis_url: str) -> None:
    """An idle worker is to stay small."""
    loaded = run_fresh(
        """
        import sys
        from celerylite import Celery
        from celerylite.brokers import connect_worker
        from celerylite.worker.news import Outlet

        app = Celery(broker=sys.argv[1])
        broker, outlet = connect_worker(app, "w@here"), Outlet(app, "w@here", 1)
        assert outlet.send([(outlet.stamp({"type": "worker-heartbeat"}), "worker.heartbeat")], broker)
        print([name for name in ("kombu.messaging", "kombu.transport.redis", "redis") if name in sys.modules])
        """,
        redis_url,
    )
    assert loaded == "[]"


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_other_pools_tell_the_same(pool: str, module_site: Site, listener: Listener) -> None:
    worker = module_site.worker("-P", pool, "-c", "2", "-E", "-n", f"{pool}@here", "-Q", pool)
    tasks = module_site.client(OURS).tasks
    good = tasks["t.add"].apply_async((2, 3), queue=pool)
    bad = tasks["t.fail"].apply_async(("ValueError", "boom"), queue=pool)
    listener.wait_for(good.id, "task-succeeded")
    listener.wait_for(bad.id, "task-failed")
    assert listener.types_of(good.id) == ["task-received", "task-started", "task-succeeded"]
    assert listener.types_of(bad.id) == ["task-received", "task-started", "task-failed"]
    wait_for(lambda: listener.state.workers[f"{pool}@here"].alive, 20, "a heartbeat")
    assert worker.terminate() == 0
    wait_for(lambda: not listener.state.workers[f"{pool}@here"].alive, 20, "the goodbye")


def test_tasks_that_lose_their_process(listener: Listener, call: Callable[..., Any], module_site: Site) -> None:
    """The control process tells what the task process cannot."""
    lost = call("t.die")
    listener.wait_for(lost.id, "task-failed")
    assert listener.types_of(lost.id) == ["task-received", "task-started", "task-failed"]
    assert "WorkerLostError" in listener.of(lost.id)[-1]["exception"]
    ended = call("t.work", gate="never")
    listener.wait_for(ended.id, "task-started")
    module_site.client(OURS).control.revoke(ended.id, terminate=True)
    listener.wait_for(ended.id, "task-revoked")
    revoked = listener.of(ended.id)[-1]
    assert (revoked["terminated"], revoked["signum"], revoked["expired"]) == (True, 15, False)
    late = call("t.work", gate="never", time_limit=1)
    listener.wait_for(late.id, "task-failed")
    assert "TimeLimitExceeded" in listener.of(late.id)[-1]["exception"]
