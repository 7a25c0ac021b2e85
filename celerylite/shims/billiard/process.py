"""billiard.process: the running process as multiprocessing knows it."""

from __future__ import annotations

from multiprocessing import Process, active_children, current_process

__all__ = ("Process", "active_children", "current_process")
