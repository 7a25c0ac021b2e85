"""What a user sees of tasks, the same for every executor: results, failures, retries, acknowledgement."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.errors import Broken, Expected
from tests.support.keys import broker_keys_with
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

needs_ours = pytest.mark.skipif(OURS == THEIRS, reason="Celery itself does not do this")


class Running:
    """A worker with one executor, and a client."""

    def __init__(self, site: Site, pool: str) -> None:
        self.site = site
        self.pool = pool
        self.worker: WorkerProcess = site.worker("-P", pool, "-c", "2", signals="task", conf={"result_extended": True})
        self.client = site.client()
        self.ledger = site.ledger

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.client.tasks[f"t.{name}"].delay(*args, **kwargs)

    def signals_of(self, task_id: str) -> list[str]:
        names = [event.name for event in self.ledger.events(key=task_id)]
        return [name.removeprefix("signal:task_") for name in names if name.startswith("signal:task_")]


@pytest.fixture(scope="module", params=["prefork", "threads", "solo"])
def running(
    request: pytest.FixtureRequest, new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp(request.param)
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    yield Running(site, request.param)
    site.close()


# -- where tasks run


def test_where_tasks_run(running: Running) -> None:
    who = running.call("who").get(timeout=10)
    if running.pool == "solo":
        assert who["pid"] == running.worker.pid
    elif running.pool == "prefork":
        assert who["pid"] in running.worker.children()
    assert who["host"].startswith("celery@")


def test_as_many_at_once_as_slots(running: Running) -> None:
    if running.pool == "solo":
        pytest.skip("solo runs one at a time")
    gate = uuid.uuid4().hex
    results = [running.call("work", gate) for _ in range(3)]
    wait_for(lambda: sum(r.id in running.ledger.starts() for r in results) == 2, what="two tasks to run")
    running.site.open(gate, 3)
    assert [result.get(timeout=10) for result in results] == ["worked"] * 3
    pids = {event.pid for event in running.ledger.events("start") if event.key in [r.id for r in results]}
    assert len(pids) == (2 if running.pool == "prefork" else 1)


# -- outcomes


def test_success(running: Running) -> None:
    result = running.call("add", 1, y=2)
    assert result.get(timeout=10) == 3
    assert (result.state, result.successful(), result.worker) == (
        "SUCCESS",
        True,
        running.call("who").get()["host"],
    )


def test_failure_with_its_traceback(running: Running) -> None:
    result = running.call("fail", "Broken", 1, "why")
    with pytest.raises(Broken):
        result.get(timeout=10)
    assert result.state == "FAILURE"
    assert "in fail" in result.traceback
    assert result.traceback.rstrip().endswith("Broken: (1, 'why')")


def test_the_cause_is_in_the_traceback(running: Running) -> None:
    result = running.call("fail_cause")
    with pytest.raises(ValueError, match="second"):
        result.get(timeout=10)
    assert "second" in result.traceback


def test_expected_failure(running: Running) -> None:
    with pytest.raises(Expected):
        running.call("throws").get(timeout=10)


@pytest.mark.parametrize("kind", ["Unprintable", "Odd"])
def test_exceptions_that_make_trouble(running: Running, kind: str) -> None:
    args = (1, "x") if kind == "Odd" else ()
    result = running.call("fail", kind, *args)
    with pytest.raises(Exception):  # noqa: B017  which class it becomes is not promised
        result.get(timeout=10)
    assert result.state == "FAILURE"
    assert running.call("add", 1, 1).get(timeout=10) == 2


@needs_ours
@pytest.mark.parametrize("kind", ["MemoryError", "SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_errors_that_are_no_exceptions_do_not_end_the_worker(running: Running, kind: str) -> None:
    result = running.call("fail", kind)
    wait_for(lambda: result.state == "FAILURE", 10, f"{kind} to be stored as a failure")
    assert running.call("add", 1, 1).get(timeout=10) == 2
    assert running.worker.returncode is None


def test_endless_recursion(running: Running) -> None:
    with pytest.raises(RecursionError):
        running.call("deep").get(timeout=20)
    assert running.call("add", 1, 1).get(timeout=10) == 2


def test_a_result_that_cannot_be_encoded(running: Running) -> None:
    result = running.call("unencodable")
    with pytest.raises(Exception, match="lock|serializ|encod"):
        result.get(timeout=10)
    assert result.state == "FAILURE"


def test_wrong_number_of_arguments(running: Running) -> None:
    with pytest.raises(TypeError, match=r"takes|missing|argument"):
        running.client.send_task("t.add", args=(1, 2, 3)).get(timeout=10)
    with pytest.raises(TypeError, match=r"unexpected keyword"):
        running.client.send_task("t.add", args=(1,), kwargs={"zz": 3}).get(timeout=10)


@pytest.mark.slow
def test_bodies_of_10_megabytes(running: Running) -> None:
    assert running.call("size", "x" * 10_000_000).get(timeout=30) == 10_000_000
    result = running.call("big", 10_000_000)
    assert len(result.get(timeout=30)) == 10_000_000
    result.forget()


def test_ignored_results(running: Running) -> None:
    result = running.call("noop")
    wait_for(lambda: "postrun" in running.signals_of(result.id), what="the task to have run")
    assert running.site.redis.get(f"celery-task-meta-{result.id}") is None


def test_own_states(running: Running) -> None:
    gate = uuid.uuid4().hex
    result = running.call("progress", gate)
    wait_for(lambda: result.state == "PROGRESS", what="state PROGRESS")
    assert result.info == {"done": 3, "of": 4}
    running.site.open(gate)
    assert result.get(timeout=10) == "end"


def test_started_is_stored_where_wanted(running: Running) -> None:
    gate = uuid.uuid4().hex
    result = running.call("work_tracked", gate)
    wait_for(lambda: result.state == "STARTED", what="state STARTED")
    assert result.info["hostname"].startswith("celery@")
    running.site.open(gate)
    assert result.get(timeout=10) == "worked"


def test_calls_made_by_a_task(running: Running) -> None:
    result = running.call("parent", ["a", "b"])
    ids = result.get(timeout=10)
    assert [child.id for child in result.children] == ids
    assert [child.get(timeout=10) for child in result.children] == ["a", "b"]
    seen = running.client.tasks["t.request"].delay().get(timeout=10)
    assert seen["parent_id"] is None


def test_what_is_printed_goes_to_the_log(running: Running) -> None:
    mark = uuid.uuid4().hex
    running.call("print", f"out {mark}", f"err {mark}").get(timeout=10)
    running.worker.wait_log(rf"WARNING/[\w-]+\] out {mark}$")
    running.worker.wait_log(rf"WARNING/[\w-]+\] err {mark}$")


# -- retries and due times


def test_retry(running: Running) -> None:
    result = running.call("flaky", 3)
    retries, root, task_id, _ = result.get(timeout=10)
    assert (retries, root, task_id) == (3, result.id, result.id)


def test_automatic_retry(running: Running) -> None:
    assert running.call("auto", 2).get(timeout=10) == 2
    with pytest.raises(KeyError):
        running.call("auto", 9).get(timeout=10)


def test_no_retries_left(running: Running) -> None:
    with pytest.raises(Broken):
        running.call("hopeless").get(timeout=10)
    with pytest.raises(Exception, match="Can't retry") as caught:
        running.call("hopeless", with_exc=False).get(timeout=10)
    assert type(caught.value).__name__ == "MaxRetriesExceededError"


def test_countdown(running: Running) -> None:
    due = time.time() + 0.7
    ran = running.client.tasks["t.now"].apply_async(countdown=0.7).get(timeout=10)
    assert due - 0.001 <= ran < due + 1


def test_expired(running: Running) -> None:
    result = running.client.tasks["t.add"].apply_async((1, 1), expires=-1)
    with pytest.raises(Exception, match="expired"):
        result.get(timeout=10)
    assert result.state == "REVOKED"
    assert running.signals_of(result.id) == ["revoked"] or "prerun" not in running.signals_of(result.id)


# -- acknowledgement


def test_early_ack_is_written_before_the_task_runs(running: Running) -> None:
    gate = uuid.uuid4().hex
    result = running.call("work", gate)
    running.ledger.wait("start", result.id)
    if OURS != THEIRS:
        assert broker_keys_with(running.site.redis, result.id) == []
    running.site.open(gate)
    assert result.get(timeout=10) == "worked"


def test_late_ack_keeps_the_message_while_the_task_runs(running: Running) -> None:
    gate = uuid.uuid4().hex
    result = running.call("work_late", gate)
    running.ledger.wait("start", result.id)
    assert len(broker_keys_with(running.site.redis, result.id)) == 1
    running.site.open(gate)
    assert result.get(timeout=10) == "worked"
    wait_for(lambda: not broker_keys_with(running.site.redis, result.id), what="the message to be gone")


def test_ignore(running: Running) -> None:
    result = running.call("ignore")
    running.ledger.wait("start", result.id)
    wait_for(lambda: not broker_keys_with(running.site.redis, result.id), what="the message to be gone")
    assert running.call("add", 1, 1).get(timeout=10) == 2
    assert result.state == "PENDING"


def test_reject_with_requeue_marks_as_redelivered(running: Running) -> None:
    result = running.call("reject", True, times=2)
    assert result.get(timeout=10) == "done"
    starts = [event.data["redelivered"] for event in running.ledger.events("start", result.id)]
    assert starts == [False, True, True]


def test_reject_without_requeue(running: Running) -> None:
    result = running.call("reject", False)
    wait_for(lambda: result.state == "FAILURE", what="state FAILURE")
    running.call("add", 1, 1).get(timeout=10)
    assert running.ledger.count("start", result.id) == 1
    assert [key for key in broker_keys_with(running.site.redis, result.id) if "dead" not in key] == []


@pytest.mark.slow
def test_nothing_stays_behind(running: Running) -> None:
    results = [running.call("add", n, n) for n in range(50)]
    assert [result.get(timeout=10) for result in results] == [2 * n for n in range(50)]
    for result in results[::10]:
        wait_for(lambda tid=result.id: not broker_keys_with(running.site.redis, tid), what="the message to be gone")


# -- hooks and signals


@pytest.mark.parametrize(
    "how,expected",
    [
        ("succeed", ["before_start", "run", "on_success", "after_return:SUCCESS"]),
        ("fail", ["before_start", "run", "on_failure", "after_return:FAILURE"]),
        (
            "retry",
            # A task that will be retried has not returned.
            ["before_start", "run", "on_retry"] + ["before_start", "run", "on_success", "after_return:SUCCESS"],
        ),
    ],
)
def test_hooks(running: Running, how: str, expected: list[str]) -> None:
    result = running.call("hooked", how)
    result.get(timeout=10, propagate=False)
    running.ledger.wait("after_return", result.id)
    events = [event for event in running.ledger.events(key=result.id) if not event.name.startswith("signal")]
    names = [f"{event.name}:{event.data['status']}" if event.name == "after_return" else event.name for event in events]
    if how == "retry":  # another process may take the retry before this one is through
        assert sorted(names) == sorted(expected)
    else:
        assert names == expected


@pytest.mark.parametrize(
    "name,args,expected",
    [
        ("add", (1, 1), ["received", "prerun", "success", "postrun"]),
        ("fail", ("ValueError",), ["received", "prerun", "failure", "postrun"]),
        (
            "hooked",
            ("retry",),
            ["received", "prerun", "retry", "postrun", "received", "prerun", "success", "postrun"],
        ),
    ],
)
def test_task_signals(running: Running, name: str, args: tuple[Any, ...], expected: list[str]) -> None:
    result = running.call(name, *args)
    result.get(timeout=10, propagate=False)
    running.ledger.wait("signal:task_postrun", result.id, count=expected.count("postrun"))
    seen = running.signals_of(result.id)
    if name == "hooked":  # another process may take the retry before this one is through
        assert sorted(seen) == sorted(expected)
    else:
        assert seen == expected


def test_what_task_signals_carry(running: Running) -> None:
    result = running.call("fail", "ValueError", "x")
    result.get(timeout=10, propagate=False)
    running.ledger.wait("signal:task_postrun", result.id)
    data = {event.name.removeprefix("signal:task_"): event.data for event in running.ledger.events(key=result.id)}
    assert data["prerun"]["task"] == "t.fail"
    assert data["prerun"]["sender"] == "t.fail"
    assert data["prerun"]["args"] in ("['ValueError', 'x']", "('ValueError', 'x')")
    assert data["failure"]["exception"] == "ValueError('x')"
    assert {"traceback", "einfo"} <= set(data["failure"])
    assert data["postrun"]["state"] == "FAILURE"


def test_extended_record_in_redis(running: Running) -> None:
    result = running.call("add", 1, y=2)
    result.get(timeout=10)
    record = json.loads(running.site.redis.get(f"celery-task-meta-{result.id}"))
    wanted = ("status", "result", "name", "args", "kwargs", "queue", "retries")
    assert {key: record[key] for key in wanted} == {
        "status": "SUCCESS", "result": 3, "name": "t.add", "args": [1], "kwargs": {"y": 2}, "queue": "celery",
        "retries": 0,
    }  # fmt: skip


@pytest.mark.slow
def test_one_after_the_other_at_speed(running: Running) -> None:
    """Three hundred small calls, and every one of them once."""
    results = [running.client.tasks["t.work"].delay() for _ in range(300)]
    assert [result.get(timeout=30) for result in results] == ["worked"] * 300
    starts = running.ledger.starts()
    assert {starts[result.id] for result in results} == {1}


def test_each_task_sees_its_own_request(running: Running) -> None:
    if running.pool == "solo":
        pytest.skip("solo runs one at a time")
    gate = uuid.uuid4().hex
    results = [running.call("own_id", gate) for _ in range(2)]
    for result in results:
        running.ledger.wait("start", result.id)
    running.site.open(gate, 2)
    for result in results:
        assert result.get(timeout=10) == [result.id, result.id, result.id, gate]


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["before_start", "on_success", "on_failure", "on_retry", "after_return"])
@pytest.mark.parametrize("how", ["succeed", "fail", "retry"])
def test_hooks_that_raise_do_no_harm(running: Running, hook: str, how: str) -> None:
    if OURS == THEIRS and running.pool == "solo":
        pytest.skip("it ends Celery's solo worker")
    result = running.client.tasks[f"t.bad_{hook}"].delay(how)
    outcome = result.get(timeout=10, propagate=False)
    if hook == "before_start" or how == "fail":
        assert isinstance(outcome, Exception)
    assert running.call("add", 1, 1).get(timeout=10) == 2
    assert running.worker.returncode is None
    wait_for(lambda: not broker_keys_with(running.site.redis, result.id), what="the message to be gone")


def test_late_and_not_acknowledged_on_failure(running: Running) -> None:
    """`acks_on_failure_or_timeout=False`: rejected without requeue, so it is not run again."""
    result = running.call("fail_late")
    with pytest.raises(ValueError):
        result.get(timeout=10)
    assert running.call("add", 1, 1).get(timeout=10) == 2
    assert running.ledger.count("start", result.id) == 1
    wait_for(lambda: all("dead" in key for key in broker_keys_with(running.site.redis, result.id)), what="the end")
