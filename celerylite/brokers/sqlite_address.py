"""Where an SQLite file is and what its URL asks for; refuses places where its locks cannot be trusted.

    sqlite:///celerylite.db         in the directory in which the process was started
    sqlite:////var/lib/celerylite.db?timeout=10&network=1

Options: `timeout`, seconds to wait for the lock of another process (30); `network=1`, use it on a network file system
all the same, by processes of one machine only.
"""

from __future__ import annotations

import ctypes
import logging
import os
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from celerylite.exceptions import ImproperlyConfigured

logger = logging.getLogger("celery.brokers.sqlite")

#: What is used where a project configures no broker.
DEFAULT_URL = "sqlite:///celerylite.db"

TIMEOUT = 30.0
#: `f_type` of statfs. Processes of two machines would not see each other's locks there.
NETWORK = {
    0x6969: "NFS", 0x517B: "SMB", 0xFF534D42: "CIFS", 0xFE534D42: "SMB 2", 0x5346414F: "AFS", 0x73757245: "Coda",
    0x013661: "Lustre", 0x47504653: "GPFS", 0x00C36400: "Ceph",
}  # fmt: skip
#: May be a network file system behind another name.
DOUBTFUL = {0x65735546: "FUSE", 0x01021997: "9P"}

HOW = "Write sqlite:///name.db for a file in the current directory, sqlite:////folder/name.db for an absolute path."


@dataclass(frozen=True, slots=True)
class Address:
    """A file, and how to use it."""

    path: str
    timeout: float = TIMEOUT
    #: Whether a network file system is the user's own wish.
    network: bool = False

    @property
    def url(self) -> str:
        """The URL of the file, absolute, without its options."""
        return f"sqlite:///{self.path}"


def parse(url: str) -> Address:
    """The address in a URL; raises `ImproperlyConfigured` where there is none."""
    rest, _, query = url.partition("://")[2].partition("?")
    host, _, path = rest.partition("/")
    path = unquote(path)
    if host:
        raise ImproperlyConfigured(f"{url!r} names the host {host!r}, but SQLite is a file of this machine. {HOW}")
    if not path or path == ":memory:":
        raise ImproperlyConfigured(f"{url!r} names no file. {HOW} For one process only there is memory://.")
    options = dict(parse_qsl(query, keep_blank_values=True))
    try:
        timeout = float(options.pop("timeout", TIMEOUT))
    except ValueError:
        raise ImproperlyConfigured(f"{url!r}: timeout must be a number of seconds") from None
    network = options.pop("network", "0").lower() in ("1", "true", "yes")
    if options:
        raise ImproperlyConfigured(f"{url!r}: unknown option {min(options)!r}; timeout and network are known")
    return Address(os.path.abspath(os.path.expanduser(path)), timeout, network)


def check_place(address: Address) -> None:
    """Raise `ImproperlyConfigured` for a folder that is missing, or that lies on a network file system."""
    folder = os.path.dirname(address.path)
    if not os.path.isdir(folder):
        raise ImproperlyConfigured(f"{address.url}: there is no folder {folder}; make it, or name another file")
    if os.path.isdir(address.path):
        raise ImproperlyConfigured(f"{address.url}: that is a folder; name a file in it")
    kind = file_system(folder)
    if kind in NETWORK and not address.network:
        raise ImproperlyConfigured(
            f"{address.url} lies on a network file system ({NETWORK[kind]}), where the locks of SQLite cannot be "
            "trusted. Use a local disk, or Redis or RabbitMQ for several machines; ?network=1 at the end of the URL "
            "uses it all the same, for processes of one machine."
        )
    if kind in DOUBTFUL and not address.network:
        logger.warning(
            "%s lies on %s. If that is a network file system, use another place; ?network=1 silences this.",
            address.url, DOUBTFUL[kind], extra={"action": "doubtful_place"},
        )  # fmt: skip


def file_system(folder: str) -> int | None:
    """The number of the kind of file system; None where the system does not tell (it is Linux that does)."""
    try:
        statfs = ctypes.CDLL(None, use_errno=True).statfs
    except (OSError, AttributeError):
        return None
    if os.uname().sysname != "Linux":
        return None
    buffer = ctypes.create_string_buffer(256)  # `struct statfs` has 120 bytes; f_type stands first
    if statfs(os.fsencode(folder), buffer) != 0:
        return None
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
