"""The scheduler that other packages build on: Celery's names, a heap of entries, and the sending of their tasks.

It asks each entry whether it is due and keeps nothing of its own; `PersistentScheduler` is what beat uses by itself.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from celerylite.beat.entry import ScheduleEntry, SchedulingError, evaluated, event_t
from celerylite.exceptions import ImproperlyConfigured
from celerylite.schedules import crontab
from celerylite.utils.functional import maybe_evaluate
from celerylite.utils.log import get_logger
from celerylite.utils.time import humanize_seconds

#: The longest that beat sleeps, in seconds, where neither the settings nor the scheduler say otherwise.
DEFAULT_MAX_INTERVAL = 300

PRIORITY = 5

#: The entry, and the task, that clean the result store.
CLEANUP = "celery.backend_cleanup"

#: The header by which a worker can tell that beat has sent a task.
SENT_BY_BEAT = "celery_beat_task"

logger = get_logger("celery.beat")


class Scheduler:
    """Sends the tasks whose time has come, one at each `tick`."""

    #: The class of the entries.
    Entry: Any = ScheduleEntry
    max_interval: float = DEFAULT_MAX_INTERVAL
    #: Seconds between two calls of `sync`.
    sync_every: float = 3 * 60
    #: How many tasks may be sent between two calls of `sync`; None or 0: by time only.
    sync_every_tasks: int | None = None
    _last_sync: float | None = None
    _tasks_since_sync = 0
    logger: logging.Logger = logger

    def __init__(
        self,
        app: Any,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,  # noqa: N803 (Celery's name)
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.data: Any = maybe_evaluate({} if schedule is None else schedule)
        self.max_interval = max_interval or app.conf.beat_max_loop_interval or self.max_interval
        self.Producer = Producer or app.amqp.Producer
        #: Only where a subclass or its user brings a producer: the app's own broker is the shorter way.
        self._sends_by_kombu = Producer is not None or type(self).producer is not Scheduler.producer
        self._heap: list[event_t] | None = None
        self.old_schedulers: dict[str, Any] | None = None
        self.sync_every_tasks = app.conf.beat_sync_every if sync_every_tasks is None else sync_every_tasks
        if not lazy:
            self.setup_schedule()

    # -- the schedule

    def get_schedule(self) -> Any:
        """The entries by their names."""
        return self.data

    def set_schedule(self, schedule: Any) -> None:
        """Replace all entries."""
        self.data = schedule

    # Looked up when it is used: subclasses override the two methods.
    schedule = property(lambda self: self.get_schedule(), lambda self, schedule: self.set_schedule(schedule))

    def setup_schedule(self) -> None:
        """Fill the schedule; called once, before the first tick."""
        self.install_default_entries(self.data)
        self.merge_inplace(self.app.conf.beat_schedule)

    def install_default_entries(self, data: Any) -> None:
        """Add what the library itself needs: the cleaning up of results, where their store does not do it."""
        entries = {}
        if self.app.conf.result_expires and not self.app.backend.supports_autoexpire:
            if CLEANUP not in data:
                entries[CLEANUP] = {
                    "task": CLEANUP,
                    "schedule": crontab("0", "4", "*"),
                    "options": {"expires": 12 * 3600},
                }
        self.update_from_dict(entries)

    def add(self, **kwargs: Any) -> Any:
        """Add one entry, of the fields of `Entry`; returned is the entry."""
        entry = self.Entry(app=self.app, **kwargs)
        self.schedule[entry.name] = entry
        return entry

    def _maybe_entry(self, name: str, entry: Any) -> Any:
        if isinstance(entry, self.Entry):
            entry.app = self.app
            return entry
        return self.Entry(**dict(entry, name=name, app=self.app))

    def _configured_entry(self, name: str, fields: Any) -> Any:
        try:
            return self._maybe_entry(name, fields)
        except (ValueError, TypeError) as exc:
            raise ImproperlyConfigured(f"Entry {name!r} of the schedule: {exc}") from exc

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        """Add the entries of a dictionary like `beat_schedule`."""
        self.schedule.update({name: self._configured_entry(name, entry) for name, entry in dict_.items()})

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Make the schedule what `b` says; entries that are in both keep when they ran."""
        schedule = self.schedule
        for name in set(schedule) - set(b) - {CLEANUP}:
            schedule.pop(name, None)
        for name, fields in b.items():
            entry = self._configured_entry(name, fields)
            if schedule.get(name) is not None:
                schedule[name].update(entry)
            else:
                schedule[name] = entry

    def schedules_equal(self, old_schedules: Any, new_schedules: Any) -> bool:
        """Whether two schedules say the same."""
        if old_schedules is new_schedules is None:
            return True
        if old_schedules is None or new_schedules is None or len(old_schedules) != len(new_schedules):
            return False
        for name, old in old_schedules.items():
            new = new_schedules.get(name)
            if new is not old and (not new or new != old):
                return False
        return True

    # -- the clock

    def tick(
        self,
        event_t: Any = event_t,
        min: Callable[..., Any] = min,
        heappop: Callable[..., Any] = heapq.heappop,
        heappush: Callable[..., Any] = heapq.heappush,
    ) -> float:
        """Send what is due; returns the seconds until the next tick. (The arguments are Celery's, and not used.)"""
        return self.turn()

    def turn(self) -> float:
        """One tick: for the first entry whose time has come."""
        schedule = self.schedule
        if self._heap is None or not self.schedules_equal(self.old_schedulers, schedule):
            self.old_schedulers = dict(self.schedule)
            self.populate_heap()
        heap = self._heap or []
        for _ in range(len(heap)):
            event = heap[0]
            is_due, next_time = self._ask(event.entry)
            if is_due:
                self._run(event, next_time)
                return 0
            wait = self._seconds(next_time)
            if event.time > time.time():
                # The others are later than this one.
                return min(wait, self.max_interval)
            heapq.heapreplace(heap, event._replace(time=self._when(event.entry, wait)))
        return min(max(heap[0].time - time.time(), 0), self.max_interval) if heap else self.max_interval

    def _run(self, event: event_t, next_time: float | None) -> None:
        heap = self._heap
        assert heap is not None
        heapq.heappop(heap)
        entry = self.reserve(event.entry)
        if self.old_schedulers is not None:
            self.old_schedulers[entry.name] = entry
        self.apply_entry(event.entry, producer=self.producer if self._sends_by_kombu else None)
        heapq.heappush(heap, event._replace(time=self._when(entry, self._seconds(next_time)), entry=entry))

    def populate_heap(self, event_t: Any = event_t, heapify: Callable[..., Any] = heapq.heapify) -> None:
        """Fill the heap with all entries."""
        self._heap = []
        for entry in self.schedule.values():
            is_due, next_time = self._ask(entry)
            wait = 0 if is_due else self._seconds(next_time)
            self._heap.append(event_t(self._when(entry, wait), PRIORITY, entry))
        heapify(self._heap)

    def is_due(self, entry: Any) -> Any:
        """Whether an entry is due, and in how many seconds to ask again."""
        return entry.is_due()

    def _ask(self, entry: Any) -> Any:
        """The same; an entry that raises is asked again later, and stops none of the others."""
        try:
            return self.is_due(entry)
        except Exception as exc:  # a border: the schedule may be anybody's code
            self._is_due_failed(entry, exc)
            return False, self.max_interval

    def _is_due_failed(self, entry: Any, exc: Exception) -> None:
        logger.error(
            "beat: %r cannot say whether it is due, trying again in %s: %r",
            entry.name, humanize_seconds(self.max_interval, now="now"), exc,
            exc_info=exc, extra={"action": "is_due_failed"},
        )  # fmt: skip

    def _seconds(self, next_time: float | None) -> float:
        """What a schedule answered: None, and what is no number, mean never, and are asked again all the same."""
        return max(next_time, 0.0) if isinstance(next_time, int | float) else self.max_interval

    def adjust(self, n: Any, drift: float = -0.010) -> Any:
        """Seconds to wait, less a little; for subclasses."""
        return n + drift if n and n > 0 else n

    def _when(self, entry: Any, next_time_to_run: float, mktime: Any = None) -> float:
        """The time for the heap, in seconds since the epoch."""
        return entry.default_now().timestamp() + (next_time_to_run or 0)

    # -- sending

    def reserve(self, entry: Any) -> Any:
        """Note that an entry runs; returned is the entry as it is after that."""
        new = self.schedule[entry.name] = next(entry)
        return new

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send the task of an entry; what goes wrong is logged, for it must not stop the others."""
        logger.info(
            "Scheduler: Sending due task %s (%s)", entry.name, entry.task,
            extra={"action": "due", "entry": entry.name, "task_name": entry.task},
        )  # fmt: skip
        try:
            result = self.apply_async(entry, producer=producer, advance=False)
        except Exception as exc:  # a border: routers, receivers and lazy arguments are the user's
            self._not_sent(entry, exc)
        else:
            if getattr(result, "id", None):
                logger.debug("%s sent. id->%s", entry.task, result.id)
            else:
                logger.debug("%s sent.", entry.task)

    def _not_sent(self, entry: Any, exc: Exception) -> None:
        logger.error(
            "Message Error: %s", exc, exc_info=exc, extra={"action": "message_error", "entry": entry.name}
        )

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send the task of an entry; raises `SchedulingError`."""
        if advance:
            entry = self.reserve(entry)
        try:
            task = self.app.tasks.get(entry.task)
            args, named, options = evaluated(entry.args), evaluated(entry.kwargs), self._options_of(entry)
            if task is not None:
                return task.apply_async(args, named, producer=producer, **options)
            return self.send_task(entry.task, args, named, producer=producer, **options)
        except Exception as exc:
            raise SchedulingError(f"Couldn't apply scheduled task {entry.name}: {exc}") from exc
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()

    def _options_of(self, entry: Any) -> dict[str, Any]:
        options = entry.options or {}
        return {**options, "headers": {**(options.get("headers") or {}), SENT_BY_BEAT: True}}

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that is not registered here."""
        return self.app.send_task(*args, **kwargs)

    # -- keeping

    def should_sync(self) -> bool:
        """Whether it is time for `sync`."""
        if self._last_sync is None or time.monotonic() - self._last_sync > self.sync_every:
            return True
        return bool(self.sync_every_tasks and self._tasks_since_sync >= self.sync_every_tasks)

    def _do_sync(self) -> None:
        try:
            logger.debug("beat: Synchronizing schedule...")
            self.sync()
        finally:
            self._last_sync = time.monotonic()
            self._tasks_since_sync = 0

    def sync(self) -> None:
        """Write down when what ran; for subclasses."""

    def close(self) -> None:
        """The last call."""
        self.sync()

    # -- for subclasses: a connection of kombu's, which waits for the broker

    def _ensure_connected(self) -> Any:
        def failed(exc: Any, interval: float) -> None:
            logger.error("beat: Connection error: %s. Trying again in %s seconds...", exc, interval)

        return self.connection.ensure_connection(failed, self.app.conf.broker_connection_max_retries)

    @cached_property
    def connection(self) -> Any:
        """A connection of kombu's."""
        return self.app.connection_for_write()

    @cached_property
    def producer(self) -> Any:
        """A producer of kombu's."""
        return self.Producer(self._ensure_connected(), auto_declare=False)

    @property
    def info(self) -> str:
        """More lines for the banner."""
        return ""
