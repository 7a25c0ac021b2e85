"""Turns what stands after `-A` into an app, and what goes wrong on the way into sentences with the fix."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

import click

from celerylite.app.utils import find_app
from celerylite.loaders import get_loader_cls

if TYPE_CHECKING:
    from celerylite.app.base import Celery

HEADLINE = "\nUnable to load celery application.\n"
#: A line that makes an app: `app = Celery(…)`, at the margin.
MAKES_AN_APP = re.compile(r"^(\w+)(?:\s*:[^=\n]+)?\s*=\s*(?:\w+\.)?Celery\(", re.MULTILINE)
#: The end of the path of one more such file (below); to import kombu only to ask for it would take 20 ms.
KOMBUS = os.path.join("kombu", "utils", "imports.py")
#: Where the files are whose frames tell the user nothing: ours, and those that import modules.
MACHINERY = (
    "<frozen ",
    str(Path(__file__).resolve().parents[1]) + os.sep,
    str(Path(importlib.__file__).parent) + os.sep,
)


def load_app(name: str) -> Celery:
    """The app called `name` (`proj`, `proj.celery`, `proj:app`); raises `UsageError` with the reason."""
    if "/" in name or name.endswith(".py"):
        raise click.UsageError(_a_path(name))
    try:
        found = find_app(name)
    except ModuleNotFoundError as exc:
        module, colon, attribute = (exc.name or "").partition(":")
        if colon and module in sys.modules:
            reason = f"Module {module!r} has no attribute {attribute!r}"
            raise click.UsageError(_no_attribute(name, reason)) from exc
        if not _is_part_of(exc.name, name):
            raise click.UsageError(_failed(name, exc)) from exc
        raise click.UsageError(_not_found(name, exc.name or name)) from exc
    except AttributeError as exc:
        if _raised_by_user(exc):
            raise click.UsageError(_failed(name, exc)) from exc
        raise click.UsageError(_no_attribute(name, str(exc).replace("module", "Module", 1))) from exc
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as exc:  # user code: anything, SystemExit too
        raise click.UsageError(_failed(name, exc)) from exc
    if not is_app(found):
        raise click.UsageError(_not_an_app(name, found))
    return found


def check_loader(name: str) -> None:
    """Raise `UsageError` where `--loader` names no class."""
    try:
        get_loader_cls(name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise click.UsageError(
            f"--loader {name}: there is no such class ({exc}). Name it as module:Class, or one of app, default."
        ) from exc


def is_nobodys(name: str | None, app: Any) -> bool:
    """Whether the app is the one that is made where none was named."""
    return not name and app.main in (None, "default", "__main__")


def no_app_given() -> str:
    """The sentence for that, with a guess."""
    here = Path.cwd()
    packages = sorted(path.parent for path in here.glob("*/__init__.py"))
    found = [*apps_in_files(here), *(name for path in packages for name in apps_in_files(path, f"{path.name}."))]
    guess = found[0] if len(found) == 1 else "proj"
    return f"No app was given: name yours with -A, as in `celerylite -A {guess} worker`."


def is_app(value: Any) -> bool:
    """Whether the value is an app (or a proxy of one)."""
    return not isinstance(value, type) and hasattr(value, "send_task") and hasattr(value, "conf")


def _is_part_of(missing: str | None, name: str) -> bool:
    """Whether the missing module is the one asked for, a parent of it, or where Celery looks next."""
    module = name.partition(":")[0]
    return missing in {module, f"{module}.celery"} or module.startswith(f"{missing}.")


def _a_path(name: str) -> str:
    """`-A proj/celery.py`: the name of the module, where that can be told."""
    path, colon, variable = name.partition(":")
    parts = Path(path).with_suffix("").parts if path.endswith(".py") else Path(path).parts
    text = f"{HEADLINE}{name} is a path; -A takes the name of a module.\n"
    if parts and all(part.isidentifier() for part in parts):
        return f"{text}Did you mean -A {'.'.join(parts)}{colon}{variable}?"
    return f"{text}Name the directory with --workdir, and the module in it with -A."


def _not_found(name: str, missing: str) -> str:
    text = f"{HEADLINE}The module {name} was not found.\n"
    parent, dot, last = name.rpartition(".")
    if missing != name and dot:
        text += f"(No module named {missing!r}.)\n"
    elif parent in sys.modules:
        close = [n for n in _apps_in(sys.modules[parent]) if difflib.get_close_matches(last, [n])]
        text += f"Did you mean -A {parent}:{close[0]}?\n" if close else ""
    elif close := difflib.get_close_matches(missing, _modules_here()):
        text += f"Did you mean -A {close[0]}?\n"
    return text + (
        f"Looked in {os.getcwd()} and on sys.path. Start celerylite in the directory that holds "
        f"{missing.split('.')[0]}, or name that directory with --workdir."
    )


def _modules_here() -> list[str]:
    here = Path.cwd()
    return [*(path.stem for path in here.glob("*.py")), *(path.parent.name for path in here.glob("*/__init__.py"))]


def _no_attribute(name: str, reason: str) -> str:
    module_name = name.partition(":")[0]
    module = sys.modules.get(module_name)
    text = f"{HEADLINE}{reason}\n"
    apps = _apps_in(module) if module else []
    if apps:
        return f"{text}Did you mean -A {module_name}:{apps[0]}?"
    text += f"No app was found in {module_name}: no `app`, no `celery`, no other instance of Celery."
    made = list(apps_in_files(Path(module.__file__).parent, f"{module_name}.")) if _is_package(module) else []
    return f"{text}\nDid you mean -A {made[0]}?" if made else text


def _is_package(module: ModuleType | None) -> TypeGuard[Any]:
    return module is not None and hasattr(module, "__path__") and bool(getattr(module, "__file__", None))


def apps_in_files(directory: Path, prefix: str = "") -> Iterator[str]:
    """What `-A` could be for the apps that the Python files of a directory make, without importing any of them."""
    for path in sorted(directory.glob("*.py")):
        try:
            found = MAKES_AN_APP.search(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue  # a file that cannot be read cannot be meant
        if found:
            name = prefix.rstrip(".") if path.stem == "__init__" else f"{prefix}{path.stem}"
            yield f"{name}:{found.group(1)}"


def _apps_in(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if not name.startswith("_") and is_app(value)]


def _not_an_app(name: str, found: object) -> str:
    module_name, _, variable = name.partition(":")
    if isinstance(found, FunctionType | type):
        kind = "class" if isinstance(found, type) else "function"
        return (
            f"{HEADLINE}{name} is not a Celery app, but the {kind} {found.__name__}. celerylite does not call it.\n"
            f"Write `celery = {found.__name__}()` into the module {found.__module__}, and name that: "
            f"-A {found.__module__}:celery"
        )
    text = f"{HEADLINE}{name} is not a Celery app, but of type {type(found).__name__}.\n"
    module = sys.modules.get(module_name)
    apps = _apps_in(module) if module else []
    return text + (
        f"Did you mean -A {module_name}:{apps[0]}?"
        if apps
        else "Name the variable that holds the app: -A module:variable."
    )


def _failed(name: str, exc: BaseException) -> str:
    """The user's own lines of the traceback: without ours, click's and the import machinery's."""
    frames = [frame for frame in traceback.extract_tb(exc.__traceback__) if _is_users(frame.filename)]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    lines += traceback.format_exception_only(type(exc), exc)
    text = f"{HEADLINE}While trying to load the module {name} the following error occurred:\n{''.join(lines)}"
    place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else name
    if isinstance(exc, SyntaxError) and exc.filename:
        place = f"{exc.filename}, line {exc.lineno}"
    if isinstance(exc, ModuleNotFoundError):
        install = f"Install the package that provides {exc.name!r} in this environment"
        return f"{text}{install}, or correct the import in {place}."
    if isinstance(exc, ImportError) and "partially initialized module" in str(exc):
        return f"{text}{_circle(frames)}"
    return f"{text}Correct {place}, and try again."


def _circle(frames: list[traceback.FrameSummary]) -> str:
    """A circular import: who imports whom, and how to get out of it."""
    files = " imports ".join(dict.fromkeys(os.path.relpath(frame.filename) for frame in frames))
    return (
        f"The imports go round in a circle: {files}, which needs the first ones again.\n"
        "Make the app in a module that imports none of the tasks; let it find them with app.autodiscover_tasks() or "
        "include=[…], and let them use @shared_task or import the app."
    )


def _is_users(filename: str) -> bool:
    return not filename.startswith(MACHINERY) and not filename.endswith(KOMBUS)


def _raised_by_user(exc: BaseException) -> bool:
    """Whether the last frame of the traceback is code of the user."""
    frames = traceback.extract_tb(exc.__traceback__)
    return bool(frames) and _is_users(frames[-1].filename)
