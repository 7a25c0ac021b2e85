"""A debugger inside a running task, reached by telnet: `from celerylite.contrib import rdb; rdb.set_trace()`.

The task waits until somebody connects to the port that the worker logs: `CELERY_RDB_PORT` (6899), or the next one
that is free; it is bound to `CELERY_RDB_HOST` (127.0.0.1). Whoever reaches it can run anything. See docs/operations.md.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from pdb import Pdb
from types import FrameType
from typing import Any, TextIO

__all__ = ("CELERY_RDB_HOST", "CELERY_RDB_PORT", "DEFAULT_PORT", "Rdb", "debugger", "set_trace")

DEFAULT_PORT = 6899
CELERY_RDB_HOST = os.environ.get("CELERY_RDB_HOST") or "127.0.0.1"
CELERY_RDB_PORT = int(os.environ.get("CELERY_RDB_PORT") or DEFAULT_PORT)

NO_AVAILABLE_PORT = "{self.ident}: no free port from {port} on for the debugger. Set CELERY_RDB_PORT to another one."
BANNER = """\
{self.ident}: Ready to connect: telnet {self.host} {self.port}

Type `exit` in session to continue.

{self.ident}: Waiting for client...
"""
SESSION_STARTED = "{self.ident}: Now in session with {self.remote_addr}."
SESSION_ENDED = "{self.ident}: Session with {self.remote_addr} ended."


class _Current(threading.local):
    """The session of this thread, while there is one: tasks in threads are debugged one beside the other."""

    session: Rdb | None = None


_current = _Current()


class Rdb(Pdb):
    """A `pdb` that listens on the first free port from `port` on, and waits for its one client."""

    me = "Remote Debugger"

    def __init__(
        self,
        host: str = CELERY_RDB_HOST,
        port: int = CELERY_RDB_PORT,
        port_search_limit: int = 100,
        port_skew: int = 0,
        out: TextIO | None = None,
    ) -> None:
        self.out = out or sys.stdout
        self.active = True
        self.host = host
        self.ident = self.me
        server, self.port = self.get_avail_port(host, port, port_search_limit, port_skew)
        self.ident = f"{self.me}:{self.port}"
        self.say(BANNER.format(self=self))
        with server:
            self._client, address = server.accept()
        self._client.setblocking(True)
        self.remote_addr = ":".join(map(str, address[:2]))
        self.say(SESSION_STARTED.format(self=self))
        self._handle = self._client.makefile("rw")
        super().__init__(completekey="tab", stdin=self._handle, stdout=self._handle)

    def get_avail_port(self, host: str, port: int, search_limit: int = 100, skew: int = 0) -> tuple[socket.socket, int]:
        """A listening socket and its port; raises `RuntimeError` where all are taken."""
        for candidate in range(port + skew, port + skew + search_limit):
            try:
                return socket.create_server((host, candidate), backlog=1), candidate
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise
        raise RuntimeError(NO_AVAILABLE_PORT.format(self=self, port=port))

    def say(self, m: str) -> None:
        """Tell the worker's log."""
        print(m, file=self.out, flush=True)

    def __enter__(self) -> Rdb:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._close_session()

    def _close_session(self) -> None:
        if self.active:
            self.active = False
            _current.session = None
            self._handle.close()
            self._client.close()
            self.say(SESSION_ENDED.format(self=self))

    def do_continue(self, arg: str) -> Any:
        """Let the task go on, and hang up."""
        self.set_continue()
        self._close_session()
        return True

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> Any:
        """The same: a task is not ended by its debugger."""
        return self.do_continue(arg)

    do_q = do_exit = do_EOF = do_quit  # noqa: N815 (pdb's name)


def debugger() -> Rdb:
    """The session of this thread; waits for a client where there is none."""
    if _current.session is None:
        _current.session = Rdb()
    return _current.session


def set_trace(frame: FrameType | None = None) -> None:
    """Stop here (or in `frame`) and wait for a client."""
    debugger().set_trace(frame or sys._getframe(1))
