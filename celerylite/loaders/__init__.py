"""Loaders read the configuration of an app and import its modules."""

from __future__ import annotations

from typing import Any

from celerylite.utils.imports import import_from_cwd, symbol_by_name

__all__ = ("get_loader_cls",)

LOADER_ALIASES = {
    "app": "celerylite.loaders.app:AppLoader",
    "default": "celerylite.loaders.default:Loader",
}


def get_loader_cls(loader: Any) -> Any:
    """The class of a loader, by its alias or dotted path."""
    return symbol_by_name(loader, LOADER_ALIASES, imp=import_from_cwd)
