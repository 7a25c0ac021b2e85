"""The contract of an executor: it is given one function to run, and knows nothing of the worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable


class Executor(ABC):
    """Runs functions in `slots` places."""

    #: How many functions run side by side.
    slots: int = 1
    #: Whether `submit` runs the function itself, in the thread that calls it.
    inline: bool = False

    @abstractmethod
    def submit(self, run: Callable[[int], None]) -> None:
        """Run `run(slot)`, now or in a slot of its own; there must be a free one."""

    @abstractmethod
    def free(self) -> int:
        """How many slots are free."""

    @abstractmethod
    def wait_free(self, timeout: float) -> int:
        """Wait until a slot is free; returns how many are."""

    def resize(self, slots: int) -> None:  # noqa: B027 (only threads can)
        """Have so many slots from now on; those that are too many end after what they run. Any thread may call."""

    def close(self) -> None:  # noqa: B027 (nothing to do where there are no threads)
        """Let go of idle threads; nothing is submitted any more."""

    @abstractmethod
    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing runs; False when the time was up."""

    def drain(self, tell: Callable[[int], None]) -> None:
        """Wait until nothing runs; `tell` hears how many functions still do, now and each time that they are fewer."""
        self.join()


class BasePool:
    """Celery's name for what third parties look for; celerylite's executors are `Executor`s."""
