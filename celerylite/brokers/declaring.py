"""What the declaration of a queue says."""

from __future__ import annotations

from typing import Any


def arguments_of(queue: Any) -> dict[str, Any]:
    """The arguments with which a queue is declared."""
    return queue.queue_arguments or {}


def is_plain(queue: Any) -> bool:
    """Where kombu keeps the routing table: whether all that declaring means is to note a binding to a direct exchange.
    """
    exchange = queue.exchange
    if queue.bindings or queue.on_declared is not None or queue.auto_delete or queue.exclusive:
        return False
    if queue.expires is not None or "x-expires" in arguments_of(queue):
        return False
    return not exchange or (exchange.type == "direct" and not exchange.passive)
