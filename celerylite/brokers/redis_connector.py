"""Gets a Redis broker's connections: plain sockets where the address is plain, else through kombu and redis-py."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

from celerylite.brokers import as_uri
from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.redis_link import REPLY_TIMEOUT, LinkError, Opened, ReplyError, is_refusal, pack
from celerylite.brokers.redis_socket import CONNECT_TIMEOUT, Address, address_of, database, open_session

if TYPE_CHECKING:
    from kombu.connection import Connection

_LOADS = [pack(b"SCRIPT", b"LOAD", script.source) for script in scripts.ALL]


class Connector:
    """Opens connections to the server that a kombu URL names, the next one of a failover list when one is down."""

    def __init__(self, connection: Connection) -> None:
        options: Any = connection.transport_options
        self.timeout = options.setdefault("socket_timeout", None) or REPLY_TIMEOUT
        options["socket_timeout"] = self.timeout
        options.setdefault("socket_connect_timeout", connection.connect_timeout or CONNECT_TIMEOUT)
        # One try at a time: how often and when to try again is decided by who needs the connection.
        options.update(max_retries=1, interval_start=0, interval_step=0, interval_max=0)
        self._connection = connection
        #: Whether kombu's connection has been used, by us or by the process that we were forked from.
        self._used = self._parents = False
        self._pool: Any = None
        self._lock = threading.Lock()
        #: Of the server of the moment; None where redis-py has to connect.
        self.address: Address | None = address_of(connection)

    def for_child(self) -> Connector:
        """The same for a forked child, which must not touch its parent's connection."""
        child = copy(self)
        child._parents, child._used = self._used or self._parents, False
        child._pool = None
        child._lock = threading.Lock()
        return child

    @property
    def connection(self) -> Connection:
        """kombu's connection; it is closed as long as nobody asks for the channel."""
        if self._parents:
            self._connection = self._connection.clone()
            self._parents = False
        return self._connection

    @property
    def db(self) -> int:
        """The database's number."""
        return self.address.db if self.address is not None else database(self._connection.virtual_host)

    @property
    def username(self) -> str | None:
        """Who we are to the server, where that is not its default user."""
        address = self.address
        return (address.username if address is not None else self._connection.userid) or None

    @property
    def failover(self) -> bool:
        """Whether there are several servers."""
        return len(self._connection.alt or ()) > 1

    @property
    def uri(self) -> str:
        """The server of the moment, with the password masked."""
        return as_uri(self._connection)

    def channel(self) -> Any:
        """A kombu channel, for what is not on the fast path (fan-out, queues that expire)."""
        self._used = True
        return self.connection.default_channel

    def open(self) -> Opened:
        """A fresh connection with the scripts loaded; raises `LinkError`."""
        uri = self.uri
        try:
            if self.address is None:
                return self._open_with_redis_py()
            opened, replies = open_session(self.address, _LOADS)
        except OSError as exc:
            self._next_server(uri)
            raise LinkError(f"cannot connect to {uri}: {exc}") from exc
        for reply in replies:
            # A user who may only send does without scripts; a worker's connection is looked at by `redis_access`.
            if isinstance(reply, ReplyError) and not is_refusal(reply):
                opened[1]()
                self._next_server(uri)
                raise LinkError(f"cannot load scripts into {uri}: {reply}")
        return opened

    def _open_with_redis_py(self) -> Opened:
        from kombu.exceptions import OperationalError
        from redis.exceptions import NoPermissionError, RedisError  # lazy: see `redis_socket`

        try:
            with self._lock:
                pool = self._pool = self._pool or self.channel().pool
            connection = pool.connection_class(**_resp2(pool.connection_kwargs))
            connection.connect()
            for script in scripts.ALL:
                connection.send_command("SCRIPT", "LOAD", script.source)
            for _ in scripts.ALL:
                try:
                    connection.read_response()
                except NoPermissionError:
                    pass  # as above
        except (RedisError, OperationalError, *self.connection.connection_errors) as exc:
            raise LinkError(str(exc)) from exc
        return connection._sock, connection.disconnect  # redis-py has no public name for the socket

    def _next_server(self, failed: str) -> None:
        """Look elsewhere, unless another thread has done so already."""
        with self._lock:
            if self.uri != failed:
                return
            self._pool = None
            if self._used:
                self.connection.collect()
            if self.failover:
                for _ in range(20):  # chance (`shuffle`) may name the same one again
                    self.connection.maybe_switch_next()
                    if self.uri != failed:
                        break
                self.address = address_of(self._connection)

    @contextmanager
    def kombu_errors(self) -> Iterator[None]:
        """Turns what kombu raises for a broken connection into `LinkError`, and starts it anew."""
        from kombu.exceptions import OperationalError

        connection = self.connection
        try:
            yield
        except (OperationalError, *connection.connection_errors, *connection.channel_errors) as exc:
            connection.collect()
            raise LinkError(str(exc)) from exc

    def close(self) -> None:
        """Let go of kombu's connection; the links close themselves."""
        if self._used:
            self.connection.close()


def _resp2(options: dict[str, Any]) -> dict[str, Any]:
    """Options for a connection that speaks RESP 2: half the work for the reader, and what the oldest servers know."""
    return {**{name: value for name, value in options.items() if not name.startswith("maint_")}, "protocol": 2}
