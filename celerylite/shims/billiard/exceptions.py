"""billiard.exceptions: the same classes that celerylite raises, and multiprocessing's own errors."""

from __future__ import annotations

from multiprocessing import AuthenticationError, BufferTooShort, ProcessError, TimeoutError

from celerylite.exceptions import (
    RestartFreqExceeded,
    SoftTimeLimitExceeded,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)

__all__ = (
    "AuthenticationError",
    "BufferTooShort",
    "CoroStop",
    "ProcessError",
    "RestartFreqExceeded",
    "SoftTimeLimitExceeded",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
)


class CoroStop(Exception):
    """A coroutine has ended."""
