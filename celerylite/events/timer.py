"""Calls functions again and again, in a thread: what cameras need of a timer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("celery.events")


class Entry:
    """One function that is called every so many seconds, until `cancel`."""

    def __init__(self, interval: float, call: Callable[[], Any]) -> None:
        self._interval, self._call = interval, call
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                self._call()
            except Exception:  # a border: users' cameras
                logger.exception("Timer: %r failed", self._call, extra={"action": "timer_failed"})

    def cancel(self) -> None:
        """Call no more, and wait until a call that is under way has ended."""
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()


class Timer:
    """The methods that Celery's timers are called by."""

    def call_repeatedly(
        self, secs: float, fun: Callable[..., Any], args: Any = (), kwargs: Any = None, priority: int = 0
    ) -> Entry:
        """Call `fun` every `secs` seconds."""
        return Entry(secs, lambda: fun(*args, **(kwargs or {})))
