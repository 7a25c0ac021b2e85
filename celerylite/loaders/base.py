"""What all loaders do: read configuration, import the modules of tasks, and tell when worker processes
begin and end."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celerylite import signals
from celerylite.app.defaults import find
from celerylite.app.sources import read_source
from celerylite.utils.functional import maybe_list
from celerylite.utils.imports import import_from_cwd, symbol_by_name

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("BaseLoader",)

unconfigured = object()


class BaseLoader:
    """The base of loaders; projects and Django's fixup override the hooks."""

    #: Modules that are always imported.
    builtin_modules: frozenset[str] = frozenset()
    configured = False
    override_backends: dict[str, str] = {}
    worker_initialized = False
    _conf: Any = unconfigured

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        self.app = app
        self.task_modules: set[str] = set()

    def now(self, utc: bool = True) -> datetime:
        """The present, without a time zone."""
        return datetime.now(timezone.utc).replace(tzinfo=None) if utc else datetime.now()

    # -- hooks

    def on_task_init(self, task_id: str, task: Any) -> None:
        """Called before a task runs."""

    def on_process_cleanup(self) -> None:
        """Called after a task has run."""

    def on_worker_init(self) -> None:
        """Called when the worker starts."""

    def on_worker_shutdown(self) -> None:
        """Called when the worker stops."""

    def on_worker_process_init(self) -> None:
        """Called when a task process starts."""

    # -- the worker

    def init_worker(self) -> None:
        """Import the tasks, once, when the worker starts."""
        if not self.worker_initialized:
            self.worker_initialized = True
            self.import_default_modules()
            self.on_worker_init()

    def shutdown_worker(self) -> None:
        self.on_worker_shutdown()

    def init_worker_process(self) -> None:
        self.on_worker_process_init()

    # -- modules

    def import_task_module(self, module: str) -> Any:
        """Import a module of tasks, and remember it for reloads."""
        self.task_modules.add(module)
        return self.import_from_cwd(module)

    def import_module(self, module: str, package: str | None = None) -> Any:
        return importlib.import_module(module, package=package)

    def import_from_cwd(
        self, module: str, imp: Callable[..., Any] | None = None, package: str | None = None
    ) -> Any:
        return import_from_cwd(module, self.import_module if imp is None else imp, package=package)

    def import_default_modules(self) -> list[Any]:
        """Import `imports` and `include`; errors in receivers of `import_modules` are raised here."""
        for _, response in signals.import_modules.send(sender=self.app):
            if isinstance(response, Exception):
                raise response
        return [self.import_task_module(module) for module in self.default_modules]

    @property
    def default_modules(self) -> tuple[str, ...]:
        conf = self.app.conf
        named = (*self.builtin_modules, *maybe_list(conf.imports or ()), *maybe_list(conf.include or ()))
        return tuple(dict.fromkeys(named))

    def find_module(self, module: str) -> Any:
        return importlib.util.find_spec(module)

    def autodiscover_tasks(self, packages: Any, related_name: str | None = "tasks") -> None:
        """Import the related module of each package that has one."""
        found = autodiscover_tasks(packages, related_name)
        self.task_modules.update(module.__name__ for module in found if module)

    # -- configuration

    def forget_config(self) -> None:
        """Read the configuration anew when it is asked for again."""
        self._conf = unconfigured

    @property
    def conf(self) -> Any:
        """The project's configuration, as a mapping."""
        if self._conf is unconfigured:
            self._conf = self.read_configuration()
        return self._conf

    def config_from_object(self, obj: Any, silent: bool = False) -> bool:
        """Take an object, or the module or object at a dotted name, as the configuration."""
        if isinstance(obj, str):
            try:
                obj = self._smart_import(obj, imp=self.import_from_cwd)
            except (ImportError, AttributeError):
                if silent:
                    return False
                raise
        self._conf = read_source(obj)
        return True

    def _smart_import(self, path: str, imp: Callable[..., Any] | None = None) -> Any:
        imp = self.import_module if imp is None else imp
        if ":" in path:
            return symbol_by_name(path, imp=imp)
        try:
            # Not with a colon: `os.path` may be a module …
            return imp(path)
        except ImportError:
            # … or an attribute of one.
            return symbol_by_name(path, imp=imp)

    def _import_config_module(self, name: str) -> Any:
        return self.import_from_cwd(name)

    def read_configuration(self, env: str = "CELERY_CONFIG_MODULE") -> dict[str, Any]:
        """The configuration where the app was given none: the module that the environment names."""
        name = os.environ.get(env)
        return read_source(self._import_config_module(name)) if name else {}

    def cmdline_config_parser(
        self,
        args: Iterable[str],
        namespace: str = "celery",
        re_type: re.Pattern[str] = re.compile(r"\((\w+)\)"),
        extra_types: dict[str, Callable[[str], Any]] | None = None,
        override_types: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Settings from `name=value` words; `worker.concurrency=3`, or with a type,
        `broker_url=(string)x`."""
        types = {"tuple": "json", "list": "json", "dict": "json", **(override_types or {})}
        readers: dict[str, Callable[[str], Any]] = {"json": json.loads, **(extra_types or {})}
        parsed = {}
        for word in args:
            name, value = word.split("=", 1)
            name = name.lower().replace(".", "_")
            if name.startswith("_"):
                name = f"{namespace}{name}"
            found = find(name, "" if name.startswith(namespace + "_") else namespace)
            kind = re_type.match(value)
            if kind:
                reader = readers.get(types.get(kind[1], kind[1]))
                text = value[kind.end() :]
                parsed[_full_name(found)] = reader(text) if reader else text
            else:
                parsed[_full_name(found)] = _typed(found.type, value)
        return parsed


def _full_name(found: Any) -> str:
    return f"{found.namespace}_{found.key}" if found.namespace and found.namespace != "celery" else found.key


def _typed(option: Any, value: str) -> Any:
    convert = getattr(option, "to_python", None)
    return convert(value) if convert is not None else value


def autodiscover_tasks(packages: Iterable[str], related_name: str | None = "tasks") -> list[Any]:
    """The related modules of these packages, imported; None for packages that have none."""
    return [find_related_module(package, related_name) for package in packages or ()]


def find_related_module(package: str, related_name: str | None) -> Any:
    """The module `package.related_name`; the package itself must exist, and errors inside the module are
    raised."""
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        # `package` may be a class in a module, as entries of INSTALLED_APPS are.
        package, _, _ = package.rpartition(".")
        if not package:
            raise
        module = importlib.import_module(package)
    if not related_name:
        return module
    name = f"{package}.{related_name}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # Missing is fine; a module that is there and misses something else is a bug to be seen.
        if exc.name and (exc.name == name or name.startswith(f"{exc.name}.")):
            return None
        raise
