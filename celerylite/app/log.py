"""Logging of workers and tasks, `app.log`: handlers, formats and colours, and what tasks print.

Whoever connects to the signal `setup_logging` does it all alone; `after_setup_logger` and
`after_setup_task_logger` let one add to what is done here. A configuration that the project has made before (the root
logger has handlers) is left alone.
"""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from typing import Any

from .. import context, signals
from ..platforms import IS_WINDOWS, isatty
from ..utils.json_lines import JsonFormatter
from ..utils.log import (
    ColorFormatter,
    LoggingProxy,
    get_logger,
    get_multiprocessing_logger,
    mlevel,
)
from ..utils.nodenames import node_format
from ..utils.term import colored

__all__ = ("TaskFormatter", "Logging")

#: Set to see what multiprocessing does.
MP_LOG = os.environ.get("MP_LOG", False)


class TaskFormatter(ColorFormatter):
    """A formatter that knows the running task: `task_name` and `task_id`, and ??? outside of tasks."""

    def format(self, record: logging.LogRecord) -> str:
        running = context.top()
        if running is not None:
            record.__dict__.update(task_id=running.context.id, task_name=running.task.name)
        else:
            record.__dict__.setdefault("task_name", "???")
            record.__dict__.setdefault("task_id", "???")
        return super().format(record)


class Logging:
    """The logging of an app. It is set up once in a process, for whichever app comes first."""

    #: Whether logging was set up in this process; shared by all apps, as loggers are.
    _setup = False
    #: The handlers that we made in this process, or in the one that it was forked from, and where they are.
    _handlers: list[tuple[logging.Logger, logging.Handler]] = []
    #: Whether the project has configured logging; found out once, for `after_setup_logger` may add handlers.
    _configured: bool | None = None

    def __init__(self, app: Any) -> None:
        self.app = app
        self.loglevel = mlevel(logging.WARNING)
        self.format = app.conf.worker_log_format
        self.task_format = app.conf.worker_task_log_format
        self.colorize = app.conf.worker_log_color

    def setup(
        self,
        loglevel: Any = None,
        logfile: Any = None,
        redirect_stdouts: bool = False,
        redirect_level: Any = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> Any:
        """Set logging up, with what is printed going to the log, too; what `setup_logging_subsystem` returns.

        The choices are left in the environment, for the processes that we start.
        """
        loglevel = mlevel(loglevel)
        handled = self.setup_logging_subsystem(loglevel, logfile, colorize=colorize, hostname=hostname)
        if not handled and redirect_stdouts:
            self.redirect_stdouts(redirect_level)
        os.environ.update(
            CELERY_LOG_LEVEL=str(loglevel) if loglevel else "",
            CELERY_LOG_FILE=str(logfile) if logfile else "",
        )
        return handled

    def setup_process(self, hostname: str | None = None) -> Any:
        """Set logging up again in a process that a worker started, with the choices made in the worker.

        The log file may have another name here (`%i`), and a file opened before forking is shared.
        """
        environ = os.environ
        self.already_setup = False
        for owner, handler in self._handlers:
            handler.close()  # our copy of the file that our parent has open
            owner.removeHandler(handler)
        self._handlers.clear()
        return self.setup(
            int(environ.get("CELERY_LOG_LEVEL") or 0) or None,
            environ.get("CELERY_LOG_FILE") or None,
            bool(environ.get("CELERY_LOG_REDIRECT")),
            environ.get("CELERY_LOG_REDIRECT_LEVEL") or "WARNING",
            hostname=hostname,
        )

    def redirect_stdouts(self, loglevel: Any = None, name: str = "celery.redirected") -> None:
        """From now on, what is printed goes to the logger `name`."""
        self.redirect_stdouts_to_logger(get_logger(name), loglevel=loglevel)
        os.environ.update(CELERY_LOG_REDIRECT="1", CELERY_LOG_REDIRECT_LEVEL=str(loglevel or ""))

    def setup_logging_subsystem(
        self,
        loglevel: Any = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        hostname: str | None = None,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Set up the loggers, unless a receiver of `setup_logging` does.

        The list of those receivers (empty: we did it ourselves), True where the project's configuration was left as
        it is, or None where it was done before.
        """
        if self.already_setup:
            return None
        if logfile and hostname:
            logfile = node_format(logfile, hostname)
        self.already_setup = True
        loglevel = mlevel(loglevel or self.loglevel)
        format = format or self.format
        datefmt = datefmt or self.app.conf.worker_log_datefmt
        colorize = self.supports_color(colorize, logfile)
        choices = {"loglevel": loglevel, "logfile": logfile, "format": format, "colorize": colorize}
        receivers = signals.setup_logging.send(sender=None, **choices)
        if receivers:
            return receivers
        if self._is_users():
            return True
        self._setup_loggers(choices, datefmt, **kwargs)
        return receivers

    def left_alone(self) -> str | None:
        """A sentence for the user where the project's own configuration is used; else None."""
        if not Logging._configured:
            return None
        names = ", ".join(type(handler).__name__ for handler in logging.getLogger().handlers)
        return (
            f"Logging is as the project has configured it (root logger: {names}): --loglevel, --logfile and "
            "--log-format have no effect. worker_hijack_root_logger = True lets celerylite set it up."
        )

    def _is_users(self) -> bool:
        """Whether the project has configured logging and has not said that we may take it over."""
        conf = self.app.conf
        if not conf.worker_hijack_root_logger or conf.value_set_for("worker_hijack_root_logger"):
            return False  # it says what it wants, as in Celery
        if Logging._configured is None:
            Logging._configured = any(_is_deliberate(handler) for handler in logging.getLogger().handlers)
        return Logging._configured

    def _setup_loggers(self, choices: dict[str, Any], datefmt: str | None, **kwargs: Any) -> None:
        root = logging.getLogger()
        if self.app.conf.worker_log_json:
            logging.captureWarnings(True)  # else they would be printed between the lines
        if self.app.conf.worker_hijack_root_logger:
            root.handlers = []
            for name in ("celery", "celery.task", "celery.redirected"):
                get_logger(name).handlers = []
        multiprocessing_logger = get_multiprocessing_logger()
        for one in (root, multiprocessing_logger):
            self.setup_handlers(
                one, choices["logfile"], choices["format"], choices["colorize"], datefmt=datefmt, **kwargs
            )
        root.setLevel(choices["loglevel"])
        multiprocessing_logger.setLevel(choices["loglevel"] if MP_LOG else logging.ERROR)
        multiprocessing_logger.propagate = False
        signals.after_setup_logger.send(sender=None, logger=root, **choices)
        self.setup_task_loggers(choices["loglevel"], choices["logfile"], colorize=choices["colorize"])

    def setup_task_loggers(
        self,
        loglevel: Any = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        propagate: bool = False,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Set up the logger of tasks, whose lines show the task's name and id."""
        loglevel = mlevel(loglevel or self.loglevel)
        format = format or self.task_format
        colorize = self.supports_color(colorize, logfile)
        logger = self.setup_handlers(
            get_logger("celery.task"),
            logfile,
            format,
            colorize,
            formatter=TaskFormatter,
            datefmt=datefmt or self.app.conf.worker_task_log_datefmt,
            **kwargs,
        )
        logger.setLevel(loglevel)
        logger.propagate = propagate
        signals.after_setup_task_logger.send(
            sender=None, logger=logger, loglevel=loglevel, logfile=logfile, format=format, colorize=colorize
        )
        return logger

    def redirect_stdouts_to_logger(
        self, logger: logging.Logger, loglevel: Any = None, stdout: bool = True, stderr: bool = True
    ) -> LoggingProxy:
        """Put a file that logs in the place of standard output and standard error."""
        proxy = LoggingProxy(logger, loglevel)
        if stdout:
            sys.stdout = proxy
        if stderr:
            sys.stderr = proxy
        return proxy

    def supports_color(self, colorize: bool | None = None, logfile: Any = None) -> bool:
        """Whether to use colours: where we write to a terminal, and unless someone said otherwise."""
        colorize = self.colorize if colorize is None else colorize
        if IS_WINDOWS:
            return False
        if colorize or colorize is None:
            # Never in a file, nor in what is piped somewhere.
            return not logfile and isatty(sys.stderr)
        return bool(colorize)

    def colored(self, logfile: Any = None, enabled: bool | None = None) -> colored:
        """What paints text, if it should be painted."""
        return colored(enabled=self.supports_color(enabled, logfile))

    def setup_handlers(
        self,
        logger: logging.Logger,
        logfile: Any,
        format: str,
        colorize: bool,
        formatter: type[logging.Formatter] = ColorFormatter,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Give a logger that has no handler one that writes to `logfile` (or standard error)."""
        if not self._is_configured(logger):
            handler = self._detect_handler(logfile)
            if self.app.conf.worker_log_json:
                formatter = JsonFormatter
            handler.setFormatter(formatter(format, use_color=colorize, datefmt=datefmt))  # type: ignore[call-arg]
            logger.addHandler(handler)
            self._handlers.append((logger, handler))
        return logger

    def _detect_handler(self, logfile: Any = None) -> logging.Handler:
        """A handler for an open file, or for a name: such a file may be moved away and is made anew."""
        logfile = sys.__stderr__ if logfile is None else logfile
        if hasattr(logfile, "write"):
            return logging.StreamHandler(logfile)
        return WatchedFileHandler(logfile, encoding="utf-8")

    def _has_handler(self, logger: logging.Logger) -> bool:
        return any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers)

    def _is_configured(self, logger: logging.Logger) -> bool:
        return self._has_handler(logger) and not getattr(logger, "_rudimentary_setup", False)

    def get_default_logger(self, name: str = "celery", **kwargs: Any) -> logging.Logger:
        """The logger that everything of the library is under."""
        return get_logger(name)

    @property
    def already_setup(self) -> bool:
        """Whether logging was set up in this process."""
        return Logging._setup

    @already_setup.setter
    def already_setup(self, was_setup: bool) -> None:
        Logging._setup = was_setup


def _is_deliberate(handler: logging.Handler) -> bool:
    """Whether somebody chose this handler: not what `logging.info("…")` at import leaves behind, nor pytest's."""
    if isinstance(handler, logging.NullHandler) or type(handler).__module__.startswith("_pytest."):
        return False
    form = getattr(handler.formatter, "_fmt", None)
    return not (type(handler) is logging.StreamHandler and form == logging.BASIC_FORMAT)
