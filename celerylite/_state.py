"""Which app is current, which apps exist, and which task runs: the few globals of the package.

Everything else is given an app; only `current_app`, `shared_task` and what stands without an app ask here.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from celerylite import context
from celerylite.local import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerylite.app.base import Celery
    from celerylite.app.task import Task

__all__ = (
    "app_or_default",
    "connect_on_app_finalize",
    "current_app",
    "current_task",
    "disable_trace",
    "enable_trace",
    "get_current_app",
    "get_current_task",
    "get_current_worker_task",
    "pop_current_task",
    "push_current_task",
    "set_default_app",
    "task_join_will_block",
)

#: The app that is current where neither the thread nor the context chose one.
default_app: Celery | None = None

#: The app that stood in because none was made; it gives way to any real one.
_fallback_app: Celery | None = None

#: Weak, so that apps made in tests go away.
_apps: weakref.WeakSet[Celery] = weakref.WeakSet()

#: Called with every app that is finalized: built-in and shared tasks.
_on_app_finalizers: set[Callable[[Celery], Any]] = set()

#: A task that waits for its own subtasks may deadlock its worker; `AsyncResult.get` asks this.
_task_join_will_block = False


class _CurrentApp(threading.local):
    """The app chosen by `set_current` in this thread; other threads fall back to what the main thread chose.

    In Celery they fall back to an unconfigured default app, which is why `shared_task` called from a web
    server's
    threads tried to reach amqp://localhost.
    """

    current_app: Celery | None = None


_tls = _CurrentApp()

#: What the main thread made current last.
_process_app: Celery | None = None


class _TaskStack:
    """The running tasks as the stack object of Celery: `top`, `stack`, `push`, `pop`."""

    __slots__ = ()

    def push(self, task: Task[..., Any]) -> Task[..., Any]:
        context.push(task, context.Context())
        return task

    def pop(self) -> Task[..., Any] | None:
        frame = context.top()
        if frame is None:
            return None
        context.leave()
        return frame.task

    @property
    def top(self) -> Task[..., Any] | None:
        return context.current_task()

    @property
    def stack(self) -> list[Task[..., Any]]:
        tasks, frame = [], context.top()
        while frame is not None:
            tasks.append(frame.task)
            frame = frame.below
        return tasks[::-1]

    def __len__(self) -> int:
        return len(self.stack)


_task_stack = _TaskStack()
push_current_task = _task_stack.push
pop_current_task = _task_stack.pop


def get_current_task() -> Task[..., Any] | None:
    """The innermost task that runs here."""
    return context.current_task()


def get_current_worker_task() -> Task[..., Any] | None:
    """The task that the worker runs here, however deep the direct calls of other tasks inside it."""
    frame = context.outermost()
    return frame.task if frame is not None else None


def set_default_app(app: Celery | None) -> None:
    """Make `app` the one that is current where nothing else was chosen."""
    global default_app
    default_app = app


def _get_current_app() -> Celery:
    app = _tls.current_app
    if app is None:
        app = default_app
        if app is None or app is _fallback_app:
            app = _process_app or app or _make_fallback_app()
    return app


def _make_fallback_app() -> Celery:
    global _fallback_app
    from celerylite.app.base import Celery  # upwards: only where an app is asked for and there is none

    _fallback_app = Celery(
        "default", fixups=[], set_as_current=False, loader=os.environ.get("CELERY_LOADER") or "default"
    )
    set_default_app(_fallback_app)
    return _fallback_app


def _set_current_app(app: Celery | None) -> None:
    global _process_app
    _tls.current_app = app
    if threading.current_thread() is threading.main_thread():
        _process_app = app


def _app_or_default(app: Celery | None = None) -> Celery:
    return app if app is not None else get_current_app()


def _app_or_default_trace(app: Celery | None = None) -> Celery:
    """As `app_or_default`, for hunting code that leans on the current app by accident."""
    if app is not None:
        return app
    if "--app-or-default-raises" in sys.argv or os.environ.get("C_STRICT_APP"):
        raise RuntimeError("USES CURRENT APP")
    return _get_current_app()


get_current_app: Callable[[], Celery] = _get_current_app
app_or_default: Callable[..., Celery] = _app_or_default


def enable_trace() -> None:
    """Let `app_or_default` tell where code leans on the current app."""
    global app_or_default
    app_or_default = _app_or_default_trace


def disable_trace() -> None:
    """Undo `enable_trace`."""
    global app_or_default
    app_or_default = _app_or_default


#: The current app and task, looked up at each use.
current_app: Celery = Proxy(lambda: get_current_app(), name="current_app")  # type: ignore[assignment]
current_task: Task[..., Any] = Proxy(get_current_task, name="current_task")  # type: ignore[assignment]


def connect_on_app_finalize(callback: Callable[[Celery], Any]) -> Callable[[Celery], Any]:
    """Have `callback(app)` called for every app that is finalized from now on."""
    _on_app_finalizers.add(callback)
    return callback


def _announce_app_finalized(app: Celery) -> None:
    for callback in set(_on_app_finalizers):
        callback(app)


def _register_app(app: Celery) -> None:
    _apps.add(app)


def _deregister_app(app: Celery) -> None:
    _apps.discard(app)


def _get_active_apps() -> weakref.WeakSet[Celery]:
    return _apps


def _set_task_join_will_block(blocks: bool) -> None:
    global _task_join_will_block
    _task_join_will_block = blocks


def task_join_will_block() -> bool:
    """Whether waiting for a result here would block a task that runs."""
    return _task_join_will_block
