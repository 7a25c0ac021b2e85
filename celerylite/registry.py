"""`celerylite.registry.tasks`: the tasks of the current app, where old code and OpenTelemetry look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _state

if TYPE_CHECKING:
    from .app.registry import TaskRegistry

    tasks: TaskRegistry

__all__ = ("tasks",)


def __getattr__(name: str) -> Any:
    # Asked each time, because the current app may change.
    if name == "tasks":
        return _state.current_app.tasks
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
