"""Brokers move messages. `connect` picks the implementation that an app's settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerylite.brokers import addresses
from celerylite.brokers.base import Broker, Consumer, Keeper
from celerylite.brokers.values import DeadLetter, Delivery, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.connection import Connection
    from kombu.entity import Queue

__all__ = [
    "Broker", "Consumer", "DeadLetter", "Delivery", "Keeper", "Settlement", "as_uri", "connect", "connect_worker",
]  # fmt: skip

#: kombu transports whose task plane we run ourselves.
REDIS_TRANSPORTS = frozenset(("redis", "rediss", "sentinel", "redis+socket"))

#: The names under which kombu knows our transport on a Redis Cluster.
CLUSTER_TRANSPORTS = frozenset(("rediscluster", "redisscluster"))

#: What to install for the transports of kombu that need more than kombu itself.
DRIVERS = {
    "azureservicebus": "azureservicebus",
    "azurestoragequeues": "azurestoragequeues",
    "confluentkafka": "confluentkafka",
    "consul": "consul",
    "gcpubsub": "gcpubsub",
    "kafka": "confluentkafka",
    "librabbitmq": "librabbitmq",
    "mongodb": "mongodb",
    "pgmq": "pgmq",
    "pyro": "pyro",
    "qpid": "qpid",
    "slmq": "slmq",
    "sqla": "sqlalchemy",
    "sqlalchemy": "sqlalchemy",
    "sqs": "sqs",
    "zookeeper": "zookeeper",
}

#: The same for those that kombu has no extra for.
PACKAGES = {"etcd": "python-etcd"}


def connect(
    app: Any,
    connection: Connection | None = None,
    worker: str = "",
    find_queue: Callable[[str], Queue] | None = None,
) -> Broker:
    """The broker of an app, or of a kombu connection of it; nothing is sent yet.

    `find_queue` gives the queue of a name, where that is not one of the app's (`app.amqp.queues`).
    Raises `ImproperlyConfigured` for a transport that cannot carry tasks.
    """
    broker = _connect(app, connection, worker, find_queue or (lambda name: app.amqp.queues[name]))
    broker.known_queues = lambda: app.amqp.queues.values()
    return broker


def _connect(app: Any, connection: Connection | None, worker: str, find_queue: Callable[[str], Queue]) -> Broker:
    from celerylite.exceptions import ImproperlyConfigured

    if connection is None:
        for url in (app.conf.broker_write_url, app.conf.broker_read_url):
            addresses.check(url, "broker_url", app.conf.broker_transport)
    try:
        connection = app.connection_for_write() if connection is None else connection
    except KeyError as exc:
        raise ImproperlyConfigured(f"broker_url: {str(exc.args[0])}.") from exc
    except (ImportError, NameError) as exc:  # some transports of kombu stumble over what they lack
        raise ImproperlyConfigured(_no_driver(str(app.conf.broker_write_url).partition(":")[0], exc)) from exc
    name = (connection.transport_cls or "").lower() if isinstance(connection.transport_cls, str) else ""
    dead_limit = app.conf.worker_dead_letter_limit
    if name in REDIS_TRANSPORTS:
        from celerylite.brokers.redis import RedisBroker

        return RedisBroker(connection, worker=worker, dead_limit=dead_limit)
    if name in CLUSTER_TRANSPORTS:
        from celerylite.brokers.redis_cluster_broker import ClusterBroker

        return ClusterBroker(connection, worker=worker, dead_limit=dead_limit)
    if name == "memory":
        from celerylite.brokers.memory import MemoryBroker

        return MemoryBroker(connection, dead_limit=dead_limit)
    if name == "sqlite":
        from celerylite.brokers.sqlite import SqliteBroker

        return SqliteBroker(connection, worker=worker, dead_limit=dead_limit)
    if name == "":
        transport = repr(connection.transport_cls)
        raise ImproperlyConfigured(f"broker_url {connection.as_uri()!r}: {transport} cannot carry tasks.")
    return _by_kombu(app, connection, name, worker, find_queue)


def _by_kombu(
    app: Any, connection: Connection, name: str, worker: str, find_queue: Callable[[str], Queue]
) -> Broker:
    """The broker for any other transport of kombu; raises `ImproperlyConfigured` where its driver is missing."""
    from celerylite.brokers.kombu import KombuBroker
    from celerylite.exceptions import ImproperlyConfigured

    conf = app.conf
    try:
        return KombuBroker(
            connection,
            find_queue,
            worker=worker,
            dead_limit=conf.worker_dead_letter_limit,
            delay_queue_type=conf.broker_native_delayed_delivery_queue_type,
            eta_limit=conf.worker_eta_task_limit,
        )
    except KeyError as exc:
        raise ImproperlyConfigured(f"broker_url: {str(exc.args[0])}.") from exc
    except (ImportError, NameError) as exc:
        raise ImproperlyConfigured(_no_driver(name, exc)) from exc


def _no_driver(name: str, exc: ImportError | NameError) -> str:
    scheme = name.partition("+")[0].lower()
    extra = DRIVERS.get(scheme)
    advice = f'pip install "kombu[{extra}]"' if extra else f"pip install {PACKAGES.get(scheme) or exc.name or name}"
    return f"The broker {name}:// needs a driver that is not installed ({exc}): {advice}"


def connect_worker(app: Any, worker: str) -> Broker:
    """What the worker of this name reads from (`broker_read_url`); what it sends itself goes to `broker_write_url`."""
    broker = connect(app, app.connection_for_read(), worker)
    if app.conf.broker_read_url != app.conf.broker_write_url:
        broker.outlet = app.broker
    broker.subscribe(app.amqp.queues.consume_from.values())
    return broker


def as_uri(connection: Connection) -> str:
    """A connection's URL with the password masked, as its own `as_uri` says; that one imports kombu's transport."""
    if connection.transport_cls != "redis" or connection._transport is not None:
        return connection.as_uri()
    from urllib.parse import quote

    from kombu.utils.url import as_url, maybe_sanitize_url

    host = connection.hostname or "localhost"
    if connection.uri_prefix:
        return maybe_sanitize_url(f"{connection.uri_prefix}+{host}")
    path = quote(connection.virtual_host or "/")
    user: Any = connection.userid
    return as_url("redis", host, connection.port or 6379, user, "**", path, sanitize=True)
