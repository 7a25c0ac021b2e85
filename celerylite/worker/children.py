"""The parent's children: forking them, telling how they are, and the line on which parent and control process talk."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from celerylite.utils.clock import uptime
from celerylite.utils.log import name_process

#: Signals that a child starts with as the system has them.
_RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)

CONTROL = "Control"
BEAT = "Beat"


@dataclass(slots=True)
class Termination:
    """Somebody wants a running task to end."""

    #: The start (`uptime`) of the task.
    since: float
    #: The signal.
    number: int
    #: When (`uptime`) SIGKILL follows, if it still runs.
    kill_at: float


@dataclass(slots=True)
class Child:
    """One process that the parent has forked."""

    number: int
    name: str
    pid: int
    #: Our end of the line to it; the child sees end-of-file on its own when we die.
    line: Line
    #: Its slots on the board; none for the control process.
    slots: range = range(0)
    born: float = field(default_factory=uptime)
    ready: bool = False
    #: The start (`uptime`) of the task that was told of its soft limit.
    warned: float = 0.0
    #: The hard limit for which it was killed.
    timeout: float | None = None
    #: Whether we ended it ourselves.
    wanted: bool = False
    #: Copies of the sockets on which it holds messages, by the name it gave them: they keep the connections open when
    #: it dies, until the control process has said what is to become of the messages.
    lifelines: dict[str, int] = field(default_factory=dict)
    terminated: Termination | None = None
    #: Whether it is ready to work but waits for its turn, until another one has ended.
    standby: bool = False
    #: Whether it will soon have run its share; whether it is to be replaced, but goes on until there is a successor.
    expiring: bool = False
    overdue: bool = False
    #: Whether it was told to end after its task, and whether it has said that it runs nothing any more.
    retiring: bool = False
    idle: bool = False
    #: How many tasks it still runs, once it takes no others: threads end one by one.
    running: int | None = None
    #: How many slots it was told to have, since others run tasks that they began before; None is as many as there are.
    room: int | None = None

    def end(self) -> None:
        """Ask it to end after its task."""
        self.retiring = True
        self.signal(signal.SIGTERM)
        if self.standby:
            self.line.send(go=True)  # it waits for this word, and then sees the signal

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass  # it is being reaped


class Line:
    """Small JSON messages over a socket pair; never blocks the parent."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._in = b""
        #: What the other side has no room for yet.
        self._out = b""
        #: Files that came with messages, in their order.
        self.files: deque[int] = deque()
        #: Threads of the control process may have something to say at the same time.
        self._sending = threading.RLock()

    def fileno(self) -> int:
        """The file number, for `select`."""
        return self.sock.fileno()

    def send(self, **message: Any) -> bool:
        """Send a message, or keep it for `flush` while there is no room; False where the other side is gone."""
        data = json.dumps(message).encode() + b"\n"
        with self._sending:
            self._out += data
            return self.flush()

    def flush(self) -> bool:
        """Send what was kept, as far as there is room; False where the other side is gone."""
        with self._sending:
            try:
                while self._out:
                    self._out = self._out[self.sock.send(self._out) :]
            except BlockingIOError:
                pass  # the rest goes out at the next flush
            except OSError:
                return False
            return True

    def send_file(self, file: int, **message: Any) -> bool:
        """Send a message with a copy of an open file, which the other side finds in `files`; False where it
        cannot be sent now.
        """
        with self._sending:
            if not self.flush() or self._out:
                return False
            try:
                socket.send_fds(self.sock, [json.dumps(message).encode() + b"\n"], [file])
            except OSError:
                return False
            return True

    def receive(self) -> list[dict[str, Any]] | None:
        """What has come in; None at the end of the line."""
        try:
            data, files, _, _ = socket.recv_fds(self.sock, 65536, 8)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        for file in files:
            os.set_inheritable(file, False)
            self.files.append(file)
        *lines, self._in = (self._in + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


def fork(
    number: int, name: str, slots: range, run: Callable[[Line], int], others: Iterable[Child], close: Iterable[int] = ()
) -> Child:
    """Start a child that calls `run` and exits with what it returns.

    `others` are the children so far: the new one must not hold their lines open, or they would not notice our death.
    """
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        ours.setblocking(False)
        return Child(number, name, pid, Line(ours), slots)
    status = 1
    try:
        ours.close()
        for other in others:
            other.line.close()
        for fd in close:
            os.close(fd)
        _begin(name)
        status = run(Line(theirs))
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # a border: the child ends here, and must say why
        traceback.print_exc()
    finally:
        _end(status)
    raise AssertionError("not reached")


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals that come meanwhile are handled afterwards; a child that is forked meanwhile is given them as its own."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _RESET)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(name: str) -> None:
    """A child's first steps: signals as the system has them, randomness of its own, and a name for the logs."""
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
    random.seed()
    index = int(name.rpartition("-")[2]) - 1 if name not in (CONTROL, BEAT) else 0
    name_process(name, index)


def _end(status: int) -> None:
    """Leave without the parent's `atexit` hooks, but with all that was printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more
    os._exit(status)


def freeze() -> None:
    """Before the first fork: what is there now stays as it is, so that collections do not copy the parent's pages."""
    gc.collect()
    gc.freeze()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what reading the modules took for a while: 1.2 MB of an idle worker
    except (AttributeError, OSError):
        pass  # a libc that has no such function


def describe(status: int) -> str:
    """The end of a process in Celery's words."""
    if status >= 0:
        return f"exitcode {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"
