"""Waiting for something that another process does, with a limit and a clear failure.

Only for what cannot be awaited: prefer `result.get(timeout=…)`, a blocking read, or a line of a log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(predicate: Callable[[], T], timeout: float = 10.0, what: str = "", interval: float = 0.01) -> T:
    """Call `predicate` until it returns something true, and return that; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            name = what or getattr(predicate, "__name__", "the condition")
            raise AssertionError(f"waited {timeout:g} s in vain for {name} (last value: {value!r})")
        time.sleep(interval)
