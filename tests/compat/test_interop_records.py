"""A real Celery on the other side, continued: records, what a task sees of its call, links, formats, routes.

Each test runs in both directions.
"""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timezone
from typing import Any

import pytest
from kombu import compression

from tests.compat.conftest import Pair
from tests.support.keys import keys_with
from tests.support.waiting import wait_for

# -- states and records, read from both sides

FIELDS = (
    "state",
    "status",
    "result",
    "traceback",
    "date_done",
    "name",
    "args",
    "kwargs",
    "worker",
    "queue",
    "retries",
)


@pytest.mark.parametrize("name,args", [("add", (1, 2)), ("fail", ("ValueError", "x")), ("flaky", (1,))])
def test_both_sides_read_the_same(pair: Pair, name: str, args: tuple[Any, ...]) -> None:
    here = pair.task(name).delay(*args)
    here.get(timeout=10, propagate=False)
    there = pair.other.AsyncResult(here.id)
    for field in FIELDS:
        mine, theirs = getattr(here, field), getattr(there, field)
        assert mine == theirs or repr(mine) == repr(theirs), field
        assert mine is not None or field == "traceback"
    assert (there.ready(), there.successful()) == (True, name != "fail")


def test_result_extended(pair: Pair) -> None:
    result = pair.task("add").apply_async((1,), {"y": 2}, queue="other")
    assert result.get(timeout=10) == 3
    record = pair.record(result.id)
    assert record["name"] == "t.add"
    assert record["args"] == [1]
    assert record["kwargs"] == {"y": 2}
    assert record["worker"].startswith("w1@")
    assert record["queue"] == "other"
    assert record["retries"] == 0
    assert list(record) == [
        "status", "result", "traceback", "children", "date_done",
        "name", "args", "kwargs", "worker", "retries", "queue", "task_id",
    ]  # fmt: skip


def test_results_expire_after_a_day(pair: Pair) -> None:
    result = pair.task("add").delay(1, 2)
    result.get(timeout=10)
    assert 86000 < pair.site.redis.ttl(f"celery-task-meta-{result.id}") <= 86400


def test_a_state_of_ones_own(pair: Pair) -> None:
    gate = uuid.uuid4().hex
    result = pair.task("progress").delay(gate)
    wait_for(lambda: result.state == "PROGRESS", what="state PROGRESS")
    assert result.info == {"done": 3, "of": 4}
    assert pair.other.AsyncResult(result.id).state == "PROGRESS"
    assert not result.ready()
    pair.site.open(gate)
    assert result.get(timeout=10) == "end"


def test_started_is_tracked(pair: Pair) -> None:
    gate = uuid.uuid4().hex
    result = pair.task("work_tracked").delay(gate)
    wait_for(lambda: result.state == "STARTED", what="state STARTED")
    assert set(result.info) == {"pid", "hostname"}
    pair.site.open(gate)
    assert result.get(timeout=10) == "worked"


def test_children(pair: Pair) -> None:
    result = pair.task("parent").delay(["a", "b"])
    ids = result.get(timeout=10)
    assert [child.id for child in result.children] == ids
    assert [child.get(timeout=10) for child in result.children] == ["a", "b"]
    assert [child.id for child in pair.other.AsyncResult(result.id).children] == ids
    assert pair.record(ids[0])["parent_id"] == result.id


def test_forget(pair: Pair) -> None:
    result = pair.task("add").delay(1, 2)
    assert result.get(timeout=10) == 3
    pair.other.AsyncResult(result.id).forget()
    assert pair.site.redis.get(f"celery-task-meta-{result.id}") is None


def test_someone_else_waits_for_the_result(pair: Pair) -> None:
    gate = uuid.uuid4().hex
    result = pair.task("work").delay(gate)
    waiting = pair.other.AsyncResult(result.id)
    pair.site.open(gate)
    assert waiting.get(timeout=10) == "worked"


# -- what the task sees of its call


def test_request_of_the_task(pair: Pair) -> None:
    eta = datetime(2026, 1, 1, tzinfo=timezone.utc)
    expires = datetime(2099, 1, 1, tzinfo=timezone.utc)
    result = pair.task("request").apply_async(
        (1, "x"), {"k": [1]}, eta=eta, expires=expires, priority=3, queue="third", shadow="shade",
        time_limit=50, soft_time_limit=40, headers={"tenant": "t1"},
    )  # fmt: skip
    seen = result.get(timeout=10)
    assert seen["id"] == seen["root_id"] == seen["correlation_id"] == result.id
    assert seen["args"] == [1, "x"]
    assert seen["kwargs"] == {"k": [1]}
    assert seen["eta"] == "2026-01-01T00:00:00+00:00"
    assert seen["expires"] == "2099-01-01T00:00:00+00:00"
    assert seen["timelimit"] == [50, 40]
    assert seen["shadow"] == "shade"
    assert seen["delivery_info"] == {
        "exchange": "",
        "routing_key": "third",
        "priority": 3,
        "redelivered": False,
    }
    assert seen["argsrepr"] == "(1, 'x')"
    assert seen["kwargsrepr"] == "{'k': [1]}"
    assert seen["task"] == "t.request"
    assert seen["headers"] == {"tenant": "t1"}
    assert seen["lang"] == "py"
    assert "@" in seen["origin"]
    assert (seen["retries"], seen["is_eager"], seen["called_directly"]) == (0, False, False)


def test_headers_are_attributes_of_the_request(pair: Pair) -> None:
    assert pair.task("header").apply_async(("tenant",), headers={"tenant": "t1"}).get(timeout=10) == "t1"
    assert pair.task("header").apply_async(("traceparent",), traceparent="00-ab").get(timeout=10) is not None


def test_request_fields_are_the_same_as_in_celery(pair: Pair) -> None:
    """Field by field; those that name the call or the process differ, of course."""
    expected = {
        "parent_id": None, "group": None, "group_index": None, "eta": None, "expires": None, "retries": 0,
        "timelimit": [None, None], "shadow": None, "ignore_result": False, "is_eager": False,
        "called_directly": False, "callbacks": None, "errbacks": None, "chain": None, "chord": None,
        "utc": None,
        "taskset": None, "replaced_task_nesting": 0, "stamps": {}, "stamped_headers": None, "headers": None,
        "lang": "py", "loglevel": None, "logfile": None,
        "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False},
    }  # fmt: skip
    seen = pair.task("request").delay().get(timeout=10)
    assert {name: seen[name] for name in expected} == expected
    assert set(seen["properties"]) >= {
        "correlation_id",
        "reply_to",
        "delivery_mode",
        "priority",
        "delivery_tag",
    }


# -- links


def test_link_runs_after_success_with_the_result(pair: Pair) -> None:
    tid = uuid.uuid4().hex
    callback = pair.task("add").s(10).set(task_id=tid)
    result = pair.task("add").apply_async((1, 2), link=callback)
    assert result.get(timeout=10) == 3
    assert pair.client.AsyncResult(tid).get(timeout=10) == 13


def test_link_error_of_one_argument_is_sent_with_the_id(pair: Pair) -> None:
    tid = uuid.uuid4().hex
    callback = pair.task("same").s().set(task_id=tid)
    result = pair.task("fail").apply_async(("ValueError", "x"), link_error=callback)
    with pytest.raises(ValueError):
        result.get(timeout=10)
    assert pair.client.AsyncResult(tid).get(timeout=10) == result.id


def test_link_error_of_three_arguments_is_called_in_the_worker(pair: Pair) -> None:
    result = pair.task("fail").apply_async(("ValueError", "x"), link_error=pair.task("errback").s())
    (event,) = pair.site.ledger.wait("errback", result.id)
    assert event.data["exc"] == "ValueError('x')"
    assert "ValueError: x" in event.data["traceback"]


# -- formats


@pytest.mark.parametrize("method", ["gzip", "zlib", "bzip2", "lzma"])
def test_compression(pair: Pair, method: str) -> None:
    compression.get_encoder(method)
    text = "abc" * 1000
    assert pair.task("echo").apply_async((text,), compression=method).get(timeout=10) == [[text], {}]


@pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack", "json"])
def test_serializers(pair: Pair, serializer: str) -> None:
    if serializer in ("yaml", "msgpack"):
        pytest.importorskip(serializer)
    value = {"n": [1, 2.5, "ä", None, True]}
    result = pair.task("echo").apply_async((value,), serializer=serializer, compression="zlib")
    assert result.get(timeout=10) == [[value], {}]


def test_a_serializer_nobody_knows_raises_at_the_caller(pair: Pair) -> None:
    with pytest.raises(Exception, match="nonsense") as caught:
        pair.task("add").apply_async((1, 1), serializer="nonsense")
    assert type(caught.value).__name__ == "EncodeError" or "Serializer" in type(caught.value).__name__


def test_protocol_1(pair: Pair) -> None:
    lib = type(pair.client).__module__.split(".")[0]
    client = pair.site.client(lib, task_protocol=1)
    result = client.tasks["t.echo"].apply_async((1,), {"k": 2})
    assert result.get(timeout=10) == [[1], {"k": 2}]
    seen = client.tasks["t.request"].apply_async((1,), headers={"tenant": "t"}).get(timeout=10)
    assert seen["args"] == [1]
    assert seen["retries"] == 0
    assert client.tasks["t.flaky"].delay(1).get(timeout=10)[0] == 1
    due = time.time() + 1
    assert client.tasks["t.now"].apply_async(countdown=1).get(timeout=10) >= due - 0.01


# -- queues and routes


def test_queue_and_routing(pair: Pair) -> None:
    lib = type(pair.client).__module__.split(".")[0]
    client = pair.site.client(
        lib, task_routes={"t.req*": {"queue": "other"}, "t.add": "third"}, task_default_queue="celery"
    )
    assert client.tasks["t.request"].delay().get(timeout=10)["delivery_info"]["routing_key"] == "other"
    result = client.tasks["t.add"].delay(1, 1)
    assert result.get(timeout=10) == 2
    assert pair.record(result.id)["queue"] == "third"
    assert (
        client.tasks["t.request"].apply_async(queue="third").get(timeout=10)["delivery_info"]["routing_key"] == "third"
    )


def test_bindings_of_a_queue_are_kombus(pair: Pair) -> None:
    assert pair.task("request").apply_async(queue="other").get(timeout=10)
    assert pair.site.redis.smembers("_kombu.binding.other") == {b"other\x06\x16\x06\x16other"}
    assert pair.site.redis.smembers("_kombu.binding.celery") >= {b"celery\x06\x16\x06\x16celery"}


def test_nothing_of_a_finished_call_stays_but_its_result(pair: Pair) -> None:
    result = pair.task("flaky").delay(1)
    result.get(timeout=10)
    wait_for(
        lambda: keys_with(pair.site.redis, result.id) == [f"celery-task-meta-{result.id}"],
        5,
        "only the result to stay",
    )
