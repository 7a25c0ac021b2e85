"""billiard.einfo: an exception with its traceback, the classes that celerylite itself uses."""

from __future__ import annotations

from celerylite.utils.einfo import ExceptionInfo, ExceptionWithTraceback

__all__ = ("ExceptionInfo", "ExceptionWithTraceback")
