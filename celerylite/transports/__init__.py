"""Transports of kombu that celerylite brings along, and `register`, which makes them known to kombu by name."""

from __future__ import annotations

from typing import Any

__all__ = ("for_kombu", "register")

SQLITE = "celerylite.transports.sqlite:Transport"
CLUSTER = "celerylite.transports.redis_cluster:Transport"

#: How users write the scheme, and the name that kombu is given: it would cut the other one at the `+`.
CLUSTER_SCHEMES = {"redis+cluster": "rediscluster", "rediss+cluster": "redisscluster"}


def register() -> None:
    """Make `sqlite://` and `rediscluster://` known to kombu; whoever uses kombu without celerylite names the class."""
    from kombu.transport import TRANSPORT_ALIASES  # lazy: kombu is imported when the first connection is made

    TRANSPORT_ALIASES.setdefault("sqlite", SQLITE)
    for name in CLUSTER_SCHEMES.values():
        TRANSPORT_ALIASES.setdefault(name, CLUSTER)


def for_kombu(url: Any) -> Any:
    """A URL, a list of URLs, or several with `;` between them, as kombu takes them."""
    if isinstance(url, list | tuple):
        return [for_kombu(one) for one in url]
    if not isinstance(url, str) or "+cluster://" not in url:
        return url
    return ";".join(map(_for_kombu, url.split(";")))


def _for_kombu(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    return CLUSTER_SCHEMES.get(scheme, scheme) + mark + rest
