"""Stands in for billiard, Celery's fork of multiprocessing, under the alias: the names that packages import.

The errors and ExceptionInfo are celerylite's own classes. Everything that billiard shares with the standard
library (Process, Pool, Queue, Lock …) is multiprocessing's: task processes may start children with it.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from .exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from .process import current_process

VERSION = (4, 3, 2, "")
__version__ = "4.3.2"

__all__ = ("VERSION", "SoftTimeLimitExceeded", "TimeLimitExceeded", "WorkerLostError", "current_process")


def ensure_multiprocessing() -> None:
    """Billiard checks its C extension here; there is none to miss."""


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and hasattr(multiprocessing, name):
        return getattr(multiprocessing, name)
    raise AttributeError(f"module 'billiard' (celerylite's stand-in) has no attribute {name!r}")
