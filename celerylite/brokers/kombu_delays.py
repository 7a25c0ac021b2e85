"""Messages that wait in RabbitMQ until they are due, by the scheme of Celery's native delayed delivery.

28 exchanges and queues, `celery_delayed_27` to `celery_delayed_0`, of which the nth holds a message 2**n seconds or
lets it pass, by the binary digits of its delay, which stand before the routing key. What has passed them all comes to
the exchange `celery_delayed_delivery`, to which the task queues are bound. The names and arguments are Celery's, so
that its clients and workers use the same ones.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu.entity import Queue

    from celerylite.brokers.kombu_port import Port

logger = logging.getLogger("celery.brokers.kombu")

BITS = 28
ENTRANCE = "celery_delayed_27"
EXIT = "celery_delayed_delivery"
#: Longest delay in seconds, eight years and a half; what has longer to wait goes round again.
LONGEST = 2**BITS - 1
#: In front of the routing key: any digits, exactly as many as there are. Celery binds with `#`, which takes `a.b` for
#: `b` too; a queue that is bound in both ways gets a message once.
_ANY = "*." * BITS


class Delays:
    """Whether the server has the exchanges, and the way through them."""

    def __init__(self, queue_type: str) -> None:
        self.queue_type = queue_type
        self._there = False
        #: By their `id`.
        self._bound: dict[int, Queue] = {}

    def forget(self) -> None:
        """Look again before the next use."""
        self._there = False
        self._bound = {}

    def prepare(self, port: Port, queue: Queue | None, *, again: bool = False) -> None:
        """Make the exchanges, unless they are there, and let delayed messages for `queue` come to it."""
        if not self._there or again:
            if not _exists(port):
                self._declare(port)
            self._there = True
        if queue is not None and (again or id(queue) not in self._bound):
            for key in _keys(queue):
                port.channel.queue_bind(queue.name, EXIT, _ANY + key)
            self._bound[id(queue)] = queue

    def _declare(self, port: Port) -> None:
        from kombu.transport.native_delayed_delivery import declare_native_delayed_delivery_exchanges_and_queues

        channel = port.connection.channel()
        only: Any = _Only(channel)
        try:
            declare_native_delayed_delivery_exchanges_and_queues(only, self.queue_type)
            channel.close()
        except port.connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) != 406:
                raise
            logger.warning(
                "The queues of delayed messages exist with other arguments (broker_native_delayed_delivery_queue_type "
                "is %r) and are used as they are: %s", self.queue_type, exc, extra={"action": "declare_mismatch"},
            )  # fmt: skip

    def route(self, exchange: str, routing_key: str, due: float) -> tuple[str, str]:
        """Exchange and routing key for a message that is due then; the last part of a second is up to the worker."""
        seconds = min(int(due - time.time()), LONGEST)
        if seconds < 1:
            return exchange, routing_key
        return ENTRANCE, f"{'.'.join(f'{seconds:0{BITS}b}')}.{routing_key}"


def _exists(port: Port) -> bool:
    """Whether somebody has made them; the way out is made last."""
    channel = port.connection.channel()
    try:
        channel.exchange_declare(EXIT, "topic", passive=True)
    except port.connection.channel_errors as exc:
        if getattr(exc, "reply_code", None) != 404:
            raise
        return False
    channel.close()
    return True


def original_key(exchange: str, routing_key: str) -> str | None:
    """The routing key that a delayed message had before it was delayed; None for one that was not."""
    return routing_key[2 * BITS :] if exchange == EXIT else None


def _keys(queue: Queue) -> list[str]:
    """The routing keys under which messages for this queue are sent; those straight to it carry its name."""
    exchange = queue.exchange
    keys = {queue.name: None}
    if exchange and exchange.name and exchange.type in ("direct", "topic") and queue.routing_key:
        keys[queue.routing_key] = None
    for entry in queue.bindings or ():
        if entry.exchange.type in ("direct", "topic") and entry.routing_key:
            keys[entry.routing_key] = None
    return list(keys)


class _Only:
    """A connection that has this one channel."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def channel(self) -> Any:
        return self._channel
