"""An exception with its traceback, in forms that can be kept, pickled and shown elsewhere."""

from __future__ import annotations

import sys
import traceback as _traceback
from types import TracebackType
from typing import Any

__all__ = ("ExceptionInfo", "ExceptionWithTraceback", "RemoteTraceback", "Traceback")


class RemoteTraceback(Exception):
    """The traceback of an exception that was raised in another process, as its cause."""

    def __init__(self, tb: str) -> None:
        self.tb = tb
        super().__init__(tb)

    def __str__(self) -> str:
        return self.tb


class ExceptionWithTraceback(Exception):
    """An exception (`exc`) and the text of its traceback (`tb`).

    Pickled, it arrives as the exception itself, with the text as its cause.
    """

    def __init__(self, exc: BaseException, tb: Any) -> None:
        super().__init__()
        self.exc = exc
        self.tb = f'\n"""\n{tb}"""'

    def __str__(self) -> str:
        return self.tb

    def __reduce__(self) -> Any:
        return rebuild_exc, (self.exc, self.tb)


def rebuild_exc(exc: BaseException, tb: str) -> BaseException:
    """The exception, with the text of its traceback as its cause."""
    exc.__cause__ = RemoteTraceback(tb)
    return exc


class Traceback:
    """A traceback without the variables of its frames: it can be pickled, and keeps nothing alive."""

    tb_next: Traceback | None

    def __init__(self, tb: TracebackType, max_frames: int = 200, depth: int = 0) -> None:
        self.tb_frame = _Frame(tb.tb_frame)
        self.tb_lineno = tb.tb_lineno
        self.tb_lasti = tb.tb_lasti
        self.tb_next = None
        # A recursion that ran away is a thousand frames of the same.
        if tb.tb_next is not None and depth < max_frames:
            self.tb_next = Traceback(tb.tb_next, max_frames, depth + 1)


class _Code:
    def __init__(self, code: Any) -> None:
        self.co_filename = code.co_filename
        self.co_name = code.co_name
        self.co_argcount = code.co_argcount
        self.co_firstlineno = code.co_firstlineno
        self.co_flags = code.co_flags
        # What the standard library's traceback module asks for.
        self._positions = list(code.co_positions()) if hasattr(code, "co_positions") else []

    def co_positions(self) -> Any:
        """The columns of each instruction, for the marks under the line."""
        return iter(self._positions)


class _Frame:
    def __init__(self, frame: Any) -> None:
        self.f_code = _Code(frame.f_code)
        self.f_lineno = frame.f_lineno
        self.f_globals = {
            "__file__": frame.f_globals.get("__file__", "__main__"),
            "__name__": frame.f_globals.get("__name__"),
            "__loader__": None,
        }
        self.f_locals: dict[str, Any] = {}


class ExceptionInfo:
    """What is known of an exception: class (`type`), `exception`, `traceback` (text) and `tb`.

    Made from `exc_info`, or from the exception that is being handled. `exception` is wrapped so that its
    traceback survives pickling; the exception itself is `exception.exc`.
    """

    #: Whether the library, and not the task, raised it.
    internal = False

    def __init__(self, exc_info: Any = None, internal: bool = False) -> None:
        exception: Any
        self.type: Any
        self.type, exception, tb = exc_info or sys.exc_info()
        try:
            self.tb: Any = Traceback(tb) if tb is not None else None
            self.traceback = "".join(_traceback.format_exception(self.type, exception, tb))
            self.internal = internal
        finally:
            del tb
        wrapped = isinstance(exception, ExceptionWithTraceback)
        self.exception: Any = exception if wrapped else ExceptionWithTraceback(exception, self.traceback)

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.exception!r}>"

    @property
    def exc_info(self) -> tuple[Any, Any, Any]:
        """(class, exception, traceback) as `sys.exc_info` has them."""
        return self.type, self.exception, self.tb
