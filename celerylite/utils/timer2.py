"""Calls functions later, in one thread: kombu's timer, run by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from kombu.asynchronous.timer import Entry, to_timestamp
from kombu.asynchronous.timer import Timer as Schedule

__all__ = ("Entry", "Schedule", "Timer", "to_timestamp")

#: Above, a number of `call_at` is a time of `time.time`; below, of `time.monotonic`, which counts from some start.
EPOCH = 10.0**9


class Timer:
    """Starts with the first call that it is given; with `held`, not before `release` (a fork is to come).

    `on_error(exception)` is told what a function raises, which is logged otherwise. `SystemExit` ends the timer, and
    `on_exit()` is called. Any thread may use it; a function that takes long makes the others wait.
    """

    def __init__(
        self,
        schedule: Any = None,
        on_error: Callable[[Exception], None] | None = None,
        on_tick: Callable[[float], None] | None = None,
        on_start: Callable[[Timer], None] | None = None,
        max_interval: float | None = None,
        on_exit: Callable[[], None] | None = None,
        held: bool = False,
        **kwargs: Any,
    ) -> None:
        self.schedule = schedule or Schedule(max_interval=max_interval, on_error=on_error)
        self.on_tick, self.on_start, self.on_exit = on_tick, on_start, on_exit
        self._auto = not held
        self._changed = threading.Condition(threading.RLock())
        self._ended = False
        # Made when it starts: one that is made before a fork counts as ended after it.
        self._thread: threading.Thread | None = None

    # -- the thread

    def run(self) -> None:
        """Call what is due, until `stop`."""
        while not self._ended:
            entry = self._next()
            if entry is None:
                continue
            try:
                self.schedule.apply_entry(entry)
            except SystemExit:
                self._ended = True
                if self.on_exit is not None:
                    self.on_exit()

    def _next(self) -> Entry | None:
        """What is due; None after a wait."""
        with self._changed:
            delay, entry = next(iter(self.schedule))
            if entry is None and not self._ended:
                if delay is not None and self.on_tick is not None:
                    self.on_tick(delay)
                self._changed.wait(delay)
            return entry

    def ensure_started(self) -> None:
        """Start the thread, unless that was done."""
        with self._changed:
            if self._thread is None and not self._ended:
                if self.on_start is not None:
                    self.on_start(self)
                self._thread = threading.Thread(target=self.run, name="timer", daemon=True)
                self._thread.start()

    start = ensure_started

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def release(self) -> None:
        """From now on start with the first call, or now where there was one."""
        self._auto = True
        if not self.empty():
            self.ensure_started()

    def stop(self) -> None:
        """Call nothing more, and wait until a call that is under way has ended."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    # -- calls

    def call_after(
        self, secs: float, fun: Callable[..., Any], args: Any = (), kwargs: Any = None, priority: int = 0
    ) -> Any:
        """Call `fun` in `secs` seconds; what is returned has `cancel()`."""
        return self._enter(lambda: self.schedule.call_after(secs, fun, args, kwargs or {}, priority))

    def call_repeatedly(
        self, secs: float, fun: Callable[..., Any], args: Any = (), kwargs: Any = None, priority: int = 0
    ) -> Any:
        """Call `fun` every `secs` seconds until what is returned is cancelled."""
        return self._enter(lambda: self.schedule.call_repeatedly(secs, fun, args, kwargs or {}, priority))

    def call_at(
        self, eta: datetime | float, fun: Callable[..., Any], args: Any = (), kwargs: Any = None, priority: int = 0
    ) -> Any:
        """Call `fun` at a time: a date, or a number of `time.time` or `time.monotonic`."""
        when = datetime.fromtimestamp(eta).astimezone() if isinstance(eta, int | float) and eta > EPOCH else eta
        return self._enter(lambda: self.schedule.call_at(when, fun, args, kwargs or {}, priority))

    def enter_after(self, secs: float, entry: Entry, priority: int = 0) -> Any:
        """Have an entry called in `secs` seconds."""
        return self._enter(lambda: self.schedule.enter_after(secs, entry, priority))

    def enter(self, entry: Entry, eta: Any, priority: int | None = None) -> Any:
        """Have an entry called at a time."""
        return self._enter(lambda: self.schedule.enter_at(entry, eta, priority=priority or 0))

    def exit_after(self, secs: float, priority: int = 10) -> None:
        """End the timer in `secs` seconds, as a function does that raises `SystemExit`."""
        self.call_after(secs, _exit, priority=priority)

    def _enter(self, add: Callable[[], Any]) -> Any:
        with self._changed:
            entry = add()
            self._changed.notify()
        if self._auto:
            self.ensure_started()
        return entry

    def cancel(self, tref: Any) -> None:
        """Do not call this any more."""
        tref.cancel()

    def clear(self) -> None:
        """Forget all that was to be called."""
        with self._changed:
            self.schedule.clear()

    def empty(self) -> bool:
        """Whether there is nothing to call."""
        return not self.queue

    @property
    def queue(self) -> list[Any]:
        """What will be called, the next one first."""
        with self._changed:
            return list(self.schedule.queue)


def _exit() -> None:
    raise SystemExit
