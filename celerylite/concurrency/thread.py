"""Tasks in threads, with time limits: a soft limit is an exception raised in the thread, a thread past its hard
limit is left alone.

Python cannot stop a thread. One that ran into its hard limit gets an exception too, and in case it never looks (C
code) its slot is taken over by a new thread.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import sleep
from typing import Any

from celerylite.concurrency.base import Executor
from celerylite.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded


class ThreadExecutor(Executor):
    """Runs functions in up to `slots` threads, started when they are first needed."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        #: The most slots that there ever were; tasks may still run in those that are too many by now.
        self.highest = slots
        self._free = slots
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._numbers = list(range(slots - 1, -1, -1))
        self._running: dict[int, _Worker] = {}

    def submit(self, run: Callable[[int], None]) -> None:
        """Run it in a free slot."""
        with self._changed:
            self._free -= 1
            slot = self._numbers.pop()
            worker = self._idle.pop() if self._idle else _Worker(self)
            self._running[slot] = worker
        worker.jobs.put((run, slot))

    def done(self, worker: _Worker, slot: int) -> bool:
        """A thread's function has returned; False tells the thread that it was given up meanwhile, and is to end."""
        with self._changed:
            if self._running.get(slot) is not worker:
                return False
            del self._running[slot]
            self._idle.append(worker)
            self._release(slot)
            return True

    def abandon(self, slot: int) -> None:
        """Give up the thread in this slot; the slot is free at once."""
        with self._changed:
            if self._running.pop(slot, None) is not None:
                self._release(slot)

    def _release(self, slot: int) -> None:
        self._numbers.append(slot)
        self._numbers.sort(reverse=True)  # the lowest is taken next, so that those that are too many stay empty
        self._free += 1
        self._changed.notify_all()

    def resize(self, slots: int) -> None:
        """Have so many slots from now on; those that are too many end after what they run."""
        with self._changed:
            more, self.slots, self.highest = slots - self.slots, slots, max(self.highest, slots)
            known = {*self._numbers, *self._running}
            self._numbers = sorted((*self._numbers, *(n for n in range(slots) if n not in known)), reverse=True)
            self._free += more
            self._changed.notify_all()

    def interrupt(self, slot: int, exception: type[BaseException], still: Callable[[], bool]) -> None:
        """Raise an exception in the thread of this slot, at its next Python instruction, if it is in a guarded call.

        `still` is asked last: whether the slot runs what is to be interrupted, and not its successor.
        """
        worker = self._running.get(slot)
        if worker is None:
            return
        worker.interrupting = True
        try:
            if worker.guarded and still():
                _raise_in(worker, exception)
        finally:
            worker.interrupting = False

    def guard(self, run: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a function that `interrupt` may interrupt."""
        worker = threading.current_thread()
        assert isinstance(worker, _Worker)
        worker.guarded = True
        try:
            return run(*args, **kwargs)
        finally:
            self._unguard(worker)

    def _unguard(self, worker: _Worker) -> None:
        """From here on nothing is interrupted; what was sent and has not arrived would hit whatever comes next.

        No lock is taken: an exception that arrives between taking and noting it would leave it taken for ever.
        """
        while True:
            try:
                worker.guarded = False
                while worker.interrupting:
                    sleep(0.0001)
                _raise_in(worker, None)
                return
            except (SoftTimeLimitExceeded, TimeLimitExceeded):
                continue  # it arrived just now

    def free(self) -> int:
        """How many slots are free."""
        return max(0, self._free)

    def wait_free(self, timeout: float) -> int:
        """Wait until a slot is free; returns how many are."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0, timeout)
            return max(0, self._free)

    def close(self) -> None:
        """End the idle threads."""
        with self._changed:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.jobs.put(None)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing runs; False when the time was up."""
        with self._changed:
            return self._changed.wait_for(lambda: self._free == self.slots, timeout)

    def drain(self, tell: Callable[[int], None]) -> None:
        """Wait until nothing runs; `tell` hears how many functions still do, now and each time that they are fewer."""
        told: int | None = None
        while told != 0:
            with self._changed:
                self._changed.wait_for(lambda: self.slots - self._free != told)  # noqa: B023 (asked at once)
                told = self.slots - self._free
            tell(told)


def _raise_in(thread: threading.Thread, exception: type[BaseException] | None) -> None:
    """Raise an exception in another thread; None takes back one that was sent and has not arrived."""
    what = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), what)


class _Worker(threading.Thread):
    """One thread of the executor."""

    def __init__(self, executor: ThreadExecutor) -> None:
        super().__init__(daemon=True, name="ThreadPoolExecutor")
        self.executor = executor
        #: Whether it is inside a task's function.
        self.guarded = False
        #: Whether somebody is about to raise something in it.
        self.interrupting = False
        self.jobs: SimpleQueue[tuple[Callable[[int], None], int] | None] = SimpleQueue()
        self.start()

    def run(self) -> None:
        """Take functions until given up."""
        while True:
            job = self.jobs.get()
            if job is None:
                return
            run, slot = job
            run(slot)
            if not self.executor.done(self, slot):
                return
