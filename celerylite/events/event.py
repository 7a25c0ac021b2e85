"""An event is a dict: its type (`task-sent`), when it was, fields of its own. It travels to a topic exchange."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from typing import Any

from kombu.entity import Exchange

__all__ = ("Event", "event_exchange", "get_exchange", "group_from")

EVENT_EXCHANGE_NAME = "celeryev"

#: Where events go on most brokers.
event_exchange = Exchange(EVENT_EXCHANGE_NAME, type="topic")

#: Transports on which they go to a fan-out exchange: kombu has topics there only for queues that wait.
FANOUT_DRIVERS = frozenset(("redis", "gcpubsub"))


def Event(  # noqa: N802 (Celery's name)
    type: str, _fields: dict[str, Any] | None = None, __dict__: Any = dict, __now__: Callable[[], float] = time.time,
    **fields: Any,
) -> dict[str, Any]:  # fmt: skip
    """Make an event of this type; `timestamp` (seconds since the epoch) is now, unless a field says otherwise."""
    event = __dict__(_fields or {}, **fields)
    event.setdefault("timestamp", __now__())
    event["type"] = type
    return event


def group_from(type: str) -> str:
    """The group of a type: `task` for `task-sent`."""
    return type.partition("-")[0]


def get_exchange(conn: Any, name: str = EVENT_EXCHANGE_NAME) -> Exchange:
    """The exchange of events of this name on the broker of a kombu connection."""
    exchange = copy(event_exchange)
    exchange.name = name
    if conn.transport.driver_type in FANOUT_DRIVERS:
        exchange.type = "fanout"
    return exchange
