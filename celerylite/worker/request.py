"""A request: a message received, read and checked, on its way to being executed.

`Request.from_message` reads protocol 2 and 1. Nothing here talks to the broker; the task process decides what
becomes of it.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celerylite import message as _message
from celerylite.context import Context
from celerylite.exceptions import InvalidTaskError
from celerylite.utils.objects import cached_property
from celerylite.utils.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Collection

    from celerylite.brokers import Delivery
    from celerylite.execution import Plan
    from celerylite.message import Message

#: Headers that Celery itself writes; what else a message carries are the caller's own (`task.request.headers`).
OWN_HEADERS = frozenset((
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
    "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
    "stamps", "compression", "redelivered", "x-delivery-count", "x-celerylite-deaths", "x-rate-limited", "meth",
    "timestamps",
))  # fmt: skip

NO_LIMITS: Any = [None, None]


class Request:
    """One message received. Subclass it for `Task.Request` to hear of time limits and failures.

    Documented in Celery's user guide, "Tasks", under "Requests and custom requests".
    """

    #: When (`time.time`) it started, where that is known: in the requests that the control process reads.
    time_start: float | None = None

    def __init__(
        self,
        delivery: Delivery | None,
        message: Message,
        headers: dict[str, Any],
        payload: tuple[Any, Any, dict[str, Any]],
        hostname: str | None = None,
    ) -> None:
        self.time_limit: float | None
        self.soft_time_limit: float | None
        self.delivery = delivery
        self.message = message
        self.headers = headers
        self.args, self.kwargs, self.embed = payload
        self.hostname = hostname
        self.id: str = headers["id"]
        self.name: str = headers["task"]
        eta, expires, limits = headers.get("eta"), headers.get("expires"), headers.get("timelimit")
        self.eta = None if eta is None else moment(eta, "eta")
        self.expires = None if expires is None else moment(expires, "expires")
        self.time_limit, self.soft_time_limit = _limits(limits) if limits != NO_LIMITS else NO_LIMITS
        self.acknowledged = False
        #: Whether it ran into a hard limit that could not stop it.
        self.given_up = False
        self.plan: Plan | None = None

    @classmethod
    def from_message(
        cls,
        delivery: Delivery | None,
        message: Message,
        accept: Collection[str] | None = None,
        hostname: str | None = None,
    ) -> Request:
        """Read a message.

        Raises `InvalidTaskError` for one that lacks what a task needs, kombu's `DecodeError` and `ContentDisallowed`
        for a body that cannot be read.
        """
        headers = message.headers
        payload = _message.loads(
            message.body, message.content_type, message.content_encoding, accept, headers.get("compression"),
            leave_steps=True,
        )  # fmt: skip
        if "task" in headers:
            payload = _checked(payload)
        else:
            headers, payload = _from_protocol_1(payload, headers)
        if not isinstance(headers.get("id"), str) or not isinstance(headers["task"], str):
            raise InvalidTaskError("the message has no task id or no task name")
        return cls(delivery, message, headers, payload, hostname)

    @property
    def task(self) -> Any:
        """The task, once it was found."""
        return self.plan.task if self.plan is not None else None

    @property
    def task_name(self) -> str:
        """The task's name (`name`)."""
        return self.name

    @property
    def task_id(self) -> str:
        """The task's id (`id`)."""
        return self.id

    def log_extra(self, action: str) -> dict[str, Any]:
        """What a log line about this request carries beside its sentence."""
        return {"action": action, "data": {"id": self.id, "name": self.headers.get("shadow") or self.name}}

    @cached_property
    def delivery_info(self) -> dict[str, Any]:
        """How the message came: exchange, routing key, priority, whether it was delivered before."""
        properties = self.message.properties
        info = properties.get("delivery_info") or {}
        return {
            "exchange": info.get("exchange"),
            "routing_key": info.get("routing_key"),
            "priority": properties.get("priority"),
            "redelivered": bool(info.get("redelivered") or self.headers.get("redelivered")),
        }

    @property
    def redelivered(self) -> bool:
        """Whether a worker had this message before."""
        return self.delivery_info["redelivered"]

    def expired(self, now: float | None = None) -> bool:
        """Whether the message is past its `expires`."""
        return self.expires is not None and (time.time() if now is None else now) >= self.expires

    def context(self) -> Context:
        """What the task sees as `self.request`: every header, and what is known of the delivery."""
        headers, get, properties = self.headers, self.embed.get, self.message.properties
        chain = get("chain")
        context = Context.__new__(Context)
        # One dict in one go: what a task sees is made for every task.
        context.__dict__ = {
            **headers,
            "args": self.args,
            "kwargs": self.kwargs,
            "callbacks": get("callbacks"),
            "errbacks": get("errbacks"),
            "_steps" if type(chain) is Steps else "chain": chain,
            "chord": get("chord"),
            "headers": None if headers.keys() <= OWN_HEADERS else {k: headers[k] for k in headers.keys() - OWN_HEADERS},
            "delivery_info": self.delivery_info,
            "properties": properties,
            "reply_to": properties.get("reply_to"),
            "correlation_id": properties.get("correlation_id"),
            "hostname": self.hostname,
            "is_eager": False,
            "called_directly": False,
            "time_limit": self.time_limit,
            "soft_time_limit": self.soft_time_limit,
            "_protected": 1,
        }
        return context

    # -- for subclasses

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Called when the soft or hard time limit (seconds) has passed."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """Called when the task has failed or its process was lost."""

    def info(self, safe: bool = False) -> dict[str, Any]:
        """What `inspect` tells of a request."""
        return {
            "id": self.id,
            "name": self.name,
            "args": self.headers.get("argsrepr") if safe else self.args,
            "kwargs": self.headers.get("kwargsrepr") if safe else self.kwargs,
            "type": self.name,
            "hostname": self.hostname,
            "time_start": self.time_start,
            "acknowledged": self.acknowledged,
            "delivery_info": self.delivery_info,
            "worker_pid": None,
        }

    def __str__(self) -> str:
        return f"{self.name}[{self.id}]"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self} {self.headers.get('argsrepr')} {self.headers.get('kwargsrepr')}>"


def _checked(payload: Any) -> tuple[Any, Any, dict[str, Any]]:
    try:
        args, kwargs, embed = payload
    except (TypeError, ValueError):
        raise InvalidTaskError("the body is not [args, kwargs, options]") from None
    if not isinstance(args, list | tuple):
        raise InvalidTaskError("the task's args are not a list")
    if not isinstance(kwargs, dict):
        raise InvalidTaskError("Task keyword arguments must be a mapping")
    return args, kwargs, embed if isinstance(embed, dict) else {}


def _from_protocol_1(body: Any, headers: dict[str, Any]) -> tuple[dict[str, Any], tuple[Any, Any, dict[str, Any]]]:
    """Celery 3's messages: everything stands in the body."""
    if not isinstance(body, dict) or "task" not in body or "id" not in body:
        raise InvalidTaskError("neither the headers nor the body name a task")
    headers = {
        **headers,
        "lang": "py",
        "task": body["task"],
        "id": body["id"],
        "eta": body.get("eta"),
        "expires": body.get("expires"),
        "retries": body.get("retries") or 0,
        "timelimit": body.get("timelimit") or [None, None],
        "group": body.get("taskset"),
        "root_id": body.get("root_id"),
        "parent_id": body.get("parent_id"),
        "shadow": None,
        "argsrepr": None,
        "kwargsrepr": None,
        "origin": None,
    }
    embed = {
        "callbacks": body.get("callbacks"),
        "errbacks": body.get("errbacks"),
        "chord": body.get("chord"),
        "chain": None,
    }
    return headers, _checked((body.get("args") or [], body.get("kwargs") or {}, embed))


def _limits(value: Any) -> tuple[float | None, float | None]:
    """The `timelimit` header: hard and soft limit in seconds."""
    if value is None:
        return None, None
    if isinstance(value, list | tuple) and len(value) == 2:
        hard, soft = value
        if _is_limit(hard) and _is_limit(soft):
            return hard or None, soft or None
    raise InvalidTaskError(f"invalid timelimit {value!r}: two numbers of seconds are wanted")


def _is_limit(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def moment(value: Any, name: str) -> float:
    """Seconds since the epoch for an ISO date, a number or a datetime; dates without a zone are UTC."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as exc:
        raise InvalidTaskError(f"invalid {name} value {value!r}: {exc}") from exc
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return when.timestamp()
