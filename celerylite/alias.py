"""Lets a project go on saying `celery`: `import celery.x` gives the very module object of `celerylite.x`.

Opt-in, for one process, by one call before anything imports celery. An installed Celery stays as it is on
disk and is not seen by this process. What celerylite lacks is missing under `celery` too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import Distribution, DistributionFinder

__all__ = ("install_as_celery", "installed", "real_name", "wanted_by_environment")

#: The names we answer to, and the package behind each. vine is not among them: kombu brings it.
ALIASES = {"celery": "celerylite", "billiard": "celerylite.shims.billiard"}

#: Set to 1 to have the alias in a worker, and in every process it starts, without touching the project.
ENVIRONMENT_VARIABLE = "CELERYLITE_AS_CELERY"

#: Tracing tools whose import hooks stay in front of ours, for they wait to see `celery.*` being imported.
IMPORT_HOOKS = frozenset({"ddtrace"})

#: New Relic's hooks go by the module's own name, which is ours; they are told by us (`_tell_new_relic`).
NEW_RELIC_HOOKS = "newrelic.api.import_hook"

#: Modules that such tools wait for. celerylite imports them under its own name, which would wake nobody.
AWAITED_MODULES = (
    "celery.local",
    "celery.app.trace",
    "celery.loaders.base",
    "celery.worker",
    "celery.concurrency.prefork",
    "celery.beat",
    "billiard.pool",
)


def install_as_celery() -> None:
    """Make `import celery` (and `billiard`) mean celerylite in this process; again changes nothing."""
    if installed():
        return
    for name in ALIASES:
        if name in sys.modules:
            raise ImportError(_already_imported(name), name=name)
    position = _behind_import_hooks()
    sys.meta_path.insert(position, AliasFinder())
    # What was looked up before may have been cached as "not there" by the path finders.
    importlib.invalidate_caches()
    if position or NEW_RELIC_HOOKS in sys.modules:
        _wake_import_hooks()


def installed() -> bool:
    """Whether `celery` means celerylite in this process."""
    return any(isinstance(finder, AliasFinder) for finder in sys.meta_path)


def wanted_by_environment() -> bool:
    """Whether `CELERYLITE_AS_CELERY` asks for the alias; the command line and the pytest plugin look here."""
    return os.environ.get(ENVIRONMENT_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


def real_name(fullname: str) -> str | None:
    """The module that stands behind `fullname`; None when it is not one of the names we answer to."""
    top, dot, rest = fullname.partition(".")
    target = ALIASES.get(top)
    return None if target is None else target + dot + rest


class AliasFinder:
    """First on `sys.meta_path`: answers for `celery` and everything below it, and leaves the rest alone."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec that loads the module behind the name; raises when celerylite has none."""
        real = real_name(fullname)
        if real is None:
            return None
        found = _find(real)
        if found is None:
            # Returning None would let the path finder load a second copy of our files under celery's name.
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: here 'celery' is celerylite, which has no module {real!r}",
                name=fullname,
            )
        loader: Any = AliasLoader(fullname, real)
        spec = ModuleSpec(fullname, loader, origin=found.origin)
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    @classmethod
    def find_distributions(cls, context: DistributionFinder.Context) -> Iterable[Distribution]:
        """Installed packages by these names, so that `version("celery")` and `celery>=5` are answered."""
        # importlib.metadata takes longer to import than the rest of this module; few processes ask.
        from .shims.metadata import distributions

        return distributions(context)

    @classmethod
    def invalidate_caches(cls) -> None:
        """Nothing is cached here; importlib calls this on every finder."""


class AliasLoader:
    """Hands out the module that is already there (or imports it) instead of making a new one."""

    def __init__(self, alias: str, real: str) -> None:
        self.alias = alias
        self.real = real
        self._own_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The real module. importlib will overwrite its `__spec__`, so that is kept for `exec_module`."""
        module = importlib.import_module(self.real)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """The module has run under its own name; only its identity card is put back."""
        module.__spec__ = self._own_spec
        _tell_new_relic(self.alias, module)

    def get_code(self, fullname: str) -> CodeType | None:
        """What `runpy` runs for `python -m celery`-like calls inside this process."""
        spec = _find(self.real)
        loader: Any = spec.loader if spec is not None else None
        return None if loader is None else loader.get_code(self.real)

    def is_package(self, fullname: str) -> bool:
        """Whether the module behind the name has submodules (asked by `pkgutil` and `inspect`)."""
        spec = _find(self.real)
        return spec is not None and spec.submodule_search_locations is not None


def _find(name: str) -> ModuleSpec | None:
    """The spec of one of our modules; None when it, or a package above it, does not exist."""
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as exc:
        if not _is_above(exc.name, name):
            raise  # a module that it imports is missing: a fault to be seen
        return None


def _is_above(missing: str | None, name: str) -> bool:
    """Whether `missing` is the module itself or a package it would be in."""
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _behind_import_hooks() -> int:
    """Where our finder goes: first, except for the hooks of tracing tools."""
    for position, finder in enumerate(sys.meta_path):
        owner = finder if isinstance(finder, type) else type(finder)
        if owner.__module__.partition(".")[0] not in IMPORT_HOOKS:
            return position
    return len(sys.meta_path)


def _wake_import_hooks() -> None:
    """Import under celery's name what a tracing tool waits for, as far as celerylite has it."""
    for name in AWAITED_MODULES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as exc:
            if not _is_above(exc.name, name):
                raise


def _tell_new_relic(name: str, module: ModuleType) -> None:
    hooks = sys.modules.get(NEW_RELIC_HOOKS)
    if hooks is not None:
        hooks._notify_import_hooks(name, module)


def _already_imported(name: str) -> str:
    module = sys.modules[name]
    place = getattr(module, "__file__", None) or "an unknown place"
    return (
        f"cannot make {name!r} mean celerylite: it was already imported from {place}. "
        "Call celerylite.install_as_celery() before anything imports celery, on the project's first line."
    )
