"""The place of beat, which celerylite does not have yet: only what monitoring packages import to wrap it.

Run Celery's beat beside celerylite's workers; its messages are understood.
"""

from __future__ import annotations

from typing import Any

__all__ = ("Scheduler",)


class Scheduler:
    """Sends the tasks that are due. Not there yet; it can be imported and wrapped, not used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("celerylite has no beat yet; run Celery's beat beside its workers")

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Look once which entries are due."""
        raise NotImplementedError

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send the task of an entry."""
        raise NotImplementedError
