"""Result stores: what keeps the results of tasks, and `by_url`, which finds one by its name or URL.

    redis://  rediss://  redis+socket://  sentinel://    backends.redis
    redis+cluster://  rediss+cluster://                  backends.redis_cluster
    sqlite:///FILE                                       backends.sqlite
    rpc://                                               backends.rpc (messages back to the caller)
    cache+memory://                                      backends.cache (within one process)
    disabled://, or no setting at all                    backends.base.DisabledBackend
    package.module:Class                                 any class of your own

Other packages add names with the entry points `celerylite.result_backends` and `celery.result_backends`.
"""

from __future__ import annotations

from typing import Any

from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.imports import load_extension_class_names, symbol_by_name

__all__ = ("by_name", "by_url")

BACKEND_ALIASES = {
    "redis": "celerylite.backends.redis:RedisBackend",
    "rediss": "celerylite.backends.redis:RedisBackend",
    "socket": "celerylite.backends.redis:RedisBackend",
    "sentinel": "celerylite.backends.redis:SentinelBackend",
    "redis+cluster": "celerylite.backends.redis_cluster:ClusterBackend",
    "rediss+cluster": "celerylite.backends.redis_cluster:ClusterBackend",
    "sqlite": "celerylite.backends.sqlite:SqliteBackend",
    "cache": "celerylite.backends.cache:CacheBackend",
    "rpc": "celerylite.backends.rpc:RPCBackend",
    "disabled": "celerylite.backends.base:DisabledBackend",
}

#: Entry point groups; ours goes before Celery's.
EXTENSIONS = ("celery.result_backends", "celerylite.result_backends")

UNKNOWN_BACKEND = "Unknown result backend: {0!r}.  Did you spell that correctly? ({1})"


def by_name(backend: Any = None, loader: Any = None, extension_namespace: str | None = None) -> Any:
    """The class of a result store, by its short name or by "module:Class"; a class is returned as it is."""
    if backend is not None and not isinstance(backend, str):
        return backend
    name = backend or "disabled"
    aliases = _aliases(name, loader, extension_namespace)
    if name not in aliases and ":" not in name and "." not in name:
        raise _unknown(name, "these are known: " + ", ".join(sorted(aliases)))
    try:
        found = symbol_by_name(name, aliases)
    except (ImportError, AttributeError, ValueError) as exc:
        raise _unknown(name, str(exc)) from exc
    if not isinstance(found, type):
        raise _unknown(name, "is a Python module, not a backend class.")
    return found


def by_url(backend: Any = None, loader: Any = None) -> tuple[Any, str | None]:
    """The class of a result store and its URL; "redis+socket://…" becomes "socket://…"."""
    if not isinstance(backend, str) or "://" not in backend:
        return by_name(backend, loader), None
    url, scheme = backend, backend.partition("://")[0]
    if "+" in scheme and scheme not in BACKEND_ALIASES:
        scheme, url = url.split("+", 1)
    return by_name(scheme, loader), url


def _aliases(name: str, loader: Any, extension_namespace: str | None) -> dict[str, str]:
    aliases = dict(BACKEND_ALIASES)
    aliases.update(getattr(loader, "override_backends", None) or {})
    if name not in aliases:  # reading entry points takes milliseconds
        for group in (extension_namespace,) if extension_namespace else EXTENSIONS:
            aliases.update(load_extension_class_names(group))
    return aliases


def _unknown(name: str, why: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(UNKNOWN_BACKEND.format(name, why))
