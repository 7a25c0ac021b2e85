"""One task at a time, in the thread that asks: what each prefork task process does, and `-P solo` in the worker's
own process.
"""

from __future__ import annotations

from collections.abc import Callable

from celerylite.concurrency.base import Executor


class SoloExecutor(Executor):
    """Runs each function before `submit` returns."""

    inline = True

    def __init__(self, slots: int = 1) -> None:
        self.slots = 1

    def submit(self, run: Callable[[int], None]) -> None:
        """Run it now."""
        run(0)

    def free(self) -> int:
        """Always one: nobody asks while something runs."""
        return 1

    def wait_free(self, timeout: float) -> int:
        """At once."""
        return 1

    def join(self, timeout: float | None = None) -> bool:
        """Nothing runs when somebody asks."""
        return True
