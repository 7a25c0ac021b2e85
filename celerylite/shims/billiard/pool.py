"""billiard.pool: `Worker`, whose methods monitoring packages wrap to learn when a task process ends.

celerylite has no such pool. A task process calls `run_exit_hooks` as it leaves, so that the wrappers run.
"""

from __future__ import annotations

import os

__all__ = ("Worker", "run_exit_hooks")


class Worker:
    """Stands for one task process, for those who wrap its methods. It does no work."""

    def __call__(self) -> int:
        """Live and leave, as billiard's does: once around `workloop`, then `_do_exit`."""
        exitcode = self.workloop()
        self._do_exit(os.getpid(), exitcode)
        return exitcode

    def workloop(self, exitcode: int = 0) -> int:
        """Sentry wraps this and sends its last events when it returns."""
        return exitcode

    def _do_exit(self, pid: int, exitcode: int, exc: BaseException | None = None) -> None:
        """New Relic wraps this and shuts its agent down first. The process itself goes on to its own end."""


def run_exit_hooks() -> None:
    """Let whoever wrapped `Worker` see that this task process ends."""
    Worker()()
