"""A real Celery on the other side: its clients with our worker, and our clients with its worker.

Each test runs in both directions and looks at what a user sees: results, states, exceptions, Redis keys.
"""

from __future__ import annotations

import json
import time
import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from tests.compat.conftest import Pair
from tests.support.errors import Broken, Expected
from tests.support.waiting import wait_for

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
    pair.wait_idle()
    for result in ignored:
        assert pair.site.redis.get(f"celery-task-meta-{result.id}") is None
    assert ignored[0].get(timeout=1) is None


def test_errors_are_stored_even_if_results_are_ignored(pair: Pair) -> None:
    result = pair.task("quiet_fail").delay()
    record = wait_for(lambda: pair.site.redis.get(f"celery-task-meta-{result.id}"), what="the error")
    assert json.loads(record)["status"] == "FAILURE"


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
    pair.wait_idle()
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
