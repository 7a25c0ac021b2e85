"""A plain session with Redis: a socket and the words that open it, with the standard library alone.

redis-py, which kombu's transport brings with it, imports asyncio: 10 MB and 0.1 s in every process that only sends, and
in every task process. It is still there for what this file does not know: TLS, sentinels, credential providers.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from celerylite.brokers.redis_link import RECEIVE, REPLY_TIMEOUT, LinkError, Reader, ReplyError, pack

if TYPE_CHECKING:
    from kombu.connection import Connection

    from celerylite.brokers.redis_link import Opened

PORT = 6379
CONNECT_TIMEOUT = 4.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how to speak to it."""

    host: str = "127.0.0.1"
    port: int = PORT
    #: Of a Unix socket; then host and port mean nothing.
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    client_name: str | None = None
    connect_timeout: float | None = CONNECT_TIMEOUT
    timeout: float = REPLY_TIMEOUT
    keepalive: bool = False
    keepalive_options: Mapping[int, int] = field(default_factory=dict)


def open_session(address: Address, commands: Iterable[bytes] = ()) -> tuple[Opened, list[Any]]:
    """A connection and the replies to the first packed commands, which travel with the greeting in one write.

    Raises `OSError` (`LinkError` is one) when the server cannot be reached or does not let us in.
    """
    sock = _connected(address)
    try:
        if not address.path:
            _tune(sock, address)
        sock.settimeout(address.timeout)
        replies = _greet(sock, address, tuple(commands))
    except BaseException:
        sock.close()
        raise
    return (sock, _closer(sock)), replies


def _connected(address: Address) -> socket.socket:
    if not address.path:
        return socket.create_connection((_name(address.host), address.port), address.connect_timeout)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(address.connect_timeout)
        sock.connect(address.path)
    except BaseException:
        sock.close()
        raise
    return sock


def _name(host: str) -> Any:
    # For text Python imports its tables of international names, 0.6 MB; bytes it takes as they are.
    return host.encode("ascii") if host.isascii() else host


def _tune(sock: socket.socket, address: Address) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.keepalive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in address.keepalive_options.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _greet(sock: socket.socket, address: Address, commands: tuple[bytes, ...]) -> list[Any]:
    greeting = _greeting(address)
    replies = _talk(sock, (*greeting, *commands))
    for reply in replies[: len(greeting)]:
        if isinstance(reply, ReplyError):
            if address.username and address.password and "wrong number of arguments" in str(reply):
                # Servers before 6.0 know no user names, only the password.
                return _greet(sock, replace(address, username=None), commands)
            raise LinkError(str(reply))
    return replies[len(greeting) :]


def _greeting(address: Address) -> list[bytes]:
    words = []
    if address.username:
        words.append(pack(b"AUTH", address.username.encode(), (address.password or "").encode()))
    elif address.password:
        words.append(pack(b"AUTH", address.password.encode()))
    if address.client_name:
        words.append(pack(b"CLIENT", b"SETNAME", address.client_name.encode()))
    if address.db:
        words.append(pack(b"SELECT", b"%d" % address.db))
    return words


def _talk(sock: socket.socket, commands: tuple[bytes, ...]) -> list[Any]:
    """Send all, wait for all replies."""
    reader = Reader()
    replies: list[Any] = []
    sock.sendall(b"".join(commands))
    while len(replies) < len(commands):
        data = sock.recv(RECEIVE)
        if not data:
            raise LinkError("Redis closed the connection")
        reader.feed(data)
        replies += reader.replies()
    return replies


def _closer(sock: socket.socket) -> Callable[[], None]:
    owner = os.getpid()

    def close() -> None:
        if os.getpid() == owner:  # in a forked child the session is the parent's
            try:
                sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for it
            except OSError:
                pass
        sock.close()

    return close


def address_of(connection: Connection) -> Address | None:
    """The address in a kombu connection; None where it takes redis-py to get there."""
    if connection.transport_cls != "redis" or connection.ssl or connection.credential_provider:
        return None
    options: Any = connection.transport_options
    common: dict[str, Any] = {
        "client_name": options.get("client_name"),
        "timeout": options.get("socket_timeout") or REPLY_TIMEOUT,
        "connect_timeout": options.get("socket_connect_timeout", CONNECT_TIMEOUT),
    }
    host = connection.hostname or "127.0.0.1"
    if "://" in host:
        return _unix_address(host, common)
    if callable(connection.password):
        return None
    return Address(
        host=host,
        port=int(connection.port or PORT),
        db=database(connection.virtual_host),
        username=connection.userid,
        password=connection.password,
        keepalive=bool(options.get("socket_keepalive")),
        keepalive_options=options.get("socket_keepalive_options") or {},
        **common,
    )


def _unix_address(url: str, common: dict[str, Any]) -> Address | None:
    from kombu.utils.url import url_to_parts

    parts = url_to_parts(url)
    if parts.scheme != "socket" or parts.query.keys() - {"virtual_host"}:
        return None
    db = database(parts.query.get("virtual_host"))
    return Address(path="/" + (parts.path or ""), db=db, username=parts.username, password=parts.password, **common)


def database(value: Any) -> int:
    """The number in a URL's path."""
    try:
        return int(str(value).strip("/") or 0) if value else 0
    except ValueError:
        raise ValueError(f"The database in a Redis URL is a number, not {value!r}") from None
