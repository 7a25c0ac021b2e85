"""Where a call goes, under which name this process sends it, and the signals around the sending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celerylite import signals

if TYPE_CHECKING:
    from kombu.entity import Queue

__all__ = (
    "Destination",
    "announce_publish",
    "announce_published",
    "anonymous_name",
    "checked_arguments",
    "forget_process",
    "sent_event",
)


class Destination:
    """Where the messages of one kind of call go, and how they are written; worked out once for plain
    calls."""

    __slots__ = (
        "compression",
        "declare",
        "delivery_mode",
        "exchange",
        "headers",
        "policy",
        "properties",
        "queue",
        "queue_name",
        "retry",
        "routing_key",
        "serializer",
    )

    exchange: Any
    routing_key: str
    queue: Queue | None
    queue_name: str | None
    declare: list[Queue] | None
    delivery_mode: int
    serializer: str
    compression: str | None
    retry: bool
    policy: dict[str, Any]
    headers: Mapping[str, Any] | None
    #: Options that are not known here travel as properties of the message, as in Celery.
    properties: dict[str, Any]


_anonymous: str | None = None


def anonymous_name() -> str:
    """How this process signs its messages: gen<pid>@<host>."""
    global _anonymous
    if _anonymous is None:
        from celerylite.utils.nodenames import anon_nodename  # lazy: it imports socket

        _anonymous = anon_nodename()
    return _anonymous


def forget_process() -> None:
    """A forked child has another name."""
    global _anonymous
    _anonymous = None


def announce_publish(name: str, headers: Any, body: Any, properties: Any, to: Destination) -> None:
    """Signal `before_task_publish`; what receivers change in the dicts is what is sent."""
    if signals.before_task_publish.receivers:
        signals.before_task_publish.send(
            sender=name,
            body=body,
            exchange=to.exchange,
            routing_key=to.routing_key,
            declare=to.declare,
            headers=headers,
            properties=properties,
            retry_policy=to.policy,
        )


def announce_published(name: str, headers: Any, body: Any, to: Destination) -> None:
    """Signal `after_task_publish`."""
    if signals.after_task_publish.receivers:
        signals.after_task_publish.send(
            sender=name, body=body, headers=headers, exchange=to.exchange, routing_key=to.routing_key
        )


def checked_arguments(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of a call; TypeError for what cannot be passed on as arguments."""
    args = args or ()
    kwargs = kwargs or {}
    if type(args) is not tuple and not isinstance(args, list | tuple):
        raise TypeError("task args must be a list or tuple")
    if type(kwargs) is not dict and not isinstance(kwargs, Mapping):
        raise TypeError("task keyword arguments must be a mapping")
    return args, kwargs


def sent_event(headers: dict[str, Any]) -> dict[str, Any]:
    """The fields of the event `task-sent`."""
    return {
        "uuid": headers["id"],
        "root_id": headers["root_id"],
        "parent_id": headers["parent_id"],
        "name": headers["task"],
        "args": headers["argsrepr"],
        "kwargs": headers["kwargsrepr"],
        "retries": headers["retries"],
        "eta": headers["eta"],
        "expires": headers["expires"],
    }
