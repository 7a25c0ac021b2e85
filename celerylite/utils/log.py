"""Loggers, and what shapes their lines: levels, colours, and a file-like object that writes to a logger.

Our own modules log under Celery's names (`celery.worker`, `celery.app.trace`, …), which people configure.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .term import colored

__all__ = (
    "ColorFormatter",
    "LoggingProxy",
    "base_logger",
    "set_in_sighandler",
    "in_sighandler",
    "get_logger",
    "get_task_logger",
    "mlevel",
    "get_multiprocessing_logger",
    "reset_multiprocessing_logger",
    "LOG_LEVELS",
)

#: Level numbers by name, and names by number.
LOG_LEVELS: dict[Any, Any] = {
    "CRITICAL": 50,
    "FATAL": 50,
    "ERROR": 40,
    "WARN": 30,
    "WARNING": 30,
    "INFO": 20,
    "DEBUG": 10,
    "NOTSET": 0,
    50: "CRITICAL",
    40: "ERROR",
    30: "WARNING",
    20: "INFO",
    10: "DEBUG",
    0: "NOTSET",
}

#: These belong to the library; a task logger of that name would swallow its settings.
RESERVED_LOGGER_NAMES = {"celery", "celery.task"}

_in_sighandler = False
_process_index: int | None = None


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; for one of our own, the logger of Celery's module at that place."""
    if name == "celerylite" or name.startswith("celerylite."):
        name = "celery" + name[len("celerylite") :]
    logger = logging.getLogger(name)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


base_logger = logger = get_logger("celery")
task_logger = get_logger("celery.task")
worker_logger = get_logger("celery.worker")


def get_task_logger(name: str) -> logging.Logger:
    """A logger for tasks: its lines go to `celery.task`, which adds the task's name and id."""
    if name in RESERVED_LOGGER_NAMES:
        raise RuntimeError(f"Logger name {name!r} is reserved!")
    logger = get_logger(name)
    if not logger_isa(logger, task_logger):
        logger.parent = task_logger
    return logger


def logger_isa(child: logging.Logger, ancestor: logging.Logger, max: int = 1000) -> bool:
    """Whether `child` is `ancestor`, or hands its records on to it."""
    current: logging.Logger | None = child
    for _ in range(max):
        if current is None or current is ancestor:
            break
        current = current.parent
    return current is ancestor


def mlevel(level: Any) -> Any:
    """The number of a level given by name in any case; numbers and None stay as they are."""
    if level and not isinstance(level, int):
        return LOG_LEVELS[level.upper()]
    return level


# -- signal handlers


def set_in_sighandler(value: bool) -> None:
    """Say whether a signal handler is running now: then nothing may be logged, for the lock may be taken."""
    global _in_sighandler
    _in_sighandler = value


@contextmanager
def in_sighandler() -> Iterator[None]:
    """Around the body of a signal handler: what it prints goes to the real stderr, not to a logger."""
    set_in_sighandler(True)
    try:
        yield
    finally:
        set_in_sighandler(False)


# -- lines


class ColorFormatter(logging.Formatter):
    """A formatter that colours the whole line by its level."""

    COLORS = colored().names
    colors = {
        "DEBUG": COLORS["blue"],
        "WARNING": COLORS["yellow"],
        "ERROR": COLORS["red"],
        "CRITICAL": COLORS["magenta"],
    }

    def __init__(self, fmt: str | None = None, use_color: bool = True, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's name)
        if ei and not isinstance(ei, tuple):
            ei = sys.exc_info()
        return super().formatException(ei)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        color = self.colors.get(record.levelname) if self.use_color else None
        return str(color(text)) if color is not None else text


class LoggingProxy:
    """A file that writes each line to a logger; standing in for `sys.stdout` and `sys.stderr` in workers.

    A line that is not ended yet waits for its end, or for `flush`: `print("a", "b")` writes in four pieces.
    """

    mode = "w"
    name: str | None = None
    closed = False
    loglevel = logging.ERROR
    encoding = "utf-8"
    errors = "replace"

    def __init__(self, logger: logging.Logger, loglevel: Any = None) -> None:
        self.logger = logger
        self.loglevel = mlevel(loglevel or logger.level or self.loglevel)
        self._mine = _ThreadState()

    def write(self, data: Any) -> int:
        """Log every line of `data` that is ended and not empty; the number of characters taken."""
        text = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
        if self.closed or self._mine.logging:
            return 0
        if _in_sighandler:
            # logging takes locks, and the interrupted code may hold them.
            print(text.rstrip(), file=sys.__stderr__)
            return len(text)
        lines = (self._mine.begun + text).split("\n")
        self._mine.begun = lines.pop()
        self._log(lines)
        return len(text)

    def _log(self, lines: Iterable[str]) -> None:
        # A handler that fails prints to stderr, which is this object, which would call the handler again.
        self._mine.logging = True
        try:
            for line in lines:
                if line:
                    self.logger.log(self.loglevel, "%s", line)
        finally:
            self._mine.logging = False

    def writelines(self, sequence: Iterable[str]) -> None:
        """Log each of several texts."""
        for part in sequence:
            self.write(part)

    def flush(self) -> None:
        """Log what there is of a line that is not ended."""
        begun, self._mine.begun = self._mine.begun, ""
        if begun and not self.closed and not self._mine.logging:
            self._log([begun])

    def close(self) -> None:
        """From now on, nothing is logged."""
        self.flush()
        self.closed = True

    def isatty(self) -> bool:
        """Never a terminal."""
        return False


class _ThreadState(threading.local):
    """What one thread is doing with a `LoggingProxy`."""

    logging = False
    begun = ""


# -- multiprocessing


def get_multiprocessing_logger() -> logging.Logger:
    """The logger of the standard library's multiprocessing, which tasks may use."""
    return logging.getLogger("multiprocessing")


def reset_multiprocessing_logger() -> None:
    """Kept for callers; there is nothing to reset."""


def current_process() -> Any:
    """The standard library's object for this process."""
    from multiprocessing import current_process  # 15 ms, and only workers ask

    return current_process()


def name_process(name: str, index: int | None = None) -> None:
    """Give this process the name that log lines show, and its place among the task processes (from 0)."""
    global _process_index
    current_process().name = name
    _process_index = index


def current_process_index(base: int = 1) -> int | None:
    """The place of this task process among its worker's, from `base`; None outside of task processes."""
    return _process_index + base if _process_index is not None else None


def iter_open_logger_fds() -> Iterator[Any]:
    """The streams that handlers of any logger have open: a daemon must not close them."""
    seen: set[int] = set()
    loggers = [lg for lg in logging.Logger.manager.loggerDict.values() if isinstance(lg, logging.Logger)]
    for one in [logging.root, *loggers]:
        for handler in one.handlers:
            stream = getattr(handler, "stream", None)
            if stream is not None and id(stream) not in seen:
                seen.add(id(stream))
                yield stream
