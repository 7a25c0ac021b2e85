"""What the parent may raise in the running task of a serial task process, and only while it is within the task's
function: anywhere else an exception would hit our own work.
"""

from __future__ import annotations

from collections.abc import Callable
from signal import SIGUSR1
from typing import TYPE_CHECKING, Any

from celerylite.exceptions import SoftTimeLimitExceeded
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.worker.board import Board, Running


class Interrupting:
    """The main thread of one process that runs one task at a time."""

    def __init__(self, board: Board, slot: int, warn: Callable[[int, Running], None]) -> None:
        self.board = board
        self.slot = slot
        #: Told of a task that is past its soft limit.
        self.warn = warn
        #: Whether the main thread is inside a task's function.
        self.in_call = False

    def guard(self, run: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a task's function: the only place where a signal may raise something."""
        self.in_call = True
        try:
            return run(*args, **kwargs)
        finally:
            self.in_call = False

    def leave(self) -> bool:
        """Something is about to be raised, and nothing else must be; whether the main thread was in the function."""
        before, self.in_call = self.in_call, False
        return before

    def on_signal(self) -> None:
        """SIGUSR1: the running task is past its soft limit, or somebody ends it so; raise in it, if it still runs."""
        running = self.board.read(self.slot)
        if not self.in_call or not running.busy:
            return
        if self.board.doom(self.slot) == SIGUSR1:
            self.in_call = False
            raise SoftTimeLimitExceeded()
        if 0 < running.soft_limit <= uptime() - running.since:
            self.in_call = False
            self.warn(self.slot, running)
            raise SoftTimeLimitExceeded(running.soft_limit)
