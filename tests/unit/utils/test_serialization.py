"""Exceptions that travel by name or by pickle, and values that JSON takes."""

from __future__ import annotations

import pickle
import sys
from datetime import date, datetime, timedelta, timezone

import pytest

from celerylite import exceptions
from celerylite.utils import serialization
from celerylite.utils.einfo import ExceptionInfo, ExceptionWithTraceback
from celerylite.utils.serialization import exception_class, wire_module


class Awkward(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(one)


class AwkwardKey(KeyError):
    def __init__(self, one: object, two: object) -> None:
        super().__init__(one)


@pytest.mark.parametrize(
    ("cls", "module"),
    [
        (exceptions.Reject, "celery.exceptions"),
        (exceptions.TimeLimitExceeded, "billiard.exceptions"),
        (exceptions.WorkerLostError, "billiard.exceptions"),
        (ValueError, "builtins"),
        (Awkward, __name__),
    ],
)
def test_names_on_the_wire_go_there_and_back(cls: type, module: str) -> None:
    assert wire_module(cls) == module
    assert exception_class(module, cls.__name__) is cls


def test_unknown_exceptions_get_a_class_of_their_name() -> None:
    made = exception_class("no.such.module", "Strange")
    assert issubclass(made, Exception) and (made.__module__, made.__name__) == ("no.such.module", "Strange")
    assert "no.such.module" not in sys.modules


def test_names_that_are_no_exceptions_are_not_used() -> None:
    assert issubclass(exception_class("os", "system"), Exception)
    assert issubclass(exception_class("builtins", "eval"), Exception)
    assert exception_class(None, "KeyError") is KeyError


def test_exceptions_that_cannot_be_pickled() -> None:
    fine = ValueError(1)
    assert serialization.get_pickleable_exception(fine) is fine
    nearest = serialization.get_pickleable_exception(AwkwardKey(1, 2))
    assert type(nearest) is KeyError and nearest.args == (1,)
    wrapped = serialization.get_pickleable_exception(Awkward(1, 2))
    assert str(wrapped) == "Awkward(1)"
    restored = serialization.get_pickled_exception(pickle.loads(pickle.dumps(wrapped)))
    assert type(restored).__name__ == "Awkward" and restored.args == (1,)


def test_words_for_yes_and_no() -> None:
    assert [serialization.strtobool(word) for word in ("yes", "On", "0", 1)] == [True, True, False, 1]
    with pytest.raises(TypeError, match="maybe"):
        serialization.strtobool("maybe")


def test_base64() -> None:
    assert serialization.b64encode(b"ab") == serialization.b64encode("ab") == "YWI="
    assert serialization.b64decode("YWI=") == b"ab"


def test_values_for_json() -> None:
    moment = datetime(2020, 1, 1, 2, 3, 4, 5678, tzinfo=timezone.utc)
    given = {"a": moment, "b": (1, None, timedelta(1)), "c": date(2020, 1, 2)}
    assert serialization.jsonify(given) == {
        "a": "2020-01-01T02:03:04.005Z",
        "b": [1, None, "1 day, 0:00:00"],
        "c": "2020-01-02",
    }
    with pytest.raises(ValueError, match="Unsupported type"):
        serialization.jsonify(object())


def test_causes_are_kept() -> None:
    with pytest.raises(KeyError) as caught:
        try:
            raise ValueError
        except ValueError:
            serialization.raise_with_context(KeyError("second"))
    assert isinstance(caught.value.__cause__, ValueError)


def fail() -> None:
    raise ValueError("x")


def test_exception_info_travels_with_its_traceback() -> None:
    try:
        fail()
    except ValueError as exc:
        info, raised = ExceptionInfo(), exc
    assert info.type is ValueError and info.exception.exc is raised and not info.internal
    assert "in fail" in info.traceback and str(info) == info.traceback
    copy = pickle.loads(pickle.dumps(info))
    assert isinstance(copy.exception, ValueError) and "in fail" in str(copy.exception.__cause__)
    assert copy.tb.tb_next.tb_frame.f_code.co_name == "fail"


def test_wrapped_exceptions_are_not_wrapped_again() -> None:
    wrapped = ExceptionWithTraceback(ValueError("x"), "the traceback")
    info = ExceptionInfo((ValueError, wrapped, None), internal=True)
    assert info.exception is wrapped and info.internal
