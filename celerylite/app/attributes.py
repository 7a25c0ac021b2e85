"""What stands behind some attributes of a task: settings, the app, the stack of its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerylite import context
from celerylite.context import Context

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.app.task import Task

__all__ = ("AppOfTask", "FromConfig", "RequestStack", "getattr_static")


class FromConfig:
    """A task attribute that was not given: the setting says, each time it is read."""

    __slots__ = ("name", "setting")

    def __init__(self, name: str, setting: str) -> None:
        self.name = name
        self.setting = setting

    def __get__(self, task: Any, cls: type[Task[..., Any]]) -> Any:
        app = cls._app
        if app is None:
            return None
        if app._unannotated:
            app._annotate_tasks()
            found = getattr_static(cls, self.name)
            if not isinstance(found, FromConfig):  # the annotations have set it just now
                return found
        return getattr(app._conf, self.setting)


def getattr_static(cls: type, name: str) -> Any:
    """The attribute of a class as it stands there, without asking descriptors."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


class AppOfTask:
    """`task.app` and `Task.app`: the app that the task is bound to, else the current one."""

    def __get__(self, task: Any, cls: type[Task[..., Any]]) -> Celery:
        return cls._get_app()

    def __set__(self, task: Any, app: Celery) -> None:
        type(task)._app = app


class RequestStack:
    """The requests of one task, as the stack object of Celery: `top`, `push`, `pop`, `stack`."""

    __slots__ = ("_task",)

    def __init__(self, task: Task[..., Any]) -> None:
        self._task = task

    def push(self, request: Context) -> Context:
        context.push(self._task, request)
        return request

    def pop(self) -> Context | None:
        frame = context.top()
        if frame is None or frame.task is not self._task:
            return None
        context.leave()
        return frame.context

    @property
    def top(self) -> Context | None:
        return context.for_task(self._task)

    @property
    def stack(self) -> list[Context]:
        found, frame = [], context.top()
        while frame is not None:
            if frame.task is self._task:
                found.append(frame.context)
            frame = frame.below
        return found[::-1]

    def __len__(self) -> int:
        return len(self.stack)
