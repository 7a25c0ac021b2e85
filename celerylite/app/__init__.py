"""Apps and their parts: `Celery`, `shared_task`, `app_or_default`."""

from __future__ import annotations

from typing import Any

from celerylite import _state
from celerylite._state import (
    app_or_default,
    disable_trace,
    enable_trace,
    pop_current_task,
    push_current_task,
)
from celerylite.app.base import Celery
from celerylite.app.declaring import shared_task
from celerylite.app.utils import AppPickler
from celerylite.local import Proxy

__all__ = (
    "AppPickler",
    "Celery",
    "app_or_default",
    "bugreport",
    "default_app",
    "disable_trace",
    "enable_trace",
    "pop_current_task",
    "push_current_task",
    "shared_task",
)

#: The app that is current where nothing else was chosen.
default_app: Any = Proxy(lambda: _state.default_app)


def bugreport(app: Celery | None = None) -> str:
    """Versions and settings of an app."""
    return app_or_default(app).bugreport()
