"""The worker as a program: the command line's worker, with logging, a banner, a pid file and its warnings."""

from __future__ import annotations

import os
import sys
from typing import Any

from celerylite import _state, platforms, signals
from celerylite.worker import WorkController
from celerylite.worker.banner import banner, extra_info


class Worker(WorkController):
    """What `celerylite worker` runs (`app.Worker`)."""

    def on_before_init(self, **kwargs: Any) -> None:
        """The first signal of a worker's life: settings may still be changed."""
        signals.celeryd_init.send(sender=self.hostname, instance=self, conf=self.app.conf, options=kwargs)
        if kwargs.get("log_format"):
            self.app.conf.worker_log_json = kwargs["log_format"] == "json"

    def on_after_init(self, **kwargs: Any) -> None:
        """Logging first, so that whatever follows is seen."""
        self._handled_logging = self.setup_logging()
        platforms.check_privileges(self.app.conf.accept_content)
        self._pidlock = platforms.create_pidlock(self.pidfile) if self.pidfile else None

    def setup_logging(self) -> Any:
        """Set up the loggers unless the user does; what is returned is true if so."""
        colorize = None if self.no_color is None else not self.no_color
        return self.app.log.setup(
            self.loglevel, self.logfile, redirect_stdouts=False, colorize=colorize, hostname=self.hostname
        )

    def on_start(self) -> None:
        """Say what runs, then let prints go to the log."""
        signals.celeryd_after_setup.send(sender=self.hostname, instance=self, conf=self.app.conf)
        self.app.broker  # noqa: B018 (an unknown transport is told with a sentence; the banner would raise kombu's KeyError)
        if not self.quiet and not self.app.conf.worker_log_json:  # then every line shall be JSON
            self._emit_banner()
        _state._set_task_join_will_block(self.pool_cls == "solo")  # task processes say so themselves
        platforms.set_process_title("celeryd", self.hostname)
        if self.redirect_stdouts and not self._handled_logging:
            self.app.log.redirect_stdouts(self.redirect_stdouts_level)

    def _emit_banner(self) -> None:
        text = "\n".join(filter(None, (banner(self), extra_info(self), self.app.log.left_alone())))
        print(text, file=sys.__stdout__, flush=True)

    def on_stopped(self) -> None:
        """Leave nothing behind."""
        if self._pidlock is not None and self._pidlock.read_pid() == os.getpid():
            self._pidlock.release()
