"""Exceptions in results: whatever is raised can be written, and something that can be raised comes back."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from celerylite import exceptions
from celerylite.backends import failures
from celerylite.backends.records import Codec


class TwoArguments(Exception):
    def __init__(self, a: Any, b: Any) -> None:
        super().__init__(f"{a} and {b}")


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(code)


class NoText(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class HostileArguments(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no args")


class NoPickle(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("no pickle")


class Outer:
    class Inner(ValueError):
        pass


class BaseOnly(BaseException):
    pass


def _local() -> Exception:
    class Local(Exception):
        pass

    return Local("local")


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _deep() -> list[Any]:
    top: list[Any] = []
    for _ in range(100_000):
        top = [top]
    return top


NASTY = [
    ValueError("a", 1, None, 2.5, True),
    ValueError(),
    TwoArguments(1, 2),
    KeywordOnly(code=3),
    NoText("x"),
    ValueError(NoRepr()),
    ValueError({"o": object()}, [object()], {1, 2}),
    ValueError(b"\xff\xfe"),
    ValueError("\ud800"),
    ValueError(float("nan")),
    ValueError(datetime.datetime(2020, 1, 1)),
    ValueError({1: 2}),
    ValueError(ValueError("inner")),
    ValueError(lambda: 1),
    ValueError(_circle()),
    ValueError(_deep()),
    HostileArguments(),
    NoPickle("r"),
    Outer.Inner("i"),
    _local(),
    BaseOnly("b"),
    SystemExit(3),
    KeyboardInterrupt(),
    OSError(2, "no file", "/x"),
    UnicodeDecodeError("utf8", b"a", 0, 1, "r"),
    json.JSONDecodeError("m", "doc", 0),
    exceptions.Retry("m", ValueError("q"), 3),
    exceptions.Reject("r", True),
    exceptions.MaxRetriesExceededError("mx", task_args=[1]),
    exceptions.TimeLimitExceeded(10),
    MemoryError(),
    RecursionError("r"),
    StopIteration(4),
]


def _names(exc: BaseException) -> str:
    return type(exc).__qualname__


@pytest.mark.parametrize("exc", NASTY, ids=_names)
@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_every_exception_travels(exc: BaseException, serializer: str) -> None:
    if serializer in ("yaml", "msgpack"):
        pytest.importorskip(serializer)
    codec = Codec(serializer, accept=[serializer])
    try:
        record = codec.to_bytes({"result": failures.prepare(exc, serializer, codec.check)})
    except RecursionError:
        pytest.fail("the record could not be written")
    found = failures.rebuild(codec.decode(record)["result"])
    assert isinstance(found, BaseException)


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("a", 1, None, 2.5, True), KeyError("k"), OSError(2, "no file"), Outer.Inner("i"),
        BaseOnly("b"), exceptions.TimeoutError("t"), exceptions.WorkerLostError("lost"),
        exceptions.TaskRevokedError("g"), exceptions.SoftTimeLimitExceeded(), exceptions.NotRegistered("n"),
    ],
    ids=_names,
)  # fmt: skip
def test_known_classes_come_back_as_themselves(exc: BaseException) -> None:
    codec = Codec("json")
    stored = codec.decode(codec.encode(failures.prepare(exc, "json", codec.encode)))
    found = failures.rebuild(stored)
    assert type(found) is type(exc) and found.args == exc.args


@pytest.mark.parametrize(
    ("exc", "module"),
    [
        (ValueError(), "builtins"),
        (exceptions.TaskRevokedError(), "celery.exceptions"),
        (exceptions.WorkerLostError(), "billiard.exceptions"),
        (exceptions.TimeLimitExceeded(), "billiard.exceptions"),
        (Outer.Inner(), __name__),
    ],
)
def test_modules_are_those_that_celery_writes(exc: BaseException, module: str) -> None:
    assert failures.prepare(exc, "json", json.dumps)["exc_module"] == module


def test_arguments_that_cannot_be_written_become_text() -> None:
    stored = failures.prepare(ValueError(1, {2}), "json", Codec("json").encode)
    assert stored == {"exc_type": "ValueError", "exc_message": (1, "{2}"), "exc_module": "builtins"}


def test_a_class_that_is_not_here_is_made() -> None:
    found = failures.rebuild({"exc_type": "Gone", "exc_message": ["m"], "exc_module": "not.here"})
    assert type(found).__name__ == "Gone" and isinstance(found, Exception) and found.args == ("m",)


def test_a_constructor_that_refuses_the_arguments() -> None:
    stored = failures.prepare(TwoArguments(1, 2), "json", json.dumps)
    found = failures.rebuild(stored)
    assert type(found) is Exception and "TwoArguments" in str(found) and "1 and 2" in str(found)


@pytest.mark.parametrize("name", ["system", "path.join"])
def test_only_exceptions_are_called(name: str) -> None:
    found = failures.rebuild({"exc_type": name, "exc_message": ["true"], "exc_module": "os"})
    assert isinstance(found, Exception) and found.args == ("true",)


@pytest.mark.parametrize(
    ("stored", "args"),
    [
        ({"exc_type": "ValueError", "exc_message": "m", "exc_module": "builtins"}, ("m",)),
        ({"exc_type": "ValueError", "exc_message": None, "exc_module": "builtins"}, (None,)),
        ({"exc_type": "ValueError"}, ("",)),
        ({"exc_type": None, "exc_message": ["m"]}, ("m",)),
        ("text", ("text",)),
        (5, (5,)),
    ],
)
def test_odd_records(stored: Any, args: Any) -> None:
    found = failures.rebuild(stored)
    assert isinstance(found, BaseException) and found.args == args


@pytest.mark.parametrize("stored", [None, {}, ""])
def test_nothing_stored_is_no_exception(stored: Any) -> None:
    assert failures.rebuild(stored) is None
