"""Names of workers: `name@host`, and the forms (%h, %n, …) from which they and file names are made."""

from __future__ import annotations

import os
import socket
from functools import cache
from typing import TYPE_CHECKING, Any

from .text import simple_format

if TYPE_CHECKING:
    from kombu.entity import Queue

__all__ = (
    "worker_direct",
    "gethostname",
    "nodename",
    "anon_nodename",
    "nodesplit",
    "default_nodename",
    "node_format",
    "host_format",
)

WORKER_DIRECT_QUEUE_FORMAT = "{hostname}.dq2"
NODENAME_DEFAULT = "celery"
NODENAME_SEP = "@"


@cache
def gethostname() -> str:
    """The name of this machine."""
    return socket.gethostname()


def nodename(name: str, hostname: str) -> str:
    """The worker called `name` on that host."""
    return NODENAME_SEP.join((name, hostname))


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """A name for a process that is no worker: what `origin` of a message says."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def nodesplit(name: str) -> tuple[str | None, str]:
    """(name, host) of a worker; without a name, (None, host)."""
    left, separator, right = name.partition(NODENAME_SEP)
    return (left, right) if separator else (None, left)


def default_nodename(hostname: str | None, default_name: str = NODENAME_DEFAULT) -> str:
    """A full worker name: what is missing is `default_name` and this machine."""
    name, host = nodesplit(hostname or "")
    return nodename(name or default_name, host or gethostname())


def node_format(s: str, name: str, **extra: Any) -> str:
    """The form with %h, %n, %d, %i and %I of the worker called `name` filled in."""
    short, host = nodesplit(name)
    return host_format(s, host, short or NODENAME_DEFAULT, p=name, **extra)


def host_format(s: str, host: str | None = None, name: str | None = None, **extra: Any) -> str:
    """The form with %h (host), %n (name), %d (domain), %i and %I (number of the task process) filled in."""
    host = host or gethostname()
    hostname, _, domain = host.partition(".")
    keys = {
        "h": host,
        "n": name or hostname,
        "d": domain,
        "i": _process_index,
        "I": _process_index_with_prefix,
        "%": "%",
        **extra,
    }
    return simple_format(s, keys)


def _process_index() -> str:
    from .log import current_process_index  # which imports logging; names are made everywhere

    return str(current_process_index() or 0)


def _process_index_with_prefix() -> str:
    index = _process_index()
    return f"-{index}" if index != "0" else ""


def worker_direct(hostname: Any) -> Queue:
    """The queue of one worker alone (`worker_direct`)."""
    from kombu.entity import Exchange, Queue  # 60 ms; few projects use such queues

    if isinstance(hostname, Queue):
        return hostname
    return Queue(
        WORKER_DIRECT_QUEUE_FORMAT.format(hostname=hostname), Exchange("C.dq2", type="direct"), hostname
    )
