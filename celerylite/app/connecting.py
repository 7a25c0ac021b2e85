"""Connections of an app: its broker, its result backend, and kombu's connections and pools. A part of
`Celery`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celerylite.transports import for_kombu

if TYPE_CHECKING:
    from celerylite.brokers.base import Broker


class Connecting:
    """The part of `Celery` that opens and closes connections."""

    _broker: Broker | None = None
    _backend_shared: Any = None
    _pool: Any = None
    backend_cls: Any = None

    # -- the task plane

    @property
    def broker(self: Any) -> Broker:
        """Where calls are sent to and taken from; one for the process."""
        if self._broker is None:
            from celerylite import brokers  # lazy: kombu and redis are imported when the first call is sent

            with self._connect_lock:
                if self._broker is None:
                    self._broker = brokers.connect(self)
        return self._broker

    @broker.setter
    def broker(self: Any, broker: Any) -> None:
        self._broker = broker

    @property
    def backend(self: Any) -> Any:
        """Where results are stored."""
        if self._backend_shared is None:
            with self._connect_lock:
                if self._backend_shared is None:
                    self._backend_shared = self._get_backend()
        return self._backend_shared

    @backend.setter
    def backend(self: Any, backend: Any) -> None:
        self._backend_shared = backend

    def _get_backend(self: Any) -> Any:
        from celerylite import backends  # lazy, as above
        from celerylite.brokers import addresses

        wanted = self.backend_cls or self.conf.result_backend
        if wanted is None and self.without_broker:
            wanted = _default_url()
        if isinstance(wanted, str) and "://" in wanted:
            addresses.check(wanted, "result_backend")
        cls, url = backends.by_url(wanted, self.loader)
        return cls(app=self, url=url)

    @property
    def without_broker(self: Any) -> bool:
        """Whether no broker is configured anywhere, so that broker and results are the embedded SQLite file."""
        conf = self.conf
        return not (conf.broker_url or conf.broker_read_url or conf.broker_write_url or conf.broker_transport)

    # -- kombu's connections

    def connection_for_read(self: Any, url: str | None = None, **kwargs: Any) -> Any:
        """A kombu connection for consuming."""
        return self._connection(url or self.conf.broker_read_url, **kwargs)

    def connection_for_write(self: Any, url: str | None = None, **kwargs: Any) -> Any:
        """A kombu connection for publishing."""
        return self._connection(url or self.conf.broker_write_url, **kwargs)

    def connection(
        self: Any,
        hostname: str | None = None,
        userid: str | None = None,
        password: str | None = None,
        virtual_host: str | None = None,
        port: int | None = None,
        ssl: Any = None,
        connect_timeout: float | None = None,
        transport: str | None = None,
        transport_options: dict[str, Any] | None = None,
        heartbeat: float | None = None,
        login_method: str | None = None,
        failover_strategy: Any = None,
        **kwargs: Any,
    ) -> Any:
        """A kombu connection to the broker, with the app's settings as defaults; it opens when first used."""
        return self._connection(
            hostname or self.conf.broker_write_url,
            userid=userid,
            password=password,
            virtual_host=virtual_host,
            port=port,
            ssl=ssl,
            connect_timeout=connect_timeout,
            transport=transport,
            transport_options=transport_options,
            heartbeat=heartbeat,
            login_method=login_method,
            failover_strategy=failover_strategy,
            **kwargs,
        )

    broker_connection = connection

    def _connection(
        self: Any,
        url: Any,
        userid: str | None = None,
        password: str | None = None,
        virtual_host: str | None = None,
        port: int | None = None,
        ssl: Any = None,
        connect_timeout: float | None = None,
        transport: str | None = None,
        transport_options: dict[str, Any] | None = None,
        heartbeat: float | None = None,
        login_method: str | None = None,
        failover_strategy: Any = None,
        **kwargs: Any,
    ) -> Any:
        conf = self.conf
        if url is None and transport is None and self.without_broker:
            url = _default_url()
        parts = {
            "hostname": url,
            "userid": userid or conf.broker_user,
            "password": password or conf.broker_password,
            "virtual_host": virtual_host or conf.broker_vhost,
            "port": port or conf.broker_port,
            "transport": transport or conf.broker_transport,
        }
        return self.amqp.Connection(
            **_parsed(parts, kwargs),
            ssl=self.either("broker_use_ssl", ssl),
            heartbeat=heartbeat or conf.broker_heartbeat,
            login_method=login_method or conf.broker_login_method,
            failover_strategy=failover_strategy or conf.broker_failover_strategy,
            transport_options=dict(conf.broker_transport_options or {}, **(transport_options or {})),
            connect_timeout=self.either("broker_connection_timeout", connect_timeout),
        )

    @property
    def pool(self: Any) -> Any:
        """kombu's pool of connections to the broker."""
        if self._pool is None or self._pool._closed:  # by another app of the same URL, which shared it
            from kombu import pools  # lazy, as above

            limit = self.conf.broker_pool_limit
            pools.set_limit(limit)
            self._pool = pools.connections[self.connection_for_write()]
        return self._pool

    @property
    def producer_pool(self: Any) -> Any:
        """kombu's pool of producers."""
        return self.amqp.producer_pool

    @contextmanager
    def connection_or_acquire(
        self: Any, connection: Any = None, pool: bool = True, *_: Any, **__: Any
    ) -> Iterator[Any]:
        """The connection given, or one from the pool (or a new one, without `pool`) that is given back
        afterwards."""
        if connection is not None:
            yield connection
            return
        with self.pool.acquire(block=True) if pool else self.connection_for_write() as acquired:
            yield acquired

    default_connection = connection_or_acquire

    @contextmanager
    def producer_or_acquire(self: Any, producer: Any = None) -> Iterator[Any]:
        """The producer given, or one from the pool that is given back afterwards."""
        if producer is not None:
            yield producer
            return
        with self.producer_pool.acquire(
            block=True, timeout=self.conf.broker_pool_acquire_timeout
        ) as acquired:
            yield acquired

    default_producer = producer_or_acquire

    # -- the end

    def _disconnect(self: Any) -> None:
        """Close what is open; it opens again when it is used again."""
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.close()
        if self._backend_shared is not None and hasattr(self._backend_shared, "stop_reading"):
            self._backend_shared.stop_reading()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.force_close_all()
            _drop_closed_pools()

    def _after_fork(self: Any) -> None:
        """In a forked child: drop the parent's connections without touching them."""
        self._connect_lock = threading.RLock()
        self._broker = self._pool = None
        _forget_pools()
        self._oids = threading.local()
        self.__dict__.pop("oid", None)
        backend = self._backend_shared
        if backend is not None and hasattr(backend, "on_after_fork"):
            backend.on_after_fork()
        else:
            self._backend_shared = None
        if self.on_after_fork.receivers:
            self.on_after_fork.send(sender=self)


#: Connections of the parent process, kept so that nobody closes them: some would tell the server good-bye.
_of_the_parent: list[Any] = []


def _forget_pools() -> None:
    """In a forked child: kombu's pools, which belong to the process, open connections of their own."""
    pools = sys.modules.get("kombu.pools")
    if pools is not None:
        for group in (pools.connections, pools.producers):
            _of_the_parent.append(dict(group))
            group.clear()


def _drop_closed_pools() -> None:
    """kombu keeps its pools by URL: whoever connects to the same one again shall not be given a closed one."""
    pools = sys.modules["kombu.pools"]
    for group in (pools.connections, pools.producers):
        for key, pool in list(group.items()):
            if pool._closed or getattr(pool, "connections", pool)._closed:
                dict.pop(group, key)


def _default_url() -> str:
    from celerylite.brokers.sqlite_address import DEFAULT_URL  # lazy, as above

    return DEFAULT_URL


def _parsed(parts: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """The arguments for kombu's `Connection`, with a plain redis:// URL taken apart.

    The connection is the same one. But kombu imports the transport to take a URL apart, and redis-py and asyncio
    (10 MB, 0.1 s) with it, which those that only send tasks, and the task processes, never need.
    """
    url = parts["hostname"] = for_kombu(parts["hostname"])
    urls = list(url) if isinstance(url, list | tuple) else url.split(";") if isinstance(url, str) else [""]
    first = urls[0] if urls else ""
    if not isinstance(first, str) or not first.startswith("redis://") or "?" in first or parts["transport"]:
        return {**parts, **others}
    from kombu.utils.url import parse_url  # lazy, as above

    found = parse_url(first)
    for name, value in found.items():
        if value is not None:
            parts[name] = value
    parts["hostname"] = found["hostname"]
    if len(urls) > 1 or not isinstance(url, str):
        others = {**others, "alternates": urls + list(others.get("alternates") or ())}
    return {**parts, **others}
