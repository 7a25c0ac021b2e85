"""A module that a worker imports only when it is told to (`-I tests.support.sideload`)."""

from __future__ import annotations

import os
from importlib import import_module

shared_task = import_module(os.environ["QUEUE_LIB"]).shared_task


@shared_task(name="t.sideloaded")
def sideloaded() -> str:
    """Proves the import."""
    return "side"
