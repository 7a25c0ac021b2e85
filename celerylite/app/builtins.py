"""The tasks that every app has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerylite._state import connect_on_app_finalize

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("add_accumulate_task", "add_backend_cleanup_task", "register")


def add_backend_cleanup_task(app: Celery) -> Any:
    """`celery.backend_cleanup` deletes results that have expired, in stores that do not do so by
    themselves."""

    def backend_cleanup() -> None:
        app.backend.cleanup()

    return app.task(name="celery.backend_cleanup", shared=False)(backend_cleanup)


def add_accumulate_task(app: Celery) -> Any:
    """`celery.accumulate` returns what it is given; chords use it as a body."""

    def accumulate(self: Any, *args: Any, **kwargs: Any) -> Any:
        index = kwargs.get("index")
        return args[index] if index is not None else args

    return app.task(bind=True, name="celery.accumulate", shared=False)(accumulate)


def register() -> None:
    """Have every app given these tasks when it is finalized."""
    connect_on_app_finalize(add_backend_cleanup_task)
    connect_on_app_finalize(add_accumulate_task)
