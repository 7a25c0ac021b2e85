"""celerylite: Celery's names, settings and messages on a shorter road.

Nothing is imported before it is used, so that a program that only calls tasks starts quickly.
"""

from __future__ import annotations

import sys

# Not from `typing`, which takes longer to import than all the rest of this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from celerylite._state import current_app, current_task
    from celerylite.app import bugreport, shared_task
    from celerylite.app.base import Celery
    from celerylite.app.task import Task
    from celerylite.canvas import Signature, chain, chord, chunks, group, maybe_signature, signature, subtask
    from celerylite.utils import uuid

#: The version of Celery whose behaviour this is; packages that ask for Celery's version get a true answer.
__version__ = "5.7.0"
#: The version of celerylite itself.
__celerylite_version__ = "0.1.0"
SERIES = "celerylite"


VERSION_BANNER = f"{__version__} ({SERIES} {__celerylite_version__})"

__all__ = (
    "Celery",
    "Signature",
    "Task",
    "bugreport",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "uuid",
)

#: Public name → module that has it.
_NAMES = {
    "Celery": "celerylite.app.base",
    "bugreport": "celerylite.app",
    "shared_task": "celerylite.app",
    "Task": "celerylite.app.task",
    "current_app": "celerylite._state",
    "current_task": "celerylite._state",
    "Signature": "celerylite.canvas",
    "chain": "celerylite.canvas",
    "chord": "celerylite.canvas",
    "chunks": "celerylite.canvas",
    "group": "celerylite.canvas",
    "maybe_signature": "celerylite.canvas",
    "signature": "celerylite.canvas",
    "subtask": "celerylite.canvas",
    "xmap": "celerylite.canvas",
    "xstarmap": "celerylite.canvas",
    "uuid": "celerylite.utils",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in ("VERSION", "version_info", "version_info_t"):
        return _version(name)
    module = _NAMES.get(name)
    if module is not None:
        value = getattr(importlib.import_module(module), name)
        globals()[name] = value
        return value
    # Modules are attributes too: `celerylite.signals` without importing it by name.
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"celerylite.{name}")
        except ModuleNotFoundError as exc:
            if exc.name != f"celerylite.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version(name: str) -> Any:
    from collections import namedtuple

    version_info_t = namedtuple("version_info_t", ("major", "minor", "micro", "releaselevel", "serial"))
    major, minor, micro = map(int, __version__.split("."))
    known: dict[str, Any] = {"version_info_t": version_info_t}
    known["VERSION"] = version_info_t(major, minor, micro, "", "")
    known["version_info"] = known["VERSION"]
    globals().update(known)
    return known[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, "VERSION", "version_info", "version_info_t"})


def _find_option_with_arg(
    argv: list[str], short_opts: list[str] | None = None, long_opts: list[str] | None = None
) -> str:
    """The value of an option on a command line that is not parsed yet; KeyError where it is not there."""
    for position, word in enumerate(argv):
        if not word.startswith("-"):
            continue
        if long_opts and word.startswith("--"):
            name, equals, value = word.partition("=")
            if name in long_opts:
                return value if equals else argv[position + 1]
        if short_opts and word in short_opts:
            return argv[position + 1]
        for option in short_opts or ():
            if word.startswith(option) and not word.startswith("--"):
                return word[len(option) :]
    raise KeyError("|".join([*(short_opts or ()), *(long_opts or ())]))


def maybe_patch_concurrency(
    argv: list[str] | None = None,
    short_opts: list[str] | None = None,
    long_opts: list[str] | None = None,
    patches: dict[str, Any] | None = None,
) -> None:
    """Patch the standard library for `-P gevent` or `-P eventlet`; must come before other imports."""
    from celerylite import concurrency

    argv = argv if argv is not None else sys.argv
    try:
        pool = _find_option_with_arg(argv, short_opts or ["-P"], long_opts or ["--pool"])
    except (KeyError, IndexError):
        return
    if patches is None:
        patches = {"gevent": _patch_gevent}
    patch = patches.get(pool)
    if patch is not None:
        patch()
    concurrency.get_implementation(pool)


def _patch_gevent() -> None:
    from importlib import import_module

    import_module("gevent.monkey").patch_all()
