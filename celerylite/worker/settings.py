"""`Settings`: what a worker is told by its keywords, over what the app is set to."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from celerylite import concurrency
from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.nodenames import node_format
from celerylite.worker.autoscale import limits_of
from celerylite.worker.directives import Directives
from celerylite.worker.options import WorkerOptions


class Settings:
    """The part of `WorkController` that reads settings; its keywords are those of Celery's worker."""

    app: Any
    hostname: str

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
        self.options = self._options(
            prefetch=self._prefetch(prefetch_multiplier, disable_prefetch),
            time_limit=_first(time_limit, conf.task_time_limit),
            soft_time_limit=_first(soft_time_limit, conf.task_soft_time_limit),
            max_tasks_per_child=_first(max_tasks_per_child, conf.worker_max_tasks_per_child),
            max_memory_per_child=_first(max_memory_per_child, conf.worker_max_memory_per_child),
            heartbeats=not without_heartbeat,
            heartbeat_interval=heartbeat_interval,
            gossip=not without_gossip,
        )
        #: What the worker was told; its processes inherit it, and hear the rest from the parent.
        self.directives = Directives(self.options.queues, events=self.options.task_events)
        self.directives.autoscale = self.autoscale
        self.extra = kwargs

    def _options(self, **told: Any) -> WorkerOptions:
        """For the worker's processes: these options, what was read before, and settings that have no keyword."""
        conf = self.app.conf
        return WorkerOptions(
            hostname=self.hostname,
            queues=list(self.app.amqp.queues.consume_from),
            concurrency=1 if self.pool_cls == "solo" else self.concurrency,
            pool=self.pool_cls,
            fetch_max=conf.worker_fetch_max,
            long_task=conf.worker_long_task,
            lease=conf.worker_lease,
            delivery_limit=conf.worker_delivery_limit,
            soft_shutdown_timeout=conf.worker_soft_shutdown_timeout or 0.0,
            loglevel=self.loglevel,
            logfile=self.logfile,
            task_events=bool(self.task_events),
            autoscale=self.autoscale,
            accept=_accepted(conf.accept_content),
            **told,
        )

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
