"""Errors say what they should, survive pickling, and cost nothing to import."""

from __future__ import annotations

import pickle
from datetime import datetime

import pytest

from celerylite import exceptions
from tests.support.fresh import run_fresh


def test_retry_says_when_and_why() -> None:
    assert str(exceptions.Retry(exc=ValueError(1), when=20)) == "Retry in 20s: ValueError(1)"
    assert str(exceptions.Retry(when=datetime(2030, 1, 1))) == "Retry at 2030-01-01 00:00:00"
    assert str(exceptions.Retry("later")) == "later"


def test_retry_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(exceptions.Retry("later", KeyError("k"), 5)))
    assert (copy.message, repr(copy.exc), copy.when) == ("later", "KeyError('k')", 5)


def test_reject_keeps_its_reason() -> None:
    reject = exceptions.Reject("broken", requeue=True)
    assert (reject.reason, reject.requeue) == ("broken", True)
    assert repr(reject) == "reject requeue=True: broken"


def test_not_registered_is_a_key_error_with_advice() -> None:
    error = exceptions.NotRegistered("proj.add")
    assert isinstance(error, KeyError)
    assert repr(error) == "Task of kind 'proj.add' never registered, please make sure it's imported."


def test_backend_errors_name_the_task() -> None:
    assert repr(exceptions.BackendStoreError("no", task_id="t", state="S")).endswith("state:S task_id:t")
    assert repr(exceptions.BackendGetMetaError("no", task_id="t")).endswith("task_id:t")


def test_max_retries_keeps_the_arguments() -> None:
    error = exceptions.MaxRetriesExceededError("enough", task_args=(1,), task_kwargs={"a": 2})
    assert (error.args, error.task_args, error.task_kwargs) == (("enough",), (1,), {"a": 2})


def test_reraise_keeps_the_traceback() -> None:
    try:
        raise ValueError("first")
    except ValueError as exc:
        caught = exc
    with pytest.raises(ValueError, match="first") as again:
        exceptions.reraise(type(caught), caught, caught.__traceback__)
    assert again.value is caught


def test_errors_of_other_packages_come_late() -> None:
    from click import ClickException
    from kombu.exceptions import OperationalError

    assert exceptions.OperationalError is OperationalError
    assert issubclass(exceptions.CeleryCommandException, ClickException)
    assert exceptions.CeleryCommandException("no", 5).exit_code == 5
    with pytest.raises(AttributeError):
        exceptions.NoSuchError  # noqa: B018


@pytest.mark.parametrize("module", ["exceptions", "signals", "states", "app.settings", "utils.log"])
def test_the_ground_floor_imports_nothing_heavy(module: str) -> None:
    heavy = "{'kombu', 'redis', 'click', 'multiprocessing', 'asyncio', 'inspect'}"
    loaded = run_fresh(
        f"import sys; before = set(sys.modules); import celerylite.{module}; "
        f"print(sorted({heavy} & (set(sys.modules) - before)))"
    )
    assert loaded.strip() == "[]"
