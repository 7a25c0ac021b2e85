"""Where the results' Redis is and how to connect to it, from a URL and the `redis_*` settings.

The names in the resulting dict are redis-py's, as Celery's backend has them in `connparams`.
"""

from __future__ import annotations

from ssl import CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.imports import symbol_by_name
from celerylite.utils.log import get_logger

if TYPE_CHECKING:
    from celerylite.app.settings import Settings

logger = get_logger("celerylite.backends.redis")

E_CERT_REQS = """
A rediss:// URL must have parameter ssl_cert_reqs and this must be set to CERT_REQUIRED, CERT_OPTIONAL, or \
CERT_NONE
"""
E_SSL_BUT_REDIS = """
TLS options (ssl_…) are given, but the URL says redis://. For TLS use rediss://.
"""
W_CERT = (
    "ssl_cert_reqs=%s: the identity of the Redis server is not checked; someone in between could read along."
)

_CERT_REQS = {
    "CERT_REQUIRED": CERT_REQUIRED,
    "CERT_OPTIONAL": CERT_OPTIONAL,
    "CERT_NONE": CERT_NONE,
    "required": CERT_REQUIRED,
    "optional": CERT_OPTIONAL,
    "none": CERT_NONE,
}
_SSL_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")


def from_settings(
    conf: Settings, host: str | None, port: int | None, db: Any, password: str | None
) -> dict[str, Any]:
    """What the settings say; the URL goes before it."""
    params: dict[str, Any] = {
        "host": host or conf.get("redis_host") or "localhost",
        "port": port or conf.get("redis_port") or 6379,
        "db": db or conf.get("redis_db") or 0,
        "password": password or conf.get("redis_password"),
        "max_connections": conf.get("redis_max_connections"),
        "socket_timeout": _number(conf.get("redis_socket_timeout")),
        "retry_on_timeout": conf.get("redis_retry_on_timeout") or False,
        "socket_connect_timeout": _number(conf.get("redis_socket_connect_timeout")),
        "client_name": conf.get("redis_client_name"),
    }
    if conf.get("redis_username"):
        params["username"] = conf.get("redis_username")
    if conf.get("redis_backend_health_check_interval"):
        params["health_check_interval"] = conf.get("redis_backend_health_check_interval")
    if conf.get("redis_socket_keepalive"):
        params["socket_keepalive"] = True
    provider = conf.get("redis_backend_credential_provider")
    if provider:
        params["credential_provider"] = credential_provider(provider)
    tls = conf.get("redis_backend_use_ssl")
    if tls:
        params.update(tls)
        if "ssl_cert_reqs" in tls:
            params["ssl_cert_reqs"] = _cert_reqs(tls["ssl_cert_reqs"])
        params["connection_class"] = _classes().SSLConnection
    return params


def _number(value: Any) -> float | None:
    return float(value) if value else None


def _classes() -> Any:
    import redis  # lazy: an app that stores no results need not have it

    return redis


def credential_provider(provider: Any) -> Any:
    """An instance of redis-py's CredentialProvider, from itself, its class or the dotted name of that."""
    if isinstance(provider, str):
        provider = symbol_by_name(provider)
    if isinstance(provider, type):
        provider = provider()
    if not isinstance(provider, _classes().CredentialProvider):
        raise ImproperlyConfigured(
            "credential_provider must be a redis.CredentialProvider, its class, or a path to it."
        )
    return provider


def from_url(url: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """`defaults` with what a URL says put over it."""
    from kombu.utils.url import url_to_parts  # lazy: kombu takes 30 ms

    scheme, host, port, username, password, path, parsed = url_to_parts(url)
    query = dict(parsed)
    params = dict(defaults)
    if scheme == "socket":
        params["connection_class"] = _classes().UnixDomainSocketConnection
        params["path"] = "/" + (path or "").lstrip("/")
        for name in ("host", "port", "socket_connect_timeout", "socket_keepalive"):
            params.pop(name, None)
        params["db"] = query.pop("virtual_host", None) or query.get("db") or params["db"]
        query.pop("db", None)
    else:
        # What the URL leaves out comes from the defaults, but not the database of another server.
        params["host"] = host or params["host"]
        params["port"] = port or params["port"]
        params["db"] = _database(query.pop("db", None) or query.pop("virtual_host", None) or path)
    params["password"] = password or params["password"]
    if username:
        params["username"] = username
    params["db"] = _database(params["db"])
    if scheme == "rediss":
        _tls(params, query)
    elif scheme != "socket" and any(name in query for name in _SSL_OPTIONS):
        raise ValueError(E_SSL_BUT_REDIS)
    params.update(_typed(query))
    return params


def _database(value: Any) -> int:
    if isinstance(value, str):
        value = value.strip("/")
    return int(value or 0)


def _tls(params: dict[str, Any], query: dict[str, Any]) -> None:
    params["connection_class"] = _classes().SSLConnection
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if query.get(name):
            params[name] = unquote(query.pop(name))
    params["ssl_cert_reqs"] = _cert_reqs(query.pop("ssl_cert_reqs", None) or params.get("ssl_cert_reqs"))


def _cert_reqs(value: Any) -> Any:
    value = _CERT_REQS.get(value, value) if isinstance(value, str) else value
    if value not in (CERT_REQUIRED, CERT_OPTIONAL, CERT_NONE):
        raise ValueError(E_CERT_REQS)
    if value != CERT_REQUIRED:
        logger.warning(W_CERT, value.name, extra={"action": "tls"})
    return value


def _typed(query: dict[str, Any]) -> dict[str, Any]:
    """Options in a URL are text; redis-py wants numbers and truth values."""
    if not query:
        return {}
    from redis.connection import URL_QUERY_ARGUMENT_PARSERS

    params = {}
    for name, value in query.items():
        parse: Any = URL_QUERY_ARGUMENT_PARSERS.get(name)
        params[name] = parse(value) if parse is not None and isinstance(value, str) else value
    if isinstance(params.get("credential_provider"), str):
        params["credential_provider"] = credential_provider(params["credential_provider"])
    return params
