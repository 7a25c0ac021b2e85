"""Where a Redis Cluster is, as its URL says it. Knows nothing of slots.

    redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][/]        rediss+cluster://…?ssl_ca_certs=/etc/ca.pem

Some nodes are enough: they name the others. Options of TLS are those of redis-py (`ssl_…`), also in `broker_use_ssl`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from celerylite.brokers.redis_link import REPLY_TIMEOUT
from celerylite.brokers.redis_socket import CONNECT_TIMEOUT, PORT
from celerylite.exceptions import ImproperlyConfigured

#: Host and port.
Node = tuple[str, int]

_TLS = ("rediss+cluster", "redisscluster")
_CERT_REQS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Some nodes, and how to speak to all of them."""

    nodes: tuple[Node, ...]
    username: str | None = None
    password: str | None = None
    #: redis-py's options for TLS; None without.
    tls: Mapping[str, Any] | None = None
    client_name: str | None = None
    timeout: float = REPLY_TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT
    keepalive: bool = False
    keepalive_options: Mapping[int, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The URL with the password masked."""
        who = f"{self.username or ''}:**@" if self.password else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        return f"{'redis' if self.tls is None else 'rediss'}+cluster://{who}{hosts}/"


def parse(
    url: str,
    tls: Any = None,
    options: Mapping[str, Any] | None = None,
    username: str | None = None,
    password: str | None = None,
) -> ClusterAddress:
    """The address in a URL (or several, with `;` between them), with `options` of the transport.

    `tls` is True or redis-py's options; `username` and `password` count where the URL has none. Raises
    `ImproperlyConfigured` for what cannot be.
    """
    options = options or {}
    nodes: list[Node] = []
    secure: dict[str, Any] | None = dict(tls) if isinstance(tls, Mapping) else {} if tls else None
    for one in url.split(";"):
        scheme, _, rest = one.partition("://")
        rest, _, query = rest.partition("?")
        hosts, _, path = rest.partition("/")
        _check_path(one, path)
        who, _, hosts = hosts.rpartition("@")
        if who:
            username, _, password = (unquote(part) for part in who.partition(":"))
        nodes += [_node(host, url) for host in hosts.split(",") if host]
        if scheme in _TLS:
            secure = {**(secure or {}), **_tls_options(query)}
    return ClusterAddress(
        tuple(dict.fromkeys(nodes)) or (("127.0.0.1", PORT),), username or None, password or None,
        _checked(secure), options.get("client_name"),
        options.get("socket_timeout") or REPLY_TIMEOUT, options.get("socket_connect_timeout") or CONNECT_TIMEOUT,
        bool(options.get("socket_keepalive")), options.get("socket_keepalive_options") or {},
    )  # fmt: skip


def _check_path(url: str, path: str) -> None:
    if path.strip("/") not in ("", "0"):
        raise ImproperlyConfigured(
            f"{_shown(url)!r} names a database, but a Redis Cluster has only one: end the URL with a plain /, and keep "
            "projects apart with global_keyprefix"
        )


def _shown(url: str) -> str:
    """As its writer knows it, without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.replace('scluster', 's+cluster')}://{rest.rpartition('@')[2]}"


def _node(text: str, url: str) -> Node:
    host, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, "", "")
    try:
        return host.strip("[]") or "127.0.0.1", int(port or PORT)
    except ValueError:
        raise ImproperlyConfigured(f"{_shown(url)!r}: the port {port!r} is no number") from None


def _tls_options(query: str) -> dict[str, Any]:
    return {name: value for name, value in parse_qsl(query) if name.startswith("ssl_")}


def _checked(tls: dict[str, Any] | None) -> dict[str, Any] | None:
    if tls and isinstance(tls.get("ssl_cert_reqs"), str):
        wanted = tls["ssl_cert_reqs"].lower().removeprefix("cert_")
        if wanted not in _CERT_REQS:
            raise ImproperlyConfigured(f"ssl_cert_reqs is required, optional or none, not {wanted!r}")
        tls["ssl_cert_reqs"] = _CERT_REQS[wanted]
    return tls
