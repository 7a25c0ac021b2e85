"""How a task process runs its tasks: one after the other, or in threads. How many processes there are is the
worker's business.
"""

from __future__ import annotations

from typing import Any

#: Pool names (`-P`) and the class that runs the tasks within a task process.
ALIASES = {
    "prefork": "celerylite.concurrency.solo:SoloExecutor",
    "processes": "celerylite.concurrency.solo:SoloExecutor",
    "solo": "celerylite.concurrency.solo:SoloExecutor",
    "threads": "celerylite.concurrency.thread:ThreadExecutor",
}

#: Celery's pools that celerylite does not have.
MISSING = {
    "eventlet": "eventlet is not supported; -P threads takes its place",
    "gevent": "gevent is not supported yet; -P threads takes its place",
    "custom": "custom pools plug into Celery's own process model; use -P prefork, threads or solo",
}


def get_available_pool_names() -> tuple[str, ...]:
    """The names that `-P` takes."""
    return tuple(ALIASES)


def get_implementation(name: Any) -> Any:
    """The executor class for a pool name; raises `ImproperlyConfigured` for one that is not there."""
    from celerylite.exceptions import ImproperlyConfigured
    from celerylite.utils.imports import symbol_by_name

    if not isinstance(name, str):
        return name
    if name not in ALIASES:
        names = ", ".join(ALIASES)
        raise ImproperlyConfigured(
            f"worker_pool {name!r}: {MISSING.get(name, 'there is no such pool')}. Pools: {names}."
        )
    return symbol_by_name(ALIASES[name])
