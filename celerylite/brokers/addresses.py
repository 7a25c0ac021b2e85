"""URLs of brokers and result stores that can never work, told in a sentence before anybody tries to connect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

from celerylite.exceptions import ImproperlyConfigured

#: Those that are one host and one port; others have forms of their own (lists of hosts, paths, keys).
PLAIN = frozenset(("redis", "rediss", "amqp", "amqps", "pyamqp"))
#: What a port gives away.
PORTS = {"6379": "redis", "5672": "amqp", "5671": "amqps"}


def check(url: Any, setting: str, transport: str | None = None) -> None:
    """Raise `ImproperlyConfigured` for a URL, or one of several, that is no URL of a broker.

    With a `transport` (the setting `broker_transport`) a URL may be a bare host.
    """
    for part in _parts(url):
        trouble = _trouble(part) if "://" in part else None if transport else _no_scheme(part)
        if trouble:
            raise ImproperlyConfigured(f"{setting} {_masked(part)!r}: {trouble}")


def _parts(url: Any) -> Iterator[str]:
    parts = url.split(";") if isinstance(url, str) else url if isinstance(url, list | tuple) else ()
    return (part for part in parts if isinstance(part, str) and part)


def _no_scheme(text: str) -> str | None:
    """What is wrong with something that lacks `://`; a bare word may be a host (AMQP's), as in kombu."""
    if not re.search(r"[:/]", text):
        return None
    name, rest = re.match(r"([\w+.-]*):?/*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    port = re.search(r":(\d+)", text)
    if name in PLAIN or name in ("sqlite", "sqs", "sentinel"):
        guess = f"{name}:///{rest}" if name == "sqlite" else f"{name}://{rest}"
    elif port and port.group(1) in PORTS:
        guess = f"{PORTS[port.group(1)]}://{text}"
    else:
        return "it is not a URL. One begins with the transport, as in redis://localhost:6379/0 or amqp://localhost"
    return f"it is not a URL: '://' is missing. Did you mean {_masked(guess)!r}?"


def _trouble(url: str) -> str | None:
    scheme = url.partition("://")[0]
    if scheme not in PLAIN:
        return None
    try:
        parts: SplitResult = urlsplit(url)
        parts.port  # noqa: B018 (raises for one that is none)
    except ValueError:
        return (
            "the port is not a number. Where user or password contain one of : / ? # @, write it percent-encoded "
            "(urllib.parse.quote(password, safe=''))"
        )
    if re.search(r"\s", parts.hostname or ""):
        return "there is a space in the name of the host"
    database = parts.path.strip("/").strip()
    if scheme in ("redis", "rediss") and database and not database.isdigit():
        return f"the database of a Redis is a number, as in {scheme}://localhost/0, not {database!r}"
    return None


def _masked(url: str) -> str:
    """Without the password, also where it is not where it should be."""
    return re.sub(r"(//?[^:/@]*:|^[\w+]+:[^/:@]*:).*@", r"\1**@", url, flags=re.DOTALL)
