"""Strikes at the n-th chunk that a worker's task processes write or are sent. No tests here."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from tests.crash.harness import Lab, Worker, poll, send_signal
from tests.support.proxy import TO_SERVER, Link


@dataclass
class Striker:
    """Watches the chunks of the task processes' connections and strikes at the n-th, once each time it is armed."""

    act: Callable[[Worker, int], bool]
    worker: Worker | None = None
    pids: set[int] = field(default_factory=set)
    struck: threading.Event = field(default_factory=threading.Event)
    _owners: dict[int, int | None] = field(default_factory=dict)
    _left: int = 0
    _direction: str = TO_SERVER
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, worker: Worker, direction: str, point: int) -> None:
        """Strike at the `point`-th chunk (from 1) in this direction, from now on."""
        with self._lock:
            self.worker, self._direction, self._left = worker, direction, point
            # The parent never speaks to the broker here; in Celery it is the one that does.
            self.pids = {worker.pid, *worker.task_processes()}
            self.struck.clear()

    def wait(self, lab: Lab, ids: list[str]) -> bool:
        """Wait for the strike, or for the tasks to be done without it; whether it came."""
        poll(lambda: self.struck.is_set() or not lab.tally().unfinished(ids), 10)
        return self.struck.is_set()

    def __call__(self, direction: str, _data: bytes, link: Link) -> bool:
        with self._lock:
            if self.worker is None or self._left <= 0 or direction != self._direction:
                return False
            owner = self._owner(link)
            if owner not in self.pids:
                return False
            self._left -= 1
            if self._left:
                return False
            drop = self.act(self.worker, owner or 0)
            self.struck.set()
            return drop

    def _owner(self, link: Link) -> int | None:
        """The process at the other end of a connection, asked once for each."""
        if link.number not in self._owners:
            ends = (link.client_port, link.client.getsockname()[1])
            found = (c.pid for c in psutil.net_connections("tcp4") if c.raddr and (c.laddr.port, c.raddr.port) == ends)
            self._owners[link.number] = next(found, None)
        return self._owners[link.number]


def kill_child(_: Worker, pid: int) -> bool:
    """SIGKILL the task process at the other end; the network is well."""
    send_signal(pid, signal.SIGKILL)
    return False


def reset(_worker: Worker, _pid: int) -> bool:
    """Cut the connection; nobody dies."""
    return True


def kill_tree(worker: Worker, pid: int) -> bool:
    """SIGKILL the whole worker, first of all the process whose chunk it is, and lose the chunk, as a power cut does."""
    send_signal(pid, signal.SIGKILL)
    worker.signal_tree(signal.SIGKILL)
    return True


def stop_tree(worker: Worker, pid: int) -> bool:
    """SIGSTOP the whole worker; what it had written still arrives."""
    send_signal(pid, signal.SIGSTOP)
    worker.signal_tree(signal.SIGSTOP)
    return False
