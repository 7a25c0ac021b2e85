"""Brokers move messages. `connect` picks the implementation that an app's settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerylite.brokers.base import Broker, Consumer, DeadLetter, Delivery, Keeper, Settlement

if TYPE_CHECKING:
    from kombu import Connection

__all__ = ["Broker", "Consumer", "DeadLetter", "Delivery", "Keeper", "Settlement", "connect"]

#: kombu transports whose task plane we run ourselves.
REDIS_TRANSPORTS = frozenset(("redis", "rediss", "sentinel", "redis+socket"))

KNOWN = "Tasks travel over redis://, rediss://, redis+socket://, sentinel:// and, within one process, memory://."


def connect(app: Any, connection: Connection | None = None, worker: str = "") -> Broker:
    """The broker of an app, or of a kombu connection of it; nothing is sent yet.

    Raises `ImproperlyConfigured` for a transport that cannot carry tasks.
    """
    from celerylite.exceptions import ImproperlyConfigured

    try:
        connection = app.connection_for_write() if connection is None else connection
        url = connection.as_uri()
    except KeyError as exc:
        raise ImproperlyConfigured(f"broker_url: {str(exc.args[0])}. {KNOWN}") from exc
    name = (connection.transport_cls or "").lower() if isinstance(connection.transport_cls, str) else ""
    dead_limit = app.conf.worker_dead_letter_limit
    if name in REDIS_TRANSPORTS:
        from celerylite.brokers.redis import RedisBroker

        return RedisBroker(connection, worker=worker, dead_limit=dead_limit)
    if name == "memory":
        from celerylite.brokers.memory import MemoryBroker

        return MemoryBroker(connection, dead_limit=dead_limit)
    raise ImproperlyConfigured(f"broker_url {url!r}: {name or connection.transport_cls!r} cannot carry tasks. {KNOWN}")
