"""billiard.util: the helpers that billiard shares with multiprocessing."""

from __future__ import annotations

from multiprocessing.util import (
    Finalize,
    get_logger,
    get_temp_dir,
    is_exiting,
    log_to_stderr,
    register_after_fork,
)

__all__ = ("Finalize", "get_logger", "get_temp_dir", "is_exiting", "log_to_stderr", "register_after_fork")
