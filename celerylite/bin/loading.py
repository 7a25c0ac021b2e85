"""Turns what stands after `-A` into an app, and what goes wrong on the way into sentences with the fix."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import kombu.utils.imports

from celerylite.app.utils import find_app

if TYPE_CHECKING:
    from celerylite.app.base import Celery

HEADLINE = "\nUnable to load celery application.\n"
#: Where the files are whose frames tell the user nothing: ours, and those that import modules.
MACHINERY = (
    "<frozen ",
    str(Path(__file__).resolve().parents[1]) + os.sep,
    str(Path(importlib.__file__).parent) + os.sep,
    kombu.utils.imports.__file__,
)


def load_app(name: str) -> Celery:
    """The app called `name` (`proj`, `proj.celery`, `proj:app`); raises `UsageError` with the reason."""
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


def is_app(value: Any) -> bool:
    """Whether the value is an app (or a proxy of one)."""
    return not isinstance(value, type) and hasattr(value, "send_task") and hasattr(value, "conf")


def _is_part_of(missing: str | None, name: str) -> bool:
    """Whether the missing module is the one asked for, a parent of it, or where Celery looks next."""
    module = name.partition(":")[0]
    return missing in {module, f"{module}.celery"} or module.startswith(f"{missing}.")


def _not_found(name: str, missing: str) -> str:
    text = f"{HEADLINE}The module {name} was not found.\n"
    parent, dot, last = name.rpartition(".")
    if missing != name and dot:
        text += f"(No module named {missing!r}.)\n"
    elif parent in sys.modules:
        close = [n for n in _apps_in(sys.modules[parent]) if difflib.get_close_matches(last, [n])]
        text += f"Did you mean -A {parent}:{close[0]}?\n" if close else ""
    return text + (
        f"Looked in {os.getcwd()} and on sys.path. Start celerylite in the directory that holds "
        f"{missing.split('.')[0]}, or name that directory with --workdir."
    )


def _no_attribute(name: str, reason: str) -> str:
    module_name = name.partition(":")[0]
    module = sys.modules.get(module_name)
    text = f"{HEADLINE}{reason}\n"
    apps = _apps_in(module) if module else []
    if apps:
        return f"{text}Did you mean -A {module_name}:{apps[0]}?"
    return f"{text}No app was found in {module_name}: no `app`, no `celery`, no other instance of Celery."


def _apps_in(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if not name.startswith("_") and is_app(value)]


def _not_an_app(name: str, found: object) -> str:
    text = f"{HEADLINE}{name} is not a Celery app, but of type {type(found).__name__}.\n"
    module_name = name.partition(":")[0]
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
    if isinstance(exc, ModuleNotFoundError):
        install = f"Install the package that provides {exc.name!r} in this environment"
        return f"{text}{install}, or correct the import in {place}."
    return f"{text}Correct {place}, and try again."


def _is_users(filename: str) -> bool:
    return not filename.startswith(MACHINERY)


def _raised_by_user(exc: BaseException) -> bool:
    """Whether the last frame of the traceback is code of the user."""
    frames = traceback.extract_tb(exc.__traceback__)
    return bool(frames) and _is_users(frames[-1].filename)
