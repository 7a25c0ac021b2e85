"""The worker: a parent that only watches, a control process, and task processes that each do the whole job."""

from __future__ import annotations

from celerylite.worker.controller import WorkController

__all__ = ["WorkController"]
