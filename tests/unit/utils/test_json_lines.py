"""Log lines as JSON: what a program that reads them can count on."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from celerylite import context
from celerylite.utils.json_lines import JsonFormatter, json_line


def line_of(message: str = "hi", *args: Any, exc_info: Any = None, **extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("proj.tasks", logging.INFO, "p.py", 1, message, args, exc_info)
    record.__dict__.update(extra)
    text = JsonFormatter("%(message)s").format(record)
    assert "\n" not in text
    return json.loads(text, parse_constant=lambda name: pytest_fails(name))


def pytest_fails(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_the_keys_of_every_line() -> None:
    line = line_of("hello %s", "you")
    assert set(line) == {"time", "level", "logger", "message", "process", "pid"}
    assert (line["level"], line["logger"], line["message"]) == ("INFO", "proj.tasks", "hello you")
    assert datetime.fromisoformat(line["time"]).utcoffset() is not None


def test_the_task_that_runs() -> None:
    token = context.push(SimpleNamespace(name="proj.add"), context.Context(id="the-id"))
    try:
        line = line_of()
    finally:
        context.pop(token)
    assert (line["task_id"], line["task_name"]) == ("the-id", "proj.add")


def test_the_task_that_a_line_is_about() -> None:
    data = {"id": "1", "name": "proj.add", "runtime": 0.5, "return_value": "3"}
    line = line_of(action="success", data=data)
    assert (line["task_id"], line["task_name"], line["runtime"], line["action"]) == ("1", "proj.add", 0.5, "success")
    assert "data" not in line


def test_an_exception() -> None:
    try:
        raise ValueError("boom")
    except ValueError as exc:
        line = line_of(exc_info=(type(exc), exc, exc.__traceback__))
    assert (line["exception"]["type"], line["exception"]["message"]) == ("ValueError", "boom")
    assert line["exception"]["traceback"].splitlines()[-1] == "ValueError: boom"


class Awkward:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_extras_of_any_kind() -> None:
    line = line_of(order=3, when=datetime(2026, 5, 1), tags={"a"}, lone="\ud800")
    assert line["order"] == 3 and "2026" in line["when"] and "a" in line["tags"] and line["lone"] == "\ud800"
    assert line_of(worst=Awkward())["message"] == "hi"
    assert line_of(number=float("nan"))["number"] == "nan"
    loop: dict[Any, Any] = {(1, 2): 3}
    loop["me"] = loop
    assert line_of(loop=loop)["message"] == "hi"


def test_an_extra_cannot_take_the_place_of_a_key() -> None:
    assert line_of(level="mine", logger="mine", time="mine")["level"] == "INFO"


def test_a_line_without_logging() -> None:
    line = json.loads(json_line("WARNING", "celery.worker", "bye", "MainProcess", action="shutdown"))
    assert line["message"] == "bye" and line["action"] == "shutdown" and line["pid"]
