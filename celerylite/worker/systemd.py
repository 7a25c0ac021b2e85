"""Telling systemd how the worker is: sd_notify's protocol, which is one small datagram a message.

For services with `Type=notify` (READY=1, STOPPING=1) and `WatchdogSec=` (WATCHDOG=1). Without the variable
NOTIFY_SOCKET there is nobody to tell.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from celerylite.utils.clock import uptime


class Notifier:
    """Sends to one socket; never blocks, and never fails."""

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self.address = "\0" + address[1:] if address.startswith("@") else address
        #: Seconds without a word after which systemd takes us for dead; None: it does not watch.
        self.watchdog = watchdog
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._alive_at = 0.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, pid: int | None = None) -> Notifier | None:
        """The notifier that systemd asks for; None where it does not."""
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@"):
            return None
        usec, owner = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        watched = usec.isdigit() and int(usec) > 0 and owner in ("", str(pid or os.getpid()))
        return cls(address, int(usec) / 1e6 if watched else None)

    def ready(self) -> None:
        """The worker fetches tasks."""
        self.send("READY=1")

    def stopping(self) -> None:
        """The worker ends."""
        self.send("STOPPING=1")

    def reloading(self) -> None:
        """The worker is about to replace itself; `ready` will be said anew."""
        self.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """Feed the watchdog; may be called as often as one likes."""
        if self.watchdog is not None and uptime() - self._alive_at >= self.watchdog / 4:
            self._alive_at = uptime()
            self.send("WATCHDOG=1")

    def send(self, message: str) -> None:
        """Send one message; what cannot be sent is forgotten, as sd_notify does."""
        try:
            self._sock.sendto(message.encode(), self.address)
        except OSError:
            pass  # systemd is being restarted, or never was there: a worker must not fail for that

    def close(self) -> None:
        """Nothing more will be sent."""
        self._sock.close()
