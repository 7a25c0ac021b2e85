"""Prefork is not an executor of its own: it is several task processes that each run one task at a time
(`worker/parent.py`).

The names here are those that monitoring packages wrap; task processes call them at their beginning and end.
"""

from __future__ import annotations

from typing import Any

from celerylite import _state, signals
from celerylite.concurrency.base import BasePool

__all__ = ("TaskPool", "process_destructor", "process_initializer")


class TaskPool(BasePool):
    """Celery's name for the prefork pool."""


def process_initializer(app: Any, hostname: str) -> None:
    """A task process begins: logging as the worker has it, then the app's own signal."""
    if app.log.already_setup:
        app.log.setup_process(hostname)
    # `get()` within a task waits for a task that may need this very process: refused unless the task says that it
    # knows.
    _state._set_task_join_will_block(True)
    signals.worker_process_init.send(sender=None)


def process_destructor(pid: int, exitcode: int) -> None:
    """A task process ends."""
    signals.worker_process_shutdown.send(sender=None, pid=pid, exitcode=exitcode)
