"""What declaring a queue means on brokers of which kombu keeps the routing table itself."""

from __future__ import annotations

from typing import Any


def is_plain(queue: Any) -> bool:
    """Whether all that declaring this queue means is to note a binding to a direct exchange."""
    exchange = queue.exchange
    if queue.bindings or queue.on_declared is not None or queue.auto_delete or queue.exclusive:
        return False
    if queue.expires is not None or "x-expires" in (queue.queue_arguments or {}):
        return False
    return not exchange or (exchange.type == "direct" and not exchange.passive)
