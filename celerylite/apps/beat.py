"""Beat as a program: the command line's beat, with logging, a banner, a pid file and its signals."""

from __future__ import annotations

import logging
import os
import socket
import sys
from datetime import datetime
from signal import Signals
from typing import Any

import celerylite
from celerylite import beat, brokers, platforms
from celerylite._state import get_current_app
from celerylite.utils.imports import qualname
from celerylite.utils.log import LOG_LEVELS, get_logger
from celerylite.utils.time import humanize_seconds

__all__ = ("Beat",)

logger = get_logger("celery.beat")

RULE = "__    -    ... __   -        _"


class Beat:
    """What `celerylite beat` runs (`app.Beat`). Keywords are those of Celery's."""

    Service: Any = beat.Service
    #: Set in the subclasses that an app makes.
    app: Any = None

    def __init__(
        self,
        max_interval: float | None = None,
        app: Any = None,
        socket_timeout: int = 30,
        pidfile: str | None = None,
        no_color: bool | None = None,
        loglevel: Any = "WARN",
        logfile: str | None = None,
        schedule: str | None = None,
        scheduler: Any = None,
        scheduler_cls: Any = None,
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: Any = None,
        quiet: bool = False,
        remote_control: bool | None = None,
        hostname: str | None = None,
        log_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app or self.app or get_current_app()
        conf = self.app.conf
        if log_format:
            conf.worker_log_json = log_format == "json"
        self.loglevel = LOG_LEVELS[loglevel.upper()] if isinstance(loglevel, str) else loglevel
        self.logfile = logfile
        self.pidfile = pidfile
        self.schedule = schedule or conf.beat_schedule_filename
        self.scheduler_cls = scheduler or scheduler_cls or conf.beat_scheduler
        self.redirect_stdouts = conf.worker_redirect_stdouts if redirect_stdouts is None else redirect_stdouts
        self.redirect_stdouts_level = redirect_stdouts_level or conf.worker_redirect_stdouts_level
        self.quiet = quiet or conf.worker_log_json  # then every line shall be JSON
        self.max_interval = max_interval
        self.socket_timeout = socket_timeout
        self.no_color = no_color
        self.remote_control = remote_control
        self.hostname = hostname

    def run(self) -> None:
        """Start, and return when beat has ended."""
        if not self.quiet:
            self._say(f"celerylite beat v{celerylite.VERSION_BANNER} is starting.")
        self.init_loader()
        self.set_process_title()
        self.start_scheduler()

    def init_loader(self) -> None:
        """Import the project's tasks."""
        self.app.loader.init_worker()
        self.app.finalize()

    def set_process_title(self) -> None:
        """What `ps` shows."""
        arguments = f"{os.path.basename(sys.argv[0])} {platforms.strargv(sys.argv)}" if len(sys.argv) > 1 else ""
        platforms.set_process_title("celery beat", arguments)

    def setup_logging(self, colorize: bool | None = None) -> None:
        """Set up the loggers unless the user does."""
        if colorize is None and self.no_color is not None:
            colorize = not self.no_color
        handled = self.app.log.setup(self.loglevel, self.logfile, redirect_stdouts=False, colorize=colorize)
        if self.redirect_stdouts and not handled:
            self.app.log.redirect_stdouts(self.redirect_stdouts_level)

    def start_scheduler(self) -> None:
        """Tick until a signal ends it."""
        if self.pidfile:
            platforms.create_pidlock(self.pidfile)
        service = self.Service(
            app=self.app,
            max_interval=self.max_interval,
            scheduler_cls=self.scheduler_cls,
            schedule_filename=self.schedule,
            remote_control=self.remote_control,
            hostname=self.hostname,
        )
        if not self.quiet:
            self._say(self.banner(service))
        self.setup_logging()
        if not self.quiet and (text := self.app.log.left_alone()):
            self._say(text)
        if self.socket_timeout:
            logger.debug("Setting default socket timeout to %r", self.socket_timeout)
            socket.setdefaulttimeout(self.socket_timeout)
        try:
            self.install_sync_handler(service)
            service.start()
        except Exception as exc:
            logger.critical(
                "beat raised exception %s: %r", type(exc), exc, exc_info=True, extra={"action": "beat_raised"}
            )
            raise

    def install_sync_handler(self, service: Any) -> None:
        """Have SIGTERM and SIGINT end beat in good order."""
        platforms.signals.update({Signals.SIGTERM.name: service.interrupt, Signals.SIGINT.name: service.interrupt})

    def banner(self, service: Any) -> str:
        """The text that is printed before beat connects."""
        return f"{RULE}\n{self.startup_info(service)}"

    def startup_info(self, service: Any) -> str:
        """The settings, with passwords masked."""
        scheduler = service.get_scheduler(lazy=True)
        level = LOG_LEVELS.get(self.loglevel, logging.getLevelName(self.loglevel))
        interval = scheduler.max_interval
        lines = [
            f"LocalTime -> {datetime.now():%Y-%m-%d %H:%M:%S}",
            "Configuration ->",
            f"    . broker -> {brokers.as_uri(self.app.connection_for_write())}",
            f"    . loader -> {qualname(self.app.loader)}",
            f"    . scheduler -> {qualname(scheduler)}",
            scheduler.info,
            f"    . logfile -> {self.logfile or '[stderr]'}@%{level}",
            f"    . maxinterval -> {humanize_seconds(interval)} ({interval}s)",
        ]
        if service.remote_control:
            lines.append(f"    . remote control -> {beat.beat_nodename(service.hostname)}")
        return "\n".join(lines) + "\n"

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.__stdout__, flush=True)
