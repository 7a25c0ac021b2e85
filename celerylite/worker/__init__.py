"""The worker: a parent that only watches, a control process, and task processes that each do the whole job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerylite.worker.controller import WorkController

__all__ = ["WorkController"]


def __getattr__(name: str) -> Any:
    """The worker itself is imported when it is asked for: the command line reads `worker.panel` without it."""
    if name != "WorkController":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from celerylite.worker.controller import WorkController  # lazy: all of a worker, 50 ms

    return WorkController
