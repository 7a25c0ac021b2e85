"""How many tasks a task process runs, and how much memory it may take, before another one takes its place.

It says beforehand that its time is running out, so that its successor is ready when it ends (see `Crew`).
"""

from __future__ import annotations

import logging
import resource
import sys
from typing import TYPE_CHECKING

from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.worker.children import Line
    from celerylite.worker.options import WorkerOptions

logger = logging.getLogger("celery.worker")

#: Seconds before its end at which a process says so, at least; more where processes take long to start.
NOTICE = 1.0
STARTS = 3.0
#: Part of the memory limit from which on a successor stands by.
NEAR = 0.9


class Share:
    """The share of one task process; without a line to a parent it has no end, as nobody would replace it."""

    def __init__(self, options: WorkerOptions, line: Line | None) -> None:
        self.line = line
        self.most = options.max_tasks_per_child if line is not None else None
        self.memory = options.max_memory_per_child if line is not None else None
        self._notice = NOTICE
        self._born = uptime()
        self._said: set[str] = set()

    @property
    def limited(self) -> bool:
        """Whether there is anything to look after."""
        return bool(self.most or self.memory)

    def ready(self) -> None:
        """The process has started: from here on a successor would take as long."""
        self._notice = max(NOTICE, STARTS * (uptime() - self._born))

    def left(self, begun: int) -> int:
        """How many tasks may still be taken."""
        return max(0, self.most - begun) if self.most else sys.maxsize

    def spent(self, done: int, mean: float, at_once: int = 1) -> bool:
        """Whether the process has to end now, after `done` tasks of `mean` seconds, of which it runs some `at_once`."""
        if self.most:
            left = self.most - done
            if left <= 0:
                return True
            if left <= at_once or left * mean < self._notice * at_once:
                self._say("expiring")
        return self.memory is not None and self._too_large(self.memory, done)

    def _too_large(self, limit: int, done: int) -> bool:
        """Whether it has grown beyond its limit. It runs one task at least: its successor may begin as large."""
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if used > NEAR * limit:
            self._say("expiring")
        if used <= limit or not done:
            return False
        logger.warning(
            "child process exiting after exceeding memory limit (%sKiB/%sKiB)", used, limit,
            extra={"action": "memory_limit"},
        )  # fmt: skip
        return True

    def _say(self, word: str) -> None:
        if word not in self._said and self.line is not None:
            self._said.add(word)
            self.line.send(**{word: True})
