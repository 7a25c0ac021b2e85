"""What a task may say about how its messages become requests, and how bodies of older protocols are read. There is one
road for all tasks, `worker.intake`; a strategy of a task's own is not called.
"""

from __future__ import annotations

import logging
from typing import Any

from celerylite.exceptions import InvalidTaskError
from celerylite.utils.imports import symbol_by_name
from celerylite.worker.request import Request

__all__ = ("hybrid_to_proto2", "proto1_to_proto2")

# Celery's.
logger = logging.getLogger("celery.worker.strategy")

#: What Celery calls its own strategy.
USUAL = ("celery.worker.strategy:default", "celerylite.worker.strategy:default")

OWN_STRATEGY = """\
Task %s has a Strategy of its own (%r), which celerylite's worker does not call.
Its message was set aside (celerylite dead), so that it does not run in another way than it was written for.
Give the task a queue of its own and let a worker of Celery serve that: messages and results are the same.
"""
NO_REQUEST_CLASS = "%s.Request must be a subclass of celerylite.worker.request.Request, or its name; %r is not used: %s"

#: Body (args, kwargs, what comes after), headers, whether the body is decoded, whether times are in UTC.
Converted = tuple[tuple[Any, Any, dict[str, Any]], dict[str, Any], bool, bool]

#: What the headers of the second protocol have, but for `retries` and `timelimit`.
HEADERS = (
    "lang", "task", "id", "root_id", "parent_id", "group", "meth", "shadow", "eta", "expires", "argsrepr", "kwargsrepr",
    "origin",
)  # fmt: skip


def own_strategy(task: Any) -> Any:
    """The strategy that a task brings along; None, as a rule."""
    return None if task.Strategy in USUAL else task.Strategy


def request_class(task: Any) -> type[Request]:
    """The class of a task's requests; an error is logged where it names none."""
    try:
        found = symbol_by_name(task.Request)
        if isinstance(found, type) and issubclass(found, Request):
            return found
        logger.error(NO_REQUEST_CLASS, task.name, found, "it is none", extra={"action": "request_class"})
    except (ImportError, AttributeError, ValueError) as exc:
        logger.error(NO_REQUEST_CLASS, task.name, task.Request, repr(exc), extra={"action": "request_class"})
    return Request


def hybrid_to_proto2(message: Any, body: dict[str, Any]) -> Converted:
    """Read a body that says everything, beneath headers which win where they say it too."""
    headers = {name: body.get(name) for name in HEADERS}
    headers["retries"] = body.get("retries", 0)
    headers["timelimit"] = body.get("timelimit", (None, None))
    headers.update(message.headers or {})
    return _call(body), headers, True, body.get("utc", True)


def proto1_to_proto2(message: Any, body: dict[str, Any]) -> Converted:
    """Read a body of protocol 1, where nothing stands in the headers."""
    args, kwargs, embed = _call(body)
    body.update(argsrepr=repr(args), kwargsrepr=repr(kwargs), headers=message.headers)
    if "taskset" in body:
        body["group"] = body["taskset"]
    return (args, kwargs, embed), body, True, body.get("utc", True)


def _call(body: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    args, kwargs = body.get("args", ()), body.get("kwargs", {})
    if not hasattr(kwargs, "items"):
        raise InvalidTaskError("Task keyword arguments must be a mapping")
    embed = {name: body.get(name) for name in ("callbacks", "errbacks", "chord")}
    return args, kwargs, {**embed, "chain": None}
