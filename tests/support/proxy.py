"""A loopback TCP proxy that plays network faults: resets, black holes, slow links, refused connections.

It also lets a test watch every chunk that passes (`on_chunk`), so that a fault can hit an exact request or reply.
It knows nothing of Redis; it forwards bytes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

TO_SERVER = "request"
TO_CLIENT = "reply"

#: Called with (direction, bytes, link) before a chunk is forwarded. A true answer means: drop the connection instead.
ChunkHook = Callable[[str, bytes, "Link"], "bool | None"]

CHUNK = 65536
RST_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class Link:
    """One proxied connection: the client's socket and ours to the server."""

    client: socket.socket
    server: socket.socket
    number: int
    closed: bool = False

    def close(self, *, reset: bool = False) -> None:
        """Close both sides; with `reset` both peers see RST, not an orderly end."""
        self.closed = True
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
                # Wakes the thread that is blocked in recv(); a bare close() would leave it there with the socket open.
                # SHUT_RD sends nothing, so that the RST stays the first thing the peer sees.
                sock.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                sock.close()

    @property
    def client_port(self) -> int:
        """The client's port, by which the process behind the connection can be found."""
        return int(self.client.getpeername()[1])


class Proxy:
    """Listens on a port of its own and forwards to `target`, until told to misbehave."""

    def __init__(self, target: tuple[str, int], *, on_chunk: ChunkHook | None = None) -> None:
        self.target = target
        self.on_chunk = on_chunk
        self.connections = 0
        self._delay = 0.0
        self._refusing = False
        self._open_gate = threading.Event()
        self._open_gate.set()
        self._links: set[Link] = set()
        self._forgotten: list[Link] = []
        self._lock = threading.Lock()
        self._stopped = False
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept_loop, name="proxy-accept", daemon=True).start()

    # -- faults -----------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Forward again at once, for connections old and new."""
        self._delay = 0.0
        self._refusing = False
        self._open_gate.set()

    def reset_all(self) -> int:
        """Send RST on every open connection; new ones are accepted. The number of connections hit."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close(reset=True)
        return len(links)

    def black_hole(self) -> None:
        """Swallow everything from now on: connections stay open, new ones are accepted, nothing passes."""
        self._open_gate.clear()

    def end_black_hole(self, *, forget: bool = False) -> None:
        """New connections work again; old ones go on, or with `forget` stay silent for ever (a NAT lost them)."""
        if forget:
            with self._lock:
                for link in self._links:
                    link.closed = True
                # Kept, because a socket that nobody refers to is closed, and its peer would be told.
                self._forgotten += self._links
                self._links.clear()
        self._open_gate.set()

    def slow(self, delay: float) -> None:
        """Hold every chunk back for `delay` seconds, in each direction."""
        self._delay = delay

    def refuse(self) -> None:
        """Cut what is open and refuse new connections, as when the server is down."""
        self._refusing = True
        self.reset_all()

    # -- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the listener and every connection."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._open_gate.set()
        with self._lock:
            self._links.update(self._forgotten)
        self.reset_all()

    def url(self, path: str = "0") -> str:
        """A Redis URL that goes through this proxy."""
        return f"redis://127.0.0.1:{self.port}/{path}"

    # -- threads ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        return listener

    def _accept_loop(self) -> None:
        while not self._stopped:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), name="proxy-link", daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        """Join one client to the server; a black hole lets the client in and answers nothing."""
        self._open_gate.wait()
        try:
            if self._refusing or self._stopped:
                raise ConnectionRefusedError
            server = socket.create_connection(self.target, timeout=5)
        except OSError:
            # An accepted connection can only be refused by resetting it; to the client's library both are one error.
            with contextlib.suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            client.close()
            return
        server.settimeout(None)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1
        link = Link(client, server, self.connections)
        with self._lock:
            self._links.add(link)
        threading.Thread(target=self._pump, args=(link, TO_CLIENT), name="proxy-link", daemon=True).start()
        self._pump(link, TO_SERVER)

    def _pump(self, link: Link, direction: str) -> None:
        source, sink = (link.client, link.server) if direction == TO_SERVER else (link.server, link.client)
        try:
            while data := source.recv(CHUNK):
                if self._delay:
                    time.sleep(self._delay)
                self._open_gate.wait()
                if link.closed:
                    return
                if self.on_chunk is not None and self.on_chunk(direction, data, link):
                    link.close(reset=True)
                    return
                sink.sendall(data)
        except OSError:
            pass  # The other side is gone; the end below tells its peer.
        self._open_gate.wait()
        if not link.closed:
            link.close()
        with self._lock:
            self._links.discard(link)
