"""Modules with tasks that are imported, or imported anew, while a worker runs (`pool_restart`)."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerylite.app.base import Celery

logger = logging.getLogger("celery.worker")


def reload_modules(
    app: Celery,
    modules: Iterable[str] | None = None,
    reload: bool = False,
    reloader: Callable[[Any], object] | None = None,
) -> None:
    """Import modules that are not imported yet, and with `reload` the others anew; by default those with tasks.

    Raises whatever they raise.
    """
    for name in list(app.loader.task_modules if modules is None else modules):
        if name not in sys.modules:
            logger.debug("importing module %s", name)
            app.loader.import_from_cwd(name)
        elif reload:
            logger.debug("reloading module %s", name)
            (reloader or importlib.reload)(sys.modules[name])
