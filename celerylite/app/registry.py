"""The tasks of one app, by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from celerylite._state import get_current_app
from celerylite.exceptions import InvalidTaskError, NotRegistered

if TYPE_CHECKING:
    from celerylite.app.task import Task

__all__ = ("TaskRegistry",)


class TaskRegistry(dict[str, "Task[..., Any]"]):
    """Name → task; `app.tasks` is one."""

    NotRegistered = NotRegistered

    def __missing__(self, key: str) -> Task[..., Any]:
        raise self.NotRegistered(key)

    def register(self, task: Any) -> None:
        """Register a task, or the one task of a class, under its name."""
        if not task.name:
            raise InvalidTaskError(
                f"Task class {type(task).__name__!r} must specify .name attribute: "
                "tasks made by @app.task get one, classes are named by app.register_task()"
            )
        self[task.name] = task() if isinstance(task, type) else task

    def unregister(self, name: Any) -> None:
        """Remove a task by name, or by the task itself."""
        try:
            self.pop(getattr(name, "name", name))
        except KeyError:
            raise self.NotRegistered(name) from None

    def regular(self) -> dict[str, Task[..., Any]]:
        """The tasks that are not of the old periodic kind: all of them."""
        return self.filter_types("regular")

    def periodic(self) -> dict[str, Task[..., Any]]:
        """The tasks of the old periodic kind."""
        return self.filter_types("periodic")

    def filter_types(self, type: str) -> dict[str, Task[..., Any]]:
        """The tasks whose attribute `type` has this value; tasks without one are regular."""
        return {name: task for name, task in self.items() if getattr(task, "type", "regular") == type}


def _unpickle_task(name: str) -> Task[..., Any]:
    return get_current_app().tasks[name]


def _unpickle_task_v2(name: str, module: str | None = None) -> Task[..., Any]:
    if module:
        import_module(module)
    return get_current_app().tasks[name]
