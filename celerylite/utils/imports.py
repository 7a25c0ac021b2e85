"""Find objects by dotted names, import from the current directory, and name tasks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module, reload
from types import ModuleType
from typing import Any

__all__ = (
    "NotAPackage",
    "qualname",
    "instantiate",
    "symbol_by_name",
    "cwd_in_path",
    "find_module",
    "import_from_cwd",
    "reload_from_cwd",
    "module_file",
    "gen_task_name",
)

#: The file that `python file.py` runs: its tasks get the module name they would have when imported.
MP_MAIN_FILE = os.environ.get("MP_MAIN_FILE")


class NotAPackage(Exception):
    """Something is to be imported from a module that has no submodules."""


def qualname(obj: Any) -> str:
    """The full dotted name of a class, function or object's class; of a module, its name."""
    if isinstance(obj, ModuleType):
        return obj.__name__
    if not hasattr(obj, "__name__") and hasattr(obj, "__class__"):
        obj = obj.__class__
    name = getattr(obj, "__qualname__", None) or obj.__name__
    return name if "." in name else f"{obj.__module__}.{name}"


def symbol_by_name(
    name: Any,
    aliases: Mapping[str, str] | None = None,
    imp: Callable[..., Any] | None = None,
    package: str | None = None,
    sep: str = ".",
    default: Any = None,
    **kwargs: Any,
) -> Any:
    """The object called "package.module:name" or "package.module.name"; anything that is no text, as it is.

    `aliases` are short names for long ones; `default` is returned where the import fails, if it is not None.
    """
    if not isinstance(name, str):
        return name
    name = (aliases or {}).get(name) or name
    sep = ":" if ":" in name else sep
    module_name, _, attribute = name.rpartition(sep)
    if not module_name:
        attribute, module_name = "", package if package else name
    try:
        try:
            module = (imp or import_module)(module_name, package=package, **kwargs)
        except ValueError as exc:
            raise ValueError(f"Couldn't import {name!r}: {exc}") from exc
        return _descend(module, attribute) if attribute else module
    except (ImportError, AttributeError):
        if default is None:
            raise
    return default


def _descend(obj: Any, path: str) -> Any:
    for part in path.split("."):
        obj = getattr(obj, part)
    return obj


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Call what `symbol_by_name` finds."""
    return symbol_by_name(name)(*args, **kwargs)


@contextmanager
def cwd_in_path() -> Iterator[None]:
    """Within it, modules of the current directory can be imported."""
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        cwd = None  # the directory was removed under us
    if not cwd or cwd in sys.path:
        yield
        return
    sys.path.insert(0, cwd)
    try:
        yield
    finally:
        try:
            sys.path.remove(cwd)
        except ValueError:
            pass  # the imported module took it out itself


def find_module(module: str, path: Any = None, imp: Callable[..., Any] | None = None) -> Any:
    """The module of that name, looked for in the current directory, too.

    NotAPackage where a submodule is asked of a module that cannot have any.
    """
    find = imp or import_module
    with cwd_in_path():
        parent, _, rest = module.partition(".")
        while rest:
            if not hasattr(find(parent), "__path__"):
                raise NotAPackage(parent)
            step, _, rest = rest.partition(".")
            parent = f"{parent}.{step}"
        return find(module)


def import_from_cwd(module: str, imp: Callable[..., Any] | None = None, package: str | None = None) -> Any:
    """Import a module that may be in the current directory."""
    with cwd_in_path():
        return (imp or import_module)(module, package=package)


def reload_from_cwd(module: ModuleType, reloader: Callable[[ModuleType], Any] | None = None) -> Any:
    """Import a module again, also from the current directory."""
    with cwd_in_path():
        return (reloader or reload)(module)


def module_file(module: ModuleType) -> str:
    """The source file of a module."""
    name = module.__file__ or ""
    return name[:-1] if name.endswith(".pyc") else name


def gen_task_name(app: Any, name: str, module_name: str | None) -> str:
    """The task name of function `name` in `module_name`.

    In the program itself (`__main__`) the module is called as the app is, if the app was given a name.
    """
    module_name = module_name or "__main__"
    module = sys.modules.get(module_name)
    if module is not None:
        if module.__name__ == "__main__" and MP_MAIN_FILE:
            if getattr(module, "__file__", None) == MP_MAIN_FILE:
                module_name = "__main__"
        else:
            module_name = module.__name__
    if module_name == "__main__" and app.main:
        module_name = app.main
    return ".".join(part for part in (module_name, name) if part)


def load_extension_class_names(namespace: str) -> Iterator[tuple[str, str]]:
    """(name, "module:class") of everything that installed packages offer under an entry point group."""
    from importlib.metadata import entry_points  # 30 ms

    for entry in entry_points(group=namespace):
        yield entry.name, entry.value


def load_extension_classes(namespace: str) -> Iterator[tuple[str, Any]]:
    """The same, loaded; what cannot be loaded gives a warning."""
    import warnings

    for name, class_name in load_extension_class_names(namespace):
        try:
            cls = symbol_by_name(class_name)
        except (ImportError, SyntaxError) as exc:
            warnings.warn(f"Cannot load {namespace} extension {class_name!r}: {exc!r}", stacklevel=2)
        else:
            yield name, cls
