"""Declaring tasks: `@app.task`, `@shared_task`, class-based tasks, and finding the modules they are in."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from celerylite import _state, signals
from celerylite.app.autoretry import add_autoretry_behaviour
from celerylite.app.task import Task
from celerylite.exceptions import DuplicateTaskNameWarning
from celerylite.local import Proxy
from celerylite.utils.imports import gen_task_name

if TYPE_CHECKING:
    from celerylite.app.base import Celery

P = ParamSpec("P")
R = TypeVar("R")

_DUPLICATE = """Two callables want the task name {name!r}:

    registered: {existing}
    now also:   {new}

{consequence}
Give one of them another name, with name= in the decorator."""
_KEPT_FIRST = "The first one stays: calls by this name go to it."
_REPLACED = "The second one takes its place: calls by this name go to it from now on."


class Header:
    """Checks the arguments of a call against a function, whose parameters are read at the first check."""

    __slots__ = ("_check", "bound", "fun")

    def __init__(self, fun: Callable[..., Any], bound: bool) -> None:
        self.fun = fun
        self.bound = bound
        self._check: Callable[..., None] | None = None

    @property
    def __signature__(self) -> Any:
        from inspect import signature  # lazy, as below

        parameters = signature(self.fun)
        if self.bound:
            return parameters.replace(parameters=list(parameters.parameters.values())[1:])
        return parameters

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        check = self._check
        if check is None:
            from celerylite.utils.callargs import head_from_fun  # lazy: `inspect` takes 10 ms

            check = self._check = head_from_fun(self.fun, bound=self.bound)
        check(*args, **kwargs)


class Declaring:
    """The part of `Celery` that makes and keeps tasks."""

    #: Whether asking for the tasks finalizes the app.
    autofinalize: bool = True
    #: Whether all tasks are there: built-in, shared, declared.
    finalized: bool = False

    @overload
    def task(self: Any, fun: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self: Any, *, bind: BindTrue, **opts: Any
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
    @overload
    def task(self: Any, *, bind: BindFalse = ..., **opts: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(self: Any, *args: Any, **opts: Any) -> Any:
        """Decorator: make a task of a function. Options become attributes of the task."""
        if len(args) > 1:
            raise TypeError(f"@task() takes exactly 1 argument ({len(args) + len(opts)} given)")
        if args and not callable(args[0]):
            raise TypeError("argument 1 to @task() must be a callable")
        shared, name = opts.pop("shared", True), opts.get("name")
        opts.pop("lazy", None)  # tasks are made at once: settings are read when they are used

        def make(fun: Callable[..., Any]) -> Any:
            if shared:
                _share(fun, dict(opts))
            return self._task_from_fun(fun, **dict(opts, name=name))

        return make(args[0]) if args else make

    def _task_from_fun(
        self: Any,
        fun: Callable[..., Any],
        name: str | None = None,
        base: Any = None,
        bind: bool = False,
        pydantic: bool = False,
        pydantic_strict: bool = False,
        pydantic_context: dict[str, Any] | None = None,
        pydantic_dump_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        name = name or self.gen_task_name(fun.__name__, fun.__module__)
        base = base or self.Task
        if isinstance(fun, Task):
            return fun
        existing = self._tasks.get(name)
        if existing is not None:
            self._warn_if_duplicate_task_name(existing, fun, name)
            return existing
        run, dump = fun, None
        if pydantic:
            from celerylite.app.pydantic import dumper, wrapper  # optional dependency

            run = wrapper(self, fun, name, pydantic_strict, pydantic_context, pydantic_dump_kwargs)
            dump = dumper(self, fun, name, bind, pydantic_strict, pydantic_context, pydantic_dump_kwargs)
        attributes = {key: value for key, value in options.items() if not _left_to_config(base, key, value)}
        attributes.update(
            name=name,
            run=run if bind else staticmethod(run),
            _decorated=True,
            _dump_pydantic_arguments=staticmethod(dump) if dump else None,
            abstract=False,
            __doc__=fun.__doc__,
            __module__=fun.__module__,
            __annotations__=getattr(fun, "__annotations__", {}),
            __header__=staticmethod(Header(fun, bind)) if self.strict_typing else None,
            __wrapped__=run if bind else staticmethod(run),
        )
        # One class for each task: options are class attributes, and `on_bound` sees the task's own class.
        task = type(fun.__name__, (base,), attributes)()
        task.__name__ = fun.__name__
        task.__qualname__ = getattr(fun, "__qualname__", fun.__name__)
        return self._add_task(task, options)

    def _add_task(self: Any, task: Any, options: dict[str, Any]) -> Any:
        self._tasks[task.name] = task
        task.bind(self)
        add_autoretry_behaviour(task, **options)
        if self.finalized and self.configured:
            type(task).annotate()
        else:
            self._unannotated.append(type(task))
        return task

    def _annotate_tasks(self: Any) -> None:
        """Set `task_annotations` on the tasks that were declared since the last time."""
        if not self._unannotated:
            return
        waiting = list(self._unannotated)
        self._unannotated.clear()
        for task in waiting:
            task.annotate()

    def register_task(self: Any, task: Any, **options: Any) -> Any:
        """Register a class-based task, as a class or an instance."""
        task = task() if isinstance(task, type) else task
        cls = type(task)
        if not task.name:
            cls.name = self.gen_task_name(cls.__name__, cls.__module__)
        existing = self._tasks.get(task.name)
        if existing is not None and type(existing) is not cls:
            self._warn_duplicate_task_name(task.name, existing, cls, _REPLACED)
        for key, value in options.items():
            setattr(cls, key, value)
        return self._add_task(task, options)

    def _warn_if_duplicate_task_name(self: Any, task: Any, fun: Any, name: str) -> None:
        known = getattr(task, "__wrapped__", task)
        if known is fun or _where(known) == _where(fun):
            return
        if name not in self._duplicate_task_names_warned:
            self._duplicate_task_names_warned.add(name)
            self._warn_duplicate_task_name(name, known, fun, _KEPT_FIRST)

    def _warn_duplicate_task_name(self: Any, name: str, existing: Any, new: Any, consequence: str) -> None:
        text = _DUPLICATE.format(name=name, existing=_path(existing), new=_path(new), consequence=consequence)
        warnings.warn(text, DuplicateTaskNameWarning, stacklevel=_level_of_caller())

    def gen_task_name(self: Any, name: str, module: str) -> str:
        """The name of a task that was given none: module and function; tasks of `__main__` are the app's."""
        return gen_task_name(self, name, module)

    def type_checker(self: Any, fun: Callable[..., Any], bound: bool = False) -> Any:
        """What checks the arguments of calls."""
        return staticmethod(Header(fun, bound))

    # -- all tasks together

    @property
    def tasks(self: Any) -> Any:
        """All tasks by name; finalizes the app."""
        if not self.finalized:
            self.finalize(auto=True)
        return self._tasks

    def finalize(self: Any, auto: bool = False) -> None:
        """Make the app complete: built-in and shared tasks are registered, annotations set."""
        with self._finalize_mutex:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError(
                    "the app is not finalized, and autofinalize is off: call app.finalize() first"
                )
            self.finalized = True
            _state._announce_app_finalized(self)
            self._annotate_tasks()
            self.on_after_finalize.send(sender=self)

    def autodiscover_tasks(
        self: Any, packages: Any = None, related_name: str | None = "tasks", force: bool = False
    ) -> Any:
        """Import the module `related_name` of each package: when the worker starts, or now with `force`.

        `packages` is a list or a function that returns one; without it, the fixups are asked (Django's apps).
        """
        if force:
            return self._autodiscover_tasks(packages, related_name)
        signals.import_modules.connect(_Discovery(self, packages, related_name), weak=False, sender=self)
        return None

    def _autodiscover_tasks(self: Any, packages: Any, related_name: str | None, **kwargs: Any) -> Any:
        if packages:
            return self._autodiscover_tasks_from_names(packages, related_name)
        return self._autodiscover_tasks_from_fixups(related_name)

    def _autodiscover_tasks_from_names(self: Any, packages: Any, related_name: str | None) -> Any:
        return self.loader.autodiscover_tasks(packages() if callable(packages) else packages, related_name)

    def _autodiscover_tasks_from_fixups(self: Any, related_name: str | None) -> Any:
        names = [
            name
            for fixup in self._fixups
            if hasattr(fixup, "autodiscover_tasks")
            for name in fixup.autodiscover_tasks()
        ]
        return self._autodiscover_tasks_from_names(names, related_name)


class _Discovery:
    """A promise to look for tasks when the worker imports its modules."""

    def __init__(self, app: Celery, packages: Any, related_name: str | None) -> None:
        self.app, self.packages, self.related_name = app, packages, related_name

    def __call__(self, **kwargs: Any) -> None:
        self.app._autodiscover_tasks(self.packages, self.related_name)


def _level_of_caller() -> int:
    """The stack level of the first frame outside of this package, seen from the function that calls this
    one."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("celerylite."):
        level, frame = level + 1, frame.f_back
    return level


def _left_to_config(base: type, key: str, value: Any) -> bool:
    """None for an attribute that the configuration decides means "not given"."""
    return value is None and any(key == name for name, _ in getattr(base, "from_config", ()))


def _where(fun: Any) -> tuple[Any, Any]:
    return getattr(fun, "__module__", None), getattr(fun, "__qualname__", None)


def _path(fun: Any) -> str:
    target = fun if hasattr(fun, "__qualname__") else type(fun)
    return f"{target.__module__}.{target.__qualname__}"


def _share(fun: Callable[..., Any], opts: dict[str, Any]) -> None:
    """Also give the task to every app that is finalized from now on, as Celery does."""

    def add_to(app: Celery) -> Any:
        return app._task_from_fun(fun, **opts)

    _state.connect_on_app_finalize(add_to)


@overload
def shared_task(fun: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    *, bind: BindTrue, **kwargs: Any
) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
@overload
def shared_task(*, bind: BindFalse = ..., **kwargs: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def shared_task(*args: Any, **kwargs: Any) -> Any:
    """Decorator: make a task of a function for whatever app is current; libraries use it."""

    def make(fun: Callable[..., Any]) -> Any:
        if isinstance(fun, Proxy | Task):
            raise TypeError(f"{fun!r} is a task already: one @shared_task is enough")
        name = kwargs.get("name")

        def add_to(app: Celery) -> Any:
            return app._task_from_fun(fun, **kwargs)

        _state.connect_on_app_finalize(add_to)
        for app in list(_state._get_active_apps()):
            if app.finalized:
                add_to(app)

        def of_current_app() -> Any:
            app = _state.get_current_app()
            return app.tasks[name or app.gen_task_name(fun.__name__, fun.__module__)]

        return Proxy(of_current_app, name=fun.__name__, __doc__=fun.__doc__)

    if len(args) == 1 and callable(args[0]):
        return make(args[0])
    return make


if TYPE_CHECKING:
    from typing import Literal

    BindTrue = Literal[True]
    BindFalse = Literal[False]

__all__ = ("Declaring", "Header", "shared_task")
