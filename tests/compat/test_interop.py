"""A real Celery on the other side: its clients with our worker, and our clients with its worker.

Each test runs in both directions and looks at what a user sees: results, states, exceptions, Redis keys.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from kombu import compression

from tests.conftest import OURS, THEIRS, Site
from tests.support.errors import Broken, Expected
from tests.support.keys import keys_with
from tests.support.waiting import wait_for

CONTENT = ["json", "pickle", "yaml", "msgpack"]
WORKER_CONF = {
    "accept_content": CONTENT,
    "result_accept_content": CONTENT,
    "result_extended": True,
    "task_create_missing_queues": True,
}


class Pair(NamedTuple):
    """A client of one library and a running worker of the other."""

    site: Site
    client: Any
    other: Any  # an app of the worker's library in this process, to read results with
    worker_lib: str

    def task(self, name: str) -> Any:
        return self.client.tasks[f"t.{name}"]

    def record(self, task_id: str) -> dict[str, Any]:
        """The result as it stands in Redis."""
        raw = self.site.redis.get(f"celery-task-meta-{task_id}")
        assert raw is not None, f"no result of {task_id}"
        return json.loads(raw)


@pytest.fixture(scope="module", params=[(THEIRS, OURS), (OURS, THEIRS)], ids=lambda p: f"{p[0]}-to-{p[1]}")
def pair(request: pytest.FixtureRequest, new_redis_url: Any, tmp_path_factory: Any) -> Iterator[Pair]:
    from tests.conftest import Workers
    from tests.support.ledger import Ledger

    client_lib, worker_lib = request.param
    directory = tmp_path_factory.mktemp("pair")
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    conf = {**WORKER_CONF, "task_track_started": False}
    site.worker("-c", "2", "-n", "w1@%h", "-Q", "celery,other,third", program=worker_lib, conf=conf)
    accept = {"accept_content": CONTENT, "result_accept_content": CONTENT}
    yield Pair(site, site.client(client_lib, **accept), site.client(worker_lib, **accept), worker_lib)
    site.close()


# -- calls and results


def test_delay_and_get(pair: Pair) -> None:
    assert pair.task("add").delay(2, 3).get(timeout=10) == 5


def test_kwargs(pair: Pair) -> None:
    assert pair.task("echo").delay(1, "ä€😀", a=None, b=[1, {"c": 1.5}]).get(timeout=10) == [
        [1, "ä€😀"],
        {"a": None, "b": [1, {"c": 1.5}]},
    ]


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=timezone.utc),
        datetime(2026, 1, 2, 3, 4, 5),
        date(2026, 1, 2),
        Decimal("3.140"),
        uuid.UUID("80794a65-801f-412c-b574-58b2768f6d9d"),
        b"\x00\xff bytes",
        "",
        -1.5e300,
        2**70,
        None,
        True,
        {"k": [datetime(2026, 1, 1), {"n": None}]},
    ],
    ids=repr,
)
def test_types_that_json_carries_with_a_marker(pair: Pair, value: Any) -> None:
    result = pair.task("same").delay(value).get(timeout=10)
    assert result == value
    assert type(result) is type(value)


def test_send_task_by_name(pair: Pair) -> None:
    result = pair.client.send_task("t.add", args=(2,), kwargs={"y": 5}, task_id="a-name-of-my-own")
    assert result.id == "a-name-of-my-own"
    assert result.get(timeout=10) == 7


def test_the_worker_is_of_the_other_library(pair: Pair) -> None:
    who = pair.task("who").delay().get(timeout=10)
    assert who["lib"] == pair.worker_lib
    assert who["host"].startswith("w1@")


def test_ignore_result(pair: Pair) -> None:
    ignored = [pair.task("noop").delay(1), pair.task("add").apply_async((1, 1), ignore_result=True)]
    # A call behind them in the queue, so that they have run.
    wait_idle(pair)
    for result in ignored:
        assert pair.site.redis.get(f"celery-task-meta-{result.id}") is None
    assert ignored[0].get(timeout=1) is None


def test_errors_are_stored_even_if_results_are_ignored(pair: Pair) -> None:
    result = pair.task("quiet_fail").delay()
    record = wait_for(lambda: pair.site.redis.get(f"celery-task-meta-{result.id}"), what="the error")
    assert json.loads(record)["status"] == "FAILURE"


def wait_idle(pair: Pair) -> None:
    """Wait until everything sent so far has run: one call per slot that waits for all the others."""
    for _ in range(4):
        pair.task("add").delay(0, 0).get(timeout=10)


# -- when


@pytest.mark.parametrize("how", ["countdown", "eta", "eta in another zone"])
def test_countdown_and_eta_are_never_early(pair: Pair, how: str) -> None:
    due = time.time() + 1.0
    options = {
        "countdown": {"countdown": 1.0},
        "eta": {"eta": datetime.fromtimestamp(due, timezone.utc)},
        "eta in another zone": {"eta": datetime.fromtimestamp(due, timezone(timedelta(hours=5, minutes=30)))},
    }[how]
    ran = pair.task("now").apply_async(**options).get(timeout=10)
    assert due - 0.001 <= ran < due + 1.5


@pytest.mark.parametrize("expires", [datetime(2020, 1, 1, tzinfo=timezone.utc), -5], ids=["date", "seconds"])
def test_expired_calls_are_revoked(pair: Pair, expires: Any) -> None:
    result = pair.task("add").apply_async((1, 1), expires=expires)
    with pytest.raises(Exception, match="expired") as caught:
        result.get(timeout=10)
    assert type(caught.value).__name__ == "TaskRevokedError"
    assert type(caught.value).__module__.split(".")[0] == type(pair.client).__module__.split(".")[0]
    assert result.state == "REVOKED"


def test_a_call_that_expires_later_runs(pair: Pair) -> None:
    assert pair.task("add").apply_async((1, 1), expires=60).get(timeout=10) == 2
    expires = datetime.now(timezone.utc) + timedelta(minutes=1)
    assert pair.task("add").apply_async((1, 1), expires=expires).get(timeout=10) == 2


def test_a_delayed_call_that_expires_before_it_is_due(pair: Pair) -> None:
    result = pair.task("add").apply_async((1, 1), countdown=1, expires=0.3)
    with pytest.raises(Exception, match="expired"):
        result.get(timeout=10)


# -- retries


def test_retry(pair: Pair) -> None:
    result = pair.task("flaky").delay(2, countdown=0.1)
    retries, root, task_id, _ = result.get(timeout=15)
    assert (retries, root, task_id) == (2, result.id, result.id)


def test_automatic_retry(pair: Pair) -> None:
    assert pair.task("auto").delay(2).get(timeout=15) == 2


def test_no_retries_left(pair: Pair) -> None:
    with pytest.raises(Broken) as caught:
        pair.task("hopeless").delay().get(timeout=15)
    assert (caught.value.code, caught.value.detail) == (7, "still")


def test_no_retries_left_without_a_reason(pair: Pair) -> None:
    result = pair.task("hopeless").delay(with_exc=False)
    with pytest.raises(Exception, match="Can't retry t.hopeless") as caught:
        result.get(timeout=15)
    assert type(caught.value).__name__ == "MaxRetriesExceededError"
    assert pair.record(result.id)["result"]["exc_module"] == "celery.exceptions"


def test_state_of_a_task_that_waits_for_its_retry(pair: Pair) -> None:
    result = pair.task("waits_retry").delay(1.5)
    wait_for(lambda: result.state == "RETRY", what="state RETRY")
    assert isinstance(result.info, Broken)
    assert pair.record(result.id)["result"]["exc_type"] == "Broken"
    sent_at, ran_at = result.get(timeout=10)
    assert ran_at >= sent_at + 1.5 - 0.01


# -- failures


def test_an_exception_that_both_sides_can_import(pair: Pair) -> None:
    result = pair.task("fail").delay("Broken", 3, "no")
    with pytest.raises(Broken) as caught:
        result.get(timeout=10)
    assert (caught.value.code, caught.value.detail) == (3, "no")
    assert (result.state, result.failed(), result.successful()) == ("FAILURE", True, False)
    assert "Broken" in result.traceback
    assert result.get(timeout=1, propagate=False).args == (3, "no")


def test_builtin_exceptions(pair: Pair) -> None:
    with pytest.raises(KeyError) as caught:
        pair.task("fail").delay("KeyError", "k").get(timeout=10)
    assert caught.value.args == ("k",)


def test_an_exception_that_the_client_cannot_import(pair: Pair) -> None:
    with pytest.raises(Exception, match="words") as caught:
        pair.task("fail_there").delay("words").get(timeout=10)
    assert type(caught.value).__name__ == "There"
    assert caught.value.args == ("words",)


def test_an_exception_that_nobody_can_import(pair: Pair) -> None:
    with pytest.raises(Exception, match="words") as caught:
        pair.task("fail_local").delay("words").get(timeout=10)
    # Celery's worker wraps it.
    assert "Local" in f"{type(caught.value).__name__} {caught.value}"


def test_an_exception_that_cannot_be_made_again(pair: Pair) -> None:
    with pytest.raises(Exception, match="5: why") as caught:
        pair.task("fail").delay("Odd", 5, "why").get(timeout=10)
    assert "Odd" in type(caught.value).__name__ or "Odd" in repr(caught.value)


def test_expected_exceptions(pair: Pair) -> None:
    with pytest.raises(Expected):
        pair.task("throws").delay().get(timeout=10)


@pytest.mark.parametrize("name", ["Ignore", "Reject"])
def test_ignore_and_reject_raised_by_the_task(pair: Pair, name: str) -> None:
    result = pair.task("fail").delay(name, "reason")
    wait_idle(pair)
    # Reject without requeue stores FAILURE (acks early); Ignore stores nothing.
    assert result.state == ("PENDING" if name == "Ignore" else "FAILURE")


def test_exceptions_of_the_library_itself_map_back(pair: Pair) -> None:
    result = pair.task("fail").delay("InvalidTaskError", "odd")
    with pytest.raises(Exception, match="odd") as caught:
        result.get(timeout=10)
    exceptions = __import__(f"{type(pair.client).__module__.split('.')[0]}.exceptions", fromlist=["x"])
    assert isinstance(caught.value, exceptions.InvalidTaskError)
    assert pair.record(result.id)["result"]["exc_module"] == "celery.exceptions"


def test_a_result_that_cannot_be_encoded(pair: Pair) -> None:
    result = pair.task("unencodable").delay()
    with pytest.raises(Exception):  # noqa: B017  which class, differs with the encoder
        result.get(timeout=10)
    assert result.state == "FAILURE"


def test_wrong_number_of_arguments(pair: Pair) -> None:
    with pytest.raises(TypeError, match="argument"):
        pair.client.send_task("t.add", args=(1, 2, 3)).get(timeout=10)


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
