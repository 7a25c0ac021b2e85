"""Beat at work: `Service` ticks a scheduler until it is stopped; `EmbeddedService` does so beside something else."""

from __future__ import annotations

import time
from functools import cached_property
from queue import Empty, SimpleQueue
from threading import Event, Thread
from types import FrameType
from typing import Any

from celerylite import platforms, signals
from celerylite.beat.pidbox import BeatPidbox
from celerylite.beat.scheduler import logger
from celerylite.beat.shared import SharedScheduler
from celerylite.beat.store import PersistentScheduler
from celerylite.utils.imports import load_extension_class_names, symbol_by_name
from celerylite.utils.time import humanize_seconds


class Service:
    """Ticks. `scheduler_cls` may be a class, its dotted name, or a name that an installed package offers."""

    scheduler_cls: Any = PersistentScheduler

    def __init__(
        self,
        app: Any,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
        remote_control: bool | None = None,
        hostname: str | None = None,
    ) -> None:
        self.app = app
        self.max_interval = max_interval or app.conf.beat_max_loop_interval
        self.scheduler_cls = scheduler_cls or self.scheduler_cls
        self.schedule_filename = schedule_filename or app.conf.beat_schedule_filename
        self.remote_control = app.conf.beat_enable_remote_control if remote_control is None else remote_control
        self.hostname = hostname
        self.pidbox: BeatPidbox | None = None
        self._ticked = time.monotonic()
        self._is_shutdown = Event()
        self._is_stopped = Event()
        # Signal handlers may use neither an event nor a lock, but they may put something in this queue.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._interrupted = False
        #: Whether the scheduler is in the middle of something that a signal must not break off, or asleep.
        self._patient = False

    def __reduce__(self) -> Any:
        return type(self), (self.app, self.max_interval, self.schedule_filename, self.scheduler_cls)

    def start(self, embedded_process: bool = False) -> None:
        """Tick until `stop`, KeyboardInterrupt or SystemExit."""
        logger.info("beat: Starting...", extra={"action": "starting"})
        scheduler = self.scheduler
        logger.debug("beat: Ticking with max interval->%s", humanize_seconds(scheduler.max_interval))
        signals.beat_init.send(sender=self)
        if embedded_process:
            signals.beat_embedded_init.send(sender=self)
            platforms.set_process_title("celery", "beat")
        elif self.remote_control:
            self.pidbox = BeatPidbox(self)
            self.pidbox.start()
        try:
            self._tick(scheduler)
        except (KeyboardInterrupt, SystemExit):
            self._is_shutdown.set()
        finally:
            self._patient = True
            if self.pidbox is not None:
                self.pidbox.stop()
            self.sync()

    def _tick(self, scheduler: Any) -> None:
        # Ours ends its tick within seconds; one of others may wait for a lock for ever.
        patient = isinstance(scheduler, SharedScheduler)
        while not (self._is_shutdown.is_set() or self._interrupted):
            self._patient = patient
            interval = scheduler.tick()
            self._ticked = time.monotonic()
            if interval and interval > 0.0:
                logger.debug("beat: Waking up %s.", humanize_seconds(interval, prefix="in "))
                self.sleep(interval)
                if scheduler.should_sync():
                    scheduler._do_sync()

    def sleep(self, seconds: float | None = None) -> None:
        """Sleep, at most until beat is to end."""
        self._patient = True
        try:
            self._wake.get(timeout=seconds)
        except Empty:
            pass  # nobody woke us
        self._patient = False

    def interrupt(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End soon; to be called by signal handlers, and a signal handler itself. What blocks is broken off."""
        self._interrupted = True
        self._wake.put(None)
        if not self._patient:
            raise SystemExit()

    def tick_age(self) -> float:
        """Seconds since the last tick, or since the start."""
        return time.monotonic() - self._ticked

    def sync(self) -> None:
        """Let the scheduler write down what it knows, for the last time."""
        self.scheduler.close()
        self._is_stopped.set()

    def stop(self, wait: bool = False) -> None:
        """End the ticking; with `wait`, return when it has ended."""
        logger.info("beat: Shutting down...", extra={"action": "shutting_down"})
        self._is_shutdown.set()
        self._wake.put(None)
        if wait:
            self._is_stopped.wait()

    def get_scheduler(self, lazy: bool = False, extension_namespace: str = "celery.beat_schedulers") -> Any:
        """A new scheduler; a `lazy` one has not read its schedule yet."""
        return self.scheduler_class(extension_namespace)(
            app=self.app, schedule_filename=self.schedule_filename, max_interval=self.max_interval, lazy=lazy
        )

    def scheduler_class(self, namespace: str = "celery.beat_schedulers") -> Any:
        """The scheduler's class; ImportError where its name leads nowhere."""
        name = self.scheduler_cls
        if not isinstance(name, str):
            return name
        for module in ("celery.beat:", "celery.beat."):
            if name.startswith(module):
                name = "celerylite.beat:" + name[len(module) :]  # what projects have in their settings
        return symbol_by_name(name, dict(load_extension_class_names(namespace)))

    @cached_property
    def scheduler(self) -> Any:
        """The scheduler."""
        return self.get_scheduler()


class _Threaded(Thread):
    """Beat in a thread."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(name="Beat", daemon=True)
        self.app = app
        self.service = Service(app, **kwargs)

    def run(self) -> None:
        self.app.set_current()
        self.service.start()

    def stop(self) -> None:
        """End it, and return when it has ended."""
        self.service.stop(wait=True)


class _Process:
    """Beat in a process; `multiprocessing` is imported when one is started."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        from multiprocessing import get_context  # lazy: 10 ms

        self.app = app
        self.service = Service(app, **kwargs)
        self._process: Any = get_context("fork").Process(target=self.run, name="Beat", daemon=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_process"], name)

    def run(self) -> None:
        """What the child does."""
        platforms.signals.reset("SIGTERM")
        self.app.set_default()
        self.app.set_current()
        self.service.start(embedded_process=True)

    def stop(self) -> None:
        """End it, and return when it has ended."""
        self.service.stop()
        self._process.terminate()
        self._process.join()


def EmbeddedService(app: Any, max_interval: float | None = None, **kwargs: Any) -> Any:  # noqa: N802 (Celery's name)
    """Beat beside something else: a process with `start` and `stop`, or with `thread=True` a thread."""
    kwargs["remote_control"] = False  # whoever it runs beside answers
    if kwargs.pop("thread", False):
        # A short interval, so that it can be stopped soon.
        return _Threaded(app, max_interval=1, **kwargs)
    return _Process(app, max_interval=max_interval, **kwargs)
