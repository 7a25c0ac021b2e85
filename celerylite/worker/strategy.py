"""How bodies of the first protocol, and hybrid ones, become the second one. For packages with a `Task.Strategy` of their
own; the worker itself reads messages in `worker.request`.
"""

from __future__ import annotations

from typing import Any

from celerylite.exceptions import InvalidTaskError

__all__ = ("hybrid_to_proto2", "proto1_to_proto2")

#: Body (args, kwargs, what comes after), headers, whether the body is decoded, whether times are in UTC.
Converted = tuple[tuple[Any, Any, dict[str, Any]], dict[str, Any], bool, bool]

#: What the headers of the second protocol have, but for `retries` and `timelimit`.
HEADERS = (
    "lang", "task", "id", "root_id", "parent_id", "group", "meth", "shadow", "eta", "expires", "argsrepr", "kwargsrepr",
    "origin",
)  # fmt: skip


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
