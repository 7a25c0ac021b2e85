"""`WorkController`: a worker as its user sees it. It reads the settings, sends the signals, and runs the processes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from celerylite import brokers, concurrency, signals
from celerylite.exceptions import ImproperlyConfigured
from celerylite.platforms import EX_FAILURE, EX_OK
from celerylite.utils.imports import symbol_by_name
from celerylite.utils.nodenames import default_nodename, node_format
from celerylite.worker.autoscale import limits_of
from celerylite.worker.consumed import declare_queues, define_queues
from celerylite.worker.consumer import Consumer
from celerylite.worker.directives import Directives
from celerylite.worker.event_pipe import EventPipe
from celerylite.worker.health import Health
from celerylite.worker.one_process import OneProcess
from celerylite.worker.options import WorkerOptions
from celerylite.worker.rate_limits import RateBoard, check_limits
from celerylite.worker.reloading import reload_modules
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


class WorkController:
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

    # -- settings

    def setup_defaults(
        self,
        concurrency: int | None = None,
        loglevel: Any = "WARN",
        logfile: str | None = None,
        task_events: bool | None = None,
        pool: Any = None,
        pool_cls: Any = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        max_tasks_per_child: int | None = None,
        prefetch_multiplier: int | None = None,
        disable_prefetch: bool | None = None,
        max_memory_per_child: int | None = None,
        queues: Any = None,
        exclude_queues: Any = None,
        include: Any = None,
        pidfile: str | None = None,
        purge: bool = False,
        quiet: bool = False,
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: Any = None,
        no_color: bool | None = None,
        ready_callback: Callable[[Any], None] | None = None,
        statedb: str | None = None,
        autoscale: Any = None,
        beat: bool = False,
        schedule_filename: str | None = None,
        scheduler: Any = None,
        scheduler_cls: Any = None,
        health_port: Any = None,
        heartbeat_file: str | None = None,
        without_heartbeat: bool = False,
        heartbeat_interval: float | None = None,
        without_gossip: bool = False,
        **kwargs: Any,
    ) -> None:
        """Put the keywords over the settings of the app."""
        conf = self.app.conf
        self.loglevel, self.logfile, self.pidfile = mlevel(loglevel), logfile, pidfile
        self.autoscale = limits_of(autoscale)
        statedb = statedb or conf.worker_state_db
        self.statedb = node_format(statedb, self.hostname) if statedb else None
        self.purge, self.quiet, self.no_color = purge, quiet, no_color
        self.redirect_stdouts = _first(redirect_stdouts, conf.worker_redirect_stdouts)
        self.redirect_stdouts_level = redirect_stdouts_level or conf.worker_redirect_stdouts_level
        self.ready_callback = ready_callback
        self.health_port = _first(health_port, conf.worker_health_port)
        self.heartbeat_file = heartbeat_file or conf.worker_heartbeat_file
        self.beat = beat
        self.schedule_filename = schedule_filename or conf.beat_schedule_filename
        self.scheduler = scheduler or scheduler_cls or conf.beat_scheduler
        self.task_events = _first(task_events, conf.worker_send_task_events)
        self.pool_cls = _pool_name(pool or pool_cls or conf.worker_pool)
        self.concurrency = _concurrency(concurrency or conf.worker_concurrency)
        if self.pool_cls == "solo":
            self.autoscale = None  # there is nothing to scale
        if self.autoscale is not None:
            self.concurrency = max(1, self.autoscale[1])
        self.include(include)
        self._select_queues(queues, exclude_queues)
        self.options = WorkerOptions(
            hostname=self.hostname,
            queues=list(self.app.amqp.queues.consume_from),
            concurrency=1 if self.pool_cls == "solo" else self.concurrency,
            pool=self.pool_cls,
            prefetch=self._prefetch(prefetch_multiplier, disable_prefetch),
            fetch_max=conf.worker_fetch_max,
            long_task=conf.worker_long_task,
            lease=conf.worker_lease,
            delivery_limit=conf.worker_delivery_limit,
            time_limit=_first(time_limit, conf.task_time_limit),
            soft_time_limit=_first(soft_time_limit, conf.task_soft_time_limit),
            max_tasks_per_child=_first(max_tasks_per_child, conf.worker_max_tasks_per_child),
            max_memory_per_child=_first(max_memory_per_child, conf.worker_max_memory_per_child),
            soft_shutdown_timeout=conf.worker_soft_shutdown_timeout or 0.0,
            loglevel=self.loglevel,
            logfile=logfile,
            task_events=bool(self.task_events),
            autoscale=self.autoscale,
            heartbeats=not without_heartbeat,
            heartbeat_interval=heartbeat_interval,
            gossip=not without_gossip,
            accept=_accepted(conf.accept_content),
        )
        #: What the worker was told; its processes inherit it, and hear the rest from the parent.
        self.directives = Directives(self.options.queues, events=self.options.task_events)
        self.directives.autoscale = self.autoscale
        self.extra = kwargs

    def _prefetch(self, multiplier: Any, disable: bool | None) -> int | None:
        """An explicit multiplier is an upper bound for each task process; 0 is none."""
        conf = self.app.conf
        if _first(disable, conf.worker_disable_prefetch):
            return 1
        if multiplier is None:
            multiplier = conf.worker_prefetch_multiplier if conf.value_set_for("worker_prefetch_multiplier") else None
        return None if multiplier is None or int(multiplier) == 0 else int(multiplier)

    def _select_queues(self, queues: Any, exclude: Any) -> None:
        try:
            self.app.amqp.queues.select(_names(queues))
            self.app.amqp.queues.deselect(_names(exclude))
        except KeyError as exc:
            raise ImproperlyConfigured(
                f"Trying to select queue subset of {queues!r}, but queue {exc} isn't defined in the "
                "`task_queues` setting. "
                "To automatically declare unknown queues enable the `task_create_missing_queues` setting."
            ) from exc

    def include(self, modules: Any) -> None:
        """Import the modules that the command line and the settings name."""
        if modules:
            names = modules.split(",") if isinstance(modules, str) else list(modules)
            self.app.conf.include = [*(self.app.conf.include or ()), *names]
        self.app.loader.import_default_modules()
        self.app.finalize()

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


def _pool_name(pool: Any) -> str:
    name = pool if isinstance(pool, str) else getattr(pool, "name", str(pool))
    concurrency.get_implementation(name)  # raises for one that is not there
    return "prefork" if name == "processes" else name


def _concurrency(value: Any) -> int:
    if value in (None, 0):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if value == "auto":
        return _concurrency(None)
    if int(value) < 1:
        raise ImproperlyConfigured(f"worker_concurrency must be at least 1, not {value!r}")
    return int(value)


def _accepted(content: Any) -> frozenset[str]:
    from kombu.serialization import prepare_accept_content

    return frozenset(prepare_accept_content(content))


def _names(value: Any) -> list[str] | None:
    if not value:
        return None
    return value.split(",") if isinstance(value, str) else list(value)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def mlevel(level: Any) -> int:
    """A log level as a number."""
    from celerylite.utils.log import mlevel as as_number

    return as_number(level)
