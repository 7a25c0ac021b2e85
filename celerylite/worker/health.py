"""Whether a worker is alive and ready, for those who watch it: over HTTP, by a file, and by systemd's notifications.

Alive: its loops go round, whatever the broker does. Ready: it can fetch tasks. The main process notes in shared memory
that it goes round; the control process knows the rest, and answers.
"""

from __future__ import annotations

import errno
import json
import logging
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.clock import uptime
from celerylite.worker.systemd import Notifier

if TYPE_CHECKING:
    from celerylite.worker.board import Board
    from celerylite.worker.housekeeping import Housekeeping
    from celerylite.worker.parent import Parent

logger = logging.getLogger("celery.worker.health")

#: Seconds between touches of the heartbeat file.
PULSE = 1.0
#: Parts of a lease for which the main process may stand still.
PARENT_SILENCE = 2 / 3
#: Seconds for which housekeeping may stand still: longer than the parent waits before it replaces the process.
HOUSEKEEPING_SILENCE = 15.0
#: The age of a main process that has ended.
GONE = float("inf")
#: Seconds in which a prober has to ask, bytes in which it has to say it, and how many may ask at a time.
ASK_TIMEOUT, ASK_SIZE, ASKERS = 2.0, 4096, 16


@dataclass(frozen=True, slots=True)
class Signs:
    """How a worker is at this moment. Times are ages in seconds."""

    #: Since the main process went round its loop; None where there is none (`-P solo`).
    parent: float | None
    #: Since housekeeping did.
    housekeeping: float
    #: Since the leases were renewed.
    renewed: float
    connected: bool
    #: Task processes that fetch.
    fetching: int
    stopping: bool
    lease: float

    def not_live(self) -> list[str]:
        """Why the worker should be replaced; empty if all is well. The broker has no say in this."""
        reasons = []
        if self.parent == GONE:
            reasons.append("the main process is gone")
        elif self.parent is not None and self.parent > self.lease * PARENT_SILENCE:
            reasons.append(f"the main process has stood still for {self.parent:.0f} s")
        if self.housekeeping > self.lease / 2 + HOUSEKEEPING_SILENCE:
            reasons.append(f"housekeeping has stood still for {self.housekeeping:.0f} s")
        return reasons

    def not_ready(self) -> list[str]:
        """Why no task can be fetched; empty if all is well."""
        reasons = self.not_live()
        if self.stopping:
            reasons.append("the worker is shutting down")
        if not self.connected or self.renewed > self.lease:
            reasons.append("the broker cannot be reached")
        if not self.fetching:
            reasons.append("no task process is ready")
        return reasons


class Vitals:
    """Shared memory, made before forking: what the main process says of itself in each round."""

    _FIELDS = struct.Struct("<dqq")

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, self._FIELDS.size)

    def note(self, fetching: int, stopping: bool) -> None:
        """Another round."""
        self._FIELDS.pack_into(self._map, 0, uptime(), fetching, stopping)

    def read(self) -> tuple[float, int, bool]:
        """When the last round was (`uptime`), how many task processes fetch, whether the worker is stopping."""
        when, fetching, stopping = self._FIELDS.unpack_from(self._map, 0)
        return when, fetching, bool(stopping)


class Health:
    """What one worker has for its watchers; made in its main process before anything is forked."""

    def __init__(self, port: Any = None, file: str | None = None, notifier: Notifier | None = None) -> None:
        self.vitals = Vitals()
        self.notifier = notifier
        self.file = file
        self.sock = _listen(port) if port not in (None, "") else None
        self._pid = os.getpid()
        #: Whether the end was asked for, and whether systemd has been told.
        self._ending = self._stopping = False
        if file:
            _touch_first(file)

    # -- in the main process

    def round(self, parent: Parent) -> None:
        """The parent's loop has gone round."""
        fetching = sum(child.ready for child in parent.crew.at_work())
        self.vitals.note(fetching, parent.stopping)
        if self.notifier is None:
            return
        born = parent.control.born if parent.control is not None else uptime()
        signs = self._signs(parent.board, parent.options.lease, max(born, parent.board.alive()), connected=True)
        self.tell(signs)

    def tell(self, signs: Signs) -> None:
        """Feed systemd's watchdog, and say once that the worker ends."""
        if self.notifier is None:
            return
        if not signs.not_live():
            self.notifier.alive()
        if signs.stopping and not self._stopping:
            self._stopping = True
            self.notifier.stopping()

    def ready(self) -> None:
        """All processes are up for the first time."""
        self.vitals.note(1, self._ending)  # without a parent nobody else says so
        if self.sock is not None:
            host, port = self.sock.getsockname()[:2]
            where = f"[{host}]" if ":" in host else host
            logger.info("Health: http://%s:%s/live and /ready", where, port, extra={"action": "health", "port": port})
        if self.notifier is not None:
            self.notifier.ready()

    def stop(self) -> None:
        """The worker is to end; a signal handler may call."""
        self._ending = True
        self.vitals.note(0, True)

    def restarting(self) -> None:
        """The worker ends in order to start anew: for systemd that is no stop."""
        self._stopping = True
        if self.notifier is not None:
            self.notifier.reloading()

    def close(self) -> None:
        """The worker has ended."""
        if self.sock is not None and os.getpid() == self._pid:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)  # ends the thread that accepts, where it is in this process
        self.release()
        if self.notifier is not None:
            self.notifier.close()
        if self.file and os.getpid() == self._pid:
            with suppress(OSError):  # somebody may have been faster
                os.unlink(self.file)

    def release(self) -> None:
        """In a process that has nothing to do with this: let go of the port."""
        if self.sock is not None:
            self.sock.close()

    # -- where housekeeping runs

    def serve(self, housekeeping: Housekeeping, parent: int | None = None) -> None:
        """Answer from now on, in threads of this process; `parent` is the main process' id if it is another."""
        self._pulse = threading.Event()

        def look() -> Signs:
            board = housekeeping.board
            gone = parent is not None and os.getppid() != parent
            return self._signs(
                board, housekeeping.options.lease, board.alive(), housekeeping.connected, parent is not None, gone
            )

        if self.sock is not None:
            threading.Thread(target=_serve, args=(self.sock, look), name="health", daemon=True).start()
        if self.file or (parent is None and self.notifier is not None):
            threading.Thread(target=self._beat, args=(look, parent is None), name="pulse", daemon=True).start()

    def _signs(
        self, board: Board, lease: float, alive: float, connected: bool, apart: bool = True, gone: bool = False
    ) -> Signs:
        now = uptime()
        when, fetching, stopping = self.vitals.read()
        parent = None if not apart else GONE if gone else now - when
        return Signs(parent, now - alive, now - board.renewed(), connected, fetching, stopping, lease)

    def _beat(self, look: Callable[[], Signs], alone: bool) -> None:
        while True:
            signs = look()
            if self.file and not signs.not_live():
                try:
                    _touch(self.file)
                except OSError as exc:
                    logger.error("The heartbeat file cannot be written: %s", exc, extra={"action": "heartbeat_file"})
            if alone:
                self.tell(signs)
            self._pulse.wait(PULSE)


def _touch_first(path: str) -> None:
    try:
        _touch(path)
    except OSError as exc:
        raise ImproperlyConfigured(f"The heartbeat file cannot be written: {exc}") from exc


def _touch(path: str) -> None:
    with open(path, "ab"):
        os.utime(path)


# -- HTTP: two paths, no framework, so that an idle worker stays small


def parse_address(value: Any) -> tuple[str, int]:
    """`8080`, `127.0.0.1:8080` and `[::1]:8080` as host and port; no host: all interfaces."""
    host, _, port = str(value).rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ImproperlyConfigured(f"The health port {value!r} is not understood: expected PORT or HOST:PORT")
    return host.strip("[]"), int(port)


def _listen(value: Any) -> socket.socket:
    host, port = parse_address(value)
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as exc:
        raise ImproperlyConfigured(f"The health port {value} cannot be opened: {exc.strerror or exc}") from exc


def _serve(sock: socket.socket, look: Callable[[], Signs]) -> None:
    """Accept connections for ever; each is answered in a thread, so that a slow one holds up nobody."""
    room = threading.BoundedSemaphore(ASKERS)

    def answer(connection: socket.socket) -> None:
        try:
            with connection:
                _answer(connection, look)
        except OSError:
            pass  # the prober has hung up
        finally:
            room.release()

    while True:
        try:
            connection, _ = sock.accept()
        except OSError as exc:
            if sock.fileno() < 0 or exc.errno == errno.EINVAL:
                return  # it was closed
            logger.error("The health port does not answer: %s", exc, extra={"action": "health"})
            threading.Event().wait(PULSE)  # too many open files: some may be closed by then
            continue
        room.acquire()
        threading.Thread(target=answer, args=(connection,), name="health-answer", daemon=True).start()


def _answer(connection: socket.socket, look: Callable[[], Signs]) -> None:
    connection.settimeout(ASK_TIMEOUT)
    asked = b""
    while b"\r\n\r\n" not in asked and b"\n\n" not in asked and len(asked) < ASK_SIZE:
        data = connection.recv(ASK_SIZE)
        if not data:
            return
        asked += data
    method, _, rest = asked.split(b"\n", 1)[0].decode("latin-1").strip().partition(" ")
    status, body = respond(method, rest.split(" ")[0].partition("?")[0], look)
    text = json.dumps(body).encode() + b"\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
    connection.sendall(f"{head}Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode())
    if method != "HEAD":
        connection.sendall(text)


def respond(method: str, path: str, look: Callable[[], Signs]) -> tuple[str, dict[str, Any]]:
    """The status line and the body for a request."""
    if method not in ("GET", "HEAD"):
        return "405 Method Not Allowed", {"error": "GET or HEAD"}
    if path not in ("/live", "/ready"):
        return "404 Not Found", {"error": "there are /live and /ready"}
    signs = look()
    reasons = signs.not_live() if path == "/live" else signs.not_ready()
    body = {path[1:]: not reasons, "reasons": reasons}
    return ("503 Service Unavailable" if reasons else "200 OK"), body
