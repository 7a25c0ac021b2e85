"""`celery.ping`, the task that `start_worker` calls to see that a worker works. Not for production."""

from __future__ import annotations

from celerylite import shared_task


@shared_task(name="celery.ping")
def ping() -> str:
    """Answer 'pong'."""
    return "pong"
