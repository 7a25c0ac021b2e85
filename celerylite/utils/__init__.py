"""Helpers. Each lives in a module of its own; the names below are offered here, too, as Celery does."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .functional import chunks as chunks
    from .functional import memoize as memoize
    from .functional import noop as noop
    from .imports import gen_task_name as gen_task_name
    from .imports import import_from_cwd as import_from_cwd
    from .imports import instantiate as instantiate
    from .imports import qualname as get_full_cls_name
    from .imports import symbol_by_name as get_cls_by_name
    from .log import LOG_LEVELS as LOG_LEVELS
    from .nodenames import nodename as nodename
    from .nodenames import nodesplit as nodesplit
    from .nodenames import worker_direct as worker_direct
    from .objects import cached_property as cached_property
    from .uuids import gen_unique_id as gen_unique_id
    from .uuids import uuid as uuid

__all__ = (
    "LOG_LEVELS",
    "cached_property",
    "chunks",
    "gen_task_name",
    "gen_unique_id",
    "get_cls_by_name",
    "get_full_cls_name",
    "import_from_cwd",
    "instantiate",
    "memoize",
    "nodename",
    "nodesplit",
    "noop",
    "uuid",
    "worker_direct",
)

#: Where each name is, and what it is called there.
_HOME = {
    "LOG_LEVELS": ("log", "LOG_LEVELS"),
    "cached_property": ("objects", "cached_property"),
    "chunks": ("functional", "chunks"),
    "gen_task_name": ("imports", "gen_task_name"),
    "gen_unique_id": ("uuids", "gen_unique_id"),
    "get_cls_by_name": ("imports", "symbol_by_name"),
    "get_full_cls_name": ("imports", "qualname"),
    "import_from_cwd": ("imports", "import_from_cwd"),
    "instantiate": ("imports", "instantiate"),
    "memoize": ("functional", "memoize"),
    "nodename": ("nodenames", "nodename"),
    "nodesplit": ("nodenames", "nodesplit"),
    "noop": ("functional", "noop"),
    "uuid": ("uuids", "uuid"),
    "worker_direct": ("nodenames", "worker_direct"),
}


def __getattr__(name: str) -> Any:
    # Late, because every module of this package comes past here when it is imported.
    try:
        module, attribute = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    found = globals()[name] = getattr(import_module(f".{module}", __name__), attribute)
    return found
