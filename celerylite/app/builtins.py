"""The tasks that every app has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerylite import canvas
from celerylite._state import connect_on_app_finalize
from celerylite.app.chord_unlock import add_unlock_chord_task

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("register",)


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


def add_map_task(app: Celery) -> Any:
    """`celery.map` calls a task with each of many arguments."""

    def xmap(task: Any, it: Any) -> list[Any]:
        task = app.signature(task).type
        return [task(item) for item in it]

    return app.task(name="celery.map", shared=False)(xmap)


def add_starmap_task(app: Celery) -> Any:
    """`celery.starmap` calls a task with each of many argument lists."""

    def xstarmap(task: Any, it: Any) -> list[Any]:
        task = app.signature(task).type
        return [task(*items) for items in it]

    return app.task(name="celery.starmap", shared=False)(xstarmap)


def add_canvas_tasks(app: Celery) -> None:
    """`celery.chain`, `celery.group`, `celery.chord` and `celery.chunks`, called as tasks, run what they describe.

    Signatures send their members instead; but a schedule, or a call by name, may have one of these.
    """

    def chain(self: Any, tasks: Any, **kwargs: Any) -> Any:
        return self.replace(canvas._chain(*[app.signature(task) for task in tasks], app=app))

    def group(self: Any, tasks: Any, result: Any = None, group_id: Any = None, partial_args: Any = ()) -> Any:
        return self.replace(canvas.group([app.signature(task).clone(partial_args) for task in tasks], app=app))

    def chord(self: Any, header: Any, body: Any, partial_args: Any = (), kwargs: Any = None, **kw: Any) -> Any:
        return self.replace(canvas.chord(header, body, args=partial_args, kwargs=kwargs, app=app))

    def chunks(self: Any, task: Any, it: Any, n: int) -> Any:
        return self.replace(canvas.chunks(app.signature(task), it, n, app=app).group())

    for run in (chain, group, chord, chunks):
        app.task(name=f"celery.{run.__name__}", bind=True, shared=False)(run)


def register() -> None:
    """Have every app given these tasks when it is finalized."""
    connect_on_app_finalize(add_backend_cleanup_task)
    connect_on_app_finalize(add_accumulate_task)
    connect_on_app_finalize(add_map_task)
    connect_on_app_finalize(add_starmap_task)
    connect_on_app_finalize(add_canvas_tasks)
    connect_on_app_finalize(add_unlock_chord_task)
