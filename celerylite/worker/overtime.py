"""What a task process does about a task that is past a time limit; with threads, who of two may settle it.

The parent of a serial process, and the thread `limits.ThreadLimits` beside threads, find out that it is.
"""

from __future__ import annotations

import logging
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from celerylite import states
from celerylite.exceptions import TimeLimitExceeded
from celerylite.execution import Execution, Outcome, finish
from celerylite.utils.einfo import ExceptionInfo

if TYPE_CHECKING:
    from celerylite.followup import Following
    from celerylite.worker.board import Board, Running
    from celerylite.worker.emitter import Emitter
    from celerylite.worker.request import Request
    from celerylite.worker.settler import Settler

request_logger = logging.getLogger("celery.worker.request")


class Overtime:
    """See `task_process.TaskProcess`."""

    board: Board
    first_slot: int
    serial: bool
    settler: Settler
    #: Whom to tell of each task; None while events are off.
    events: Emitter | None
    #: How many tasks have ended.
    done: int
    #: What runs in each slot; whoever takes a request out settles it.
    _running: dict[int, Request]
    _taking: Lock

    def warn(self, slot: int, running: Running) -> None:
        """The task in this slot is past its soft limit."""
        request, limit = self._running.get(slot), running.soft_limit
        if request is not None and self._still(slot, running):
            request_logger.warning(
                "Soft time limit (%ss) exceeded for %s[%s]", limit, request.name, request.id,
                extra=request.log_extra("soft_timeout"),
            )  # fmt: skip
            request.on_timeout(True, limit)

    def _take(self, request: Request, slot: int, give_up: bool = False) -> bool:
        """Take the right to settle; False where another thread has it, and the slot may run another task by now."""
        if self.serial:  # there is no other thread
            return self._running.pop(slot, None) is request
        with self._taking:
            if self._running.get(slot) is not request:
                return False
            del self._running[slot]
            request.given_up = give_up
            return True

    def _still(self, slot: int, running: Running) -> bool:
        """Whether the slot runs what was read from the board a moment ago."""
        return self.board.read(self.first_slot + slot).since == running.since

    def _let_go(
        self, request: Request, execution: Execution, record: bytes | None, following: Following | None
    ) -> None:
        self.settler.let_go(request, execution, record, following)

    def on_hard_limit(self, slot: int, running: Running) -> bool:
        """A thread is past its hard limit: its task has failed, whatever it does from now on; False if it has ended."""
        request, limit = self._running.get(slot), running.hard_limit
        if request is None or request.plan is None or not self._still(slot, running):
            return False
        if not self._take(request, slot, give_up=True):
            return False
        request_logger.error(
            "Hard time limit (%ss) exceeded for %s[%s]", limit, request.name, request.id,
            extra=request.log_extra("timeout"),
        )  # fmt: skip
        exc = TimeLimitExceeded(limit)
        execution = Execution(
            request.plan, request.context(), request.args, request.kwargs, partial(self._let_go, request)
        )
        execution.outcome = Outcome(states.FAILURE, exc, ExceptionInfo((type(exc), exc, None)), limit)
        request.on_timeout(False, limit)
        finish(execution)
        if self.events is not None:
            self.events.ended(request, execution.outcome)
        self.done += 1
        self.board.finish(self.first_slot + slot, self.done)
        return True
