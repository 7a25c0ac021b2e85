"""`WorkController`: a worker as its user sees it. It reads the settings, sends the signals, and runs the processes."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from celerylite import brokers, signals
from celerylite.platforms import EX_FAILURE, EX_OK
from celerylite.utils.imports import symbol_by_name
from celerylite.utils.nodenames import default_nodename
from celerylite.worker.consumed import declare_queues, define_queues
from celerylite.worker.consumer import Consumer
from celerylite.worker.event_pipe import EventPipe
from celerylite.worker.health import Health
from celerylite.worker.one_process import OneProcess
from celerylite.worker.rate_limits import RateBoard, check_limits
from celerylite.worker.reloading import reload_modules
from celerylite.worker.settings import Settings
from celerylite.worker.state_file import StateFile
from celerylite.worker.system_signals import SystemSignals, in_main_thread
from celerylite.worker.systemd import Notifier

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.worker.board import Board
    from celerylite.worker.children import Line
    from celerylite.worker.extension import Extension
    from celerylite.worker.node import Node
    from celerylite.worker.request import Request
    from celerylite.worker.task_process import TaskProcess

logger = logging.getLogger("celery.worker")
#: The setting's ways to say that our own consumer is meant.
CONSUMERS = (None, "celerylite.worker.consumer:Consumer", "celery.worker.consumer:Consumer")

connection_logger = logging.getLogger("celery.worker.consumer.connection")


class WorkController(Settings):
    """A worker. `start` blocks until it has ended; then `exitcode` says how. Keywords are those of Celery's worker."""

    #: Set in the subclasses that an app makes (`app.Worker`).
    app: Any = None

    def __init__(self, app: Celery | None = None, hostname: str | None = None, **kwargs: Any) -> None:
        from celerylite._state import get_current_app

        self.app = app or self.app or get_current_app()
        self.hostname = default_nodename(hostname)
        self.exitcode: int | None = None
        self.steps: list[Any] = []
        self._parent: Any = None
        self.health: Any = None
        #: For the project's steps: their blueprint and timer, and what grows and shrinks the worker once it runs.
        self.blueprint: Any = None
        self.timer: Any = None
        self.hub: Any = None
        self.pool: Any = None
        #: For remote control and steps, in a worker within one process; else the control process has it.
        self.node: Node | None = None
        self._task_process: TaskProcess | None = None
        self._stop_wanted = False
        self._restart = False
        self.app.loader.init_worker()
        self.on_before_init(**kwargs)
        self.setup_defaults(**kwargs)
        self.on_after_init(**kwargs)
        self.consumer = self._make_consumer()
        self.extension = self._make_extension(kwargs)

    # -- the project's own parts

    def _make_consumer(self) -> Consumer:
        name = self.app.conf.worker_consumer
        cls = Consumer if name in CONSUMERS else symbol_by_name(name)
        return cls(app=self.app, hostname=self.hostname, controller=self, worker_options=self.options)

    def _make_extension(self, kwargs: dict[str, Any]) -> Extension | None:
        """None where the project has no steps: then nothing of them is even imported."""
        if not any(self.app.steps.values()):
            return None
        from celerylite.worker.extension import Extension

        return Extension(self, kwargs)

    @property
    def state(self) -> Any:
        """`celerylite.worker.state`."""
        from celerylite.worker import state

        return state

    @property
    def active_requests(self) -> list[Request]:
        """What runs now, for steps: requests with `time_start`."""
        return list(self.state.active_requests)

    # -- the life of a worker

    def start(self) -> None:
        """Run until told to stop; `exitcode` is set afterwards."""
        signals.worker_init.send(sender=self)
        self.on_start()
        if self.purge:
            self.app.broker.purge(self.options.queues)
        # What is wrong in the settings shows here, once, and not in every child.
        self.app.broker.check()
        self.app.broker.preload()
        self.app.broker.close()
        self.app.backend  # noqa: B018
        if not self.app.conf.worker_disable_rate_limits:
            check_limits(self.app)
            self.options.rates = RateBoard(self.app.tasks)
        state = StateFile(self.statedb, self.directives) if self.statedb else None
        # In somebody else's process (tests) systemd's questions are not for us.
        notifier = Notifier.from_environment() if in_main_thread() else None
        self.health = Health(self.health_port, self.heartbeat_file, notifier)
        try:
            if self.pool_cls == "solo" or (self.pool_cls == "threads" and not in_main_thread()):
                self._run_here()
            else:
                self._run_processes()
        finally:
            self.health.close()
            if self.options.rates is not None:
                self.options.rates.close()
            if state is not None:
                state.close()
            signals.worker_shutdown.send(sender=self)
            self.on_stopped()
        if self.exitcode is None:
            self.exitcode = EX_OK
        if self._restart:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:
        """Warm shutdown: running tasks finish, the rest goes back. Only asks, and may be called by any thread."""
        self._stop_wanted = True
        if self.health is not None:
            self.health.stop()
        if exitcode is not None:
            self.exitcode = exitcode
        if self._parent is not None:
            self._parent.warm()
        if self._task_process is not None:
            self._task_process.stop()
            if self.extension is not None:
                self.extension.close()

    def terminate(self, in_sighandler: bool = False) -> None:
        """Cold shutdown: running tasks have `worker_soft_shutdown_timeout` seconds, then they are ended."""
        self.exitcode = EX_FAILURE
        timeout = self.options.soft_shutdown_timeout
        if timeout > 0:
            logger.warning(
                "Initiating Soft Shutdown, terminating in %s seconds", timeout, extra={"action": "soft_shutdown"}
            )
        if self._parent is not None:
            self._parent.cold(timeout)
        elif self.extension is not None:
            self.extension.close(terminate=True)
        self.stop(in_sighandler)

    # -- in processes

    def _run_processes(self) -> None:
        # Lazy: a worker in a thread of somebody's tests needs none of it. Before the fork: see `Broker.preload`.
        from celerylite.worker import control_process, task_child  # noqa: F401
        from celerylite.worker.parent import Parent

        self._pipe = EventPipe()
        self._parent = Parent(
            self.options, self._task_child, self._control_child, self._on_ready,
            self._beat_child if self.beat else None, self.directives, self.reload, self.stop,
        )  # fmt: skip
        self._parent.on_round = partial(self.health.round, self._parent)
        SystemSignals(self).install()
        if self._stop_wanted:
            self._parent.warm()
        self._parent.run()

    def _task_child(self, board: Board, slots: range, line: Line, standby: bool) -> int:
        """What a task process does, from its first breath to its exit status."""
        from celerylite.worker.task_child import run_task_child

        self.health.release()
        return run_task_child(self.app, self.options, board, slots, line, self.directives, self._pipe, standby)

    def _control_child(self, board: Board, line: Line) -> int:
        from celerylite.worker.control_process import ControlProcess

        define_queues(self.app, self.directives)
        declare_queues(self.app, self.directives.queues)
        control = ControlProcess(
            self.app, self.options, board, line, self.directives, self._pipe, self.health, self.consumer, self.extension
        )
        return control.run()

    def _beat_child(self, line: Line) -> int:
        from celerylite.worker.beat_child import run_beat_child  # lazy: only with -B

        self.health.release()
        return run_beat_child(self.app, self.hostname, self.schedule_filename, self.scheduler, line)

    # -- in this process

    def _run_here(self) -> None:
        """Solo, or a worker within somebody's tests."""
        SystemSignals(self).install()
        self._one_process = OneProcess(self)
        self.node = self._one_process.node
        self._task_process = self._one_process.process
        if self._stop_wanted:
            self._task_process.stop()
        try:
            self._one_process.run()
        finally:
            self._task_process = None

    # -- for subclasses

    def _on_ready(self) -> None:
        connection_logger.info(
            "Connected to %s", brokers.as_uri(self.app.connection_for_read()), extra={"action": "connected"}
        )
        logger.info("%s ready.", self.hostname, extra={"action": "ready"})
        self.health.ready()
        signals.worker_ready.send(sender=self)
        if self.ready_callback is not None:
            self.ready_callback(self)
        self.on_consumer_ready(self.consumer)

    def on_before_init(self, **kwargs: Any) -> None:
        """Called before the settings are read."""

    def on_after_init(self, **kwargs: Any) -> None:
        """Called when the settings were read."""

    def on_start(self) -> None:
        """Called before the first process starts."""

    def on_stopped(self) -> None:
        """Called when everything has ended."""

    def on_consumer_ready(self, consumer: Any) -> None:
        """Called when tasks are being fetched."""

    def reload(self, modules: Any = None, reload: bool = False, reloader: Any = None) -> None:
        """Import modules that are not imported yet, and with `reload` the others anew; by default those with tasks.

        Task processes that start afterwards have them.
        """
        reload_modules(self.app, modules, reload, reloader)

    def __str__(self) -> str:
        return self.hostname

    def __repr__(self) -> str:
        state = f" ({self.blueprint.human_state()})" if self.blueprint is not None else ""
        return f"<Worker: {self.hostname}{state}>"
