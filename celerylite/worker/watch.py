"""What the parent does to running tasks: time limits, and ending one that somebody wants to be ended.

Whoever is to be killed is stopped first and looked at again, so that the next task is never hit in its place.
"""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

from celerylite.brokers.envelope import decode
from celerylite.utils.clock import uptime
from celerylite.worker.children import Child, Termination

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celerylite.worker.board import Board

logger = logging.getLogger("celery.worker")

#: Seconds that a task has to die of a signal that ends processes; one that is stuck in C code never sees it.
GRACE = 3.0
#: Signals that a task process dies of only if it is told so on the board: by themselves they mean something else there.
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Watch:
    """Looks at the first slot of each process: with threads, processes watch themselves."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def limits(self, children: Iterable[Child]) -> None:
        """Warn tasks past their soft limit, kill those past their hard one, and those that do not die as told."""
        now = uptime()
        for child in children:
            slot = child.slots.start
            if not self.board.busy(slot):
                continue
            running = self.board.read(slot)
            age = now - running.since
            if child.terminated is not None and child.terminated.since == running.since:
                if now >= child.terminated.kill_at:
                    child.signal(signal.SIGKILL)
            elif running.hard_limit and age >= running.hard_limit:
                if self._kill(child, running.since):
                    child.timeout = running.hard_limit
            elif running.soft_limit and age >= running.soft_limit and child.warned != running.since:
                child.warned = running.since
                child.signal(signal.SIGUSR1)

    def _kill(self, child: Child, since: float) -> bool:
        """Kill the process if it still runs the task that started at `since`."""
        child.signal(signal.SIGSTOP)
        try:
            if not self._still(child, since):
                return False
            child.signal(signal.SIGKILL)
            return True
        finally:
            child.signal(signal.SIGCONT)

    def _still(self, child: Child, since: float) -> bool:
        slot = child.slots.start
        return self.board.busy(slot) and self.board.read(slot).since == since

    def terminate(self, children: Iterable[Child], ids: Iterable[str], number: int) -> list[str]:
        """Send the signal to the processes that run these tasks; returns the ids of those that ran."""
        wanted, found = set(ids), []
        for child in children:
            slot = child.slots.start
            if not self.board.busy(slot):
                continue
            running = self.board.read(slot)
            task_id = running.task_id or _task_id(running.raw)
            if task_id in wanted and self._end(child, running.since, number):
                found.append(task_id)
        return found

    def _end(self, child: Child, since: float, number: int) -> bool:
        child.signal(signal.SIGSTOP)
        try:
            if not self._still(child, since):
                return False
            self.board.set_doom(child.slots.start, number)
            if number != signal.SIGUSR1:  # Celery's way to raise SoftTimeLimitExceeded, which a task may survive
                kill_at = uptime() + GRACE if number in HANDLED else float("inf")
                child.terminated = Termination(since, number, kill_at)
            child.signal(number)
            return True
        finally:
            child.signal(signal.SIGCONT)


def _task_id(raw: bytes) -> str:
    try:
        return str(decode(raw).headers.get("id") or "")
    except ValueError:  # `Unreadable` is one: nothing that is in hostile messages may hurt the parent
        return ""
