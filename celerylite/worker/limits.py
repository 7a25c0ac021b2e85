"""Time limits: which ones a request has, and how a process watches its threads itself (`Watch` does it for prefork)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from celerylite.concurrency.thread import ThreadExecutor
from celerylite.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.worker.board import Board, Running
    from celerylite.worker.directives import Directives
    from celerylite.worker.options import WorkerOptions
    from celerylite.worker.request import Request

logger = logging.getLogger("celery.worker.request")

TICK = 0.1


def limits_for(request: Request, options: WorkerOptions, directives: Directives) -> tuple[float, float]:
    """Hard and soft limit of a request in seconds, 0 for none: its own, else its task's, else the worker's."""
    assert request.plan is not None
    hard, soft = request.plan.limits
    told = directives.time_limits
    if told and request.name in told:
        soft, hard = told[request.name]
    return (
        request.time_limit or hard or options.time_limit or 0.0,
        request.soft_time_limit or soft or options.soft_time_limit or 0.0,
    )


class ThreadLimits(threading.Thread):
    """Looks at the slots of a thread executor, raises soft limits in their threads and gives up those past the hard
    limit.
    """

    def __init__(
        self,
        executor: ThreadExecutor,
        board: Board,
        first_slot: int,
        on_soft: Callable[[int, Running], None],
        on_hard: Callable[[int, Running], bool],
    ) -> None:
        super().__init__(daemon=True, name="time-limits")
        self.executor = executor
        self.board = board
        self.first_slot = first_slot
        self.on_soft = on_soft
        self.on_hard = on_hard
        self._warned: dict[int, float] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        while not self._stopping.wait(TICK):
            now = uptime()
            for slot in range(self.executor.highest):
                if self.board.busy(self.first_slot + slot):
                    self._look(slot, now)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()

    def _look(self, slot: int, now: float) -> None:
        running = self.board.read(self.first_slot + slot)
        age = now - running.since
        if running.hard_limit and age >= running.hard_limit:
            if self.on_hard(slot, running):
                # In case it is in Python code, it ends; in C code it stays behind, and its slot has a new thread.
                self.executor.interrupt(slot, TimeLimitExceeded, lambda: True)
                self.executor.abandon(slot)
        elif running.soft_limit and age >= running.soft_limit and self._warned.get(slot) != running.since:
            self._warned[slot] = running.since
            self.on_soft(slot, running)
            self.executor.interrupt(
                slot, SoftTimeLimitExceeded, lambda: self.board.read(self.first_slot + slot).since == running.since
            )
