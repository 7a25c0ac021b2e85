"""Rate limits of tasks: who may start now, counted for the whole worker (or, with scope "global", for all workers).

`RateBoard` is memory that the task processes of one worker share. `Limiter` answers for one task process; over the
limit, a message waits on the broker (`Consumer.defer`). `Hunger` is the control process' part: where this worker could
start what waits for a later time (a limit was raised, the worker has only just started), it has it come at once.
"""

from __future__ import annotations

import fcntl
import logging
import math
import mmap
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from celerylite.brokers.rates import Line
from celerylite.brokers.values import LIMITED
from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.clock import uptime
from celerylite.utils.time import rate

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers import Broker, Keeper
    from celerylite.worker.board import Board
    from celerylite.worker.directives import Directives
    from celerylite.worker.options import WorkerOptions
    from celerylite.worker.request import Request

logger = logging.getLogger("celery.worker")

WORKER, GLOBAL = "worker", "global"
_LINE = struct.Struct("<ddd")

#: Seconds between looks for what could start now: at first, and at most while nothing is found.
LOOK, LOOK_MOST = 1.0, 30.0
#: Seconds' worth of starts that are made to come at once, when this worker has nothing to do.
AHEAD = 5.0
#: Most messages that are moved in one go when a limit changes, and how often.
BATCH, BATCHES = 1000, 200


class RateBoard:
    """One line for each task that was known when the worker started. Made before the first fork.

    Changes are made under a lock of the kernel's, one a task: it is gone with the process that holds it.
    """

    def __init__(self, tasks: Iterable[str]) -> None:
        self.places = {name: index for index, name in enumerate(sorted(tasks))}
        self._map = mmap.mmap(-1, max(1, len(self.places)) * _LINE.size)
        #: The kernel tells processes apart, not threads; the main process, which forks, never holds it.
        self._threads = threading.Lock()
        if hasattr(os, "memfd_create"):
            self._locks = os.memfd_create("celerylite-rates", os.MFD_CLOEXEC)
        else:
            with TemporaryFile() as file:
                self._locks = os.dup(file.fileno())

    def read(self, task: str) -> Line:
        """The line of a task."""
        return Line(*_LINE.unpack_from(self._map, self.places[task] * _LINE.size))

    @contextmanager
    def change(self, task: str) -> Iterator[Line]:
        """The line of a task, for this process alone; what is changed in it is written."""
        place = self.places[task]
        with self._threads:
            fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, place)
            try:
                line = self.read(task)
                yield line
                _LINE.pack_into(self._map, place * _LINE.size, line.next, line.free, line.again)
            finally:
                fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """The worker has ended."""
        os.close(self._locks)
        self._map.close()


@dataclass(slots=True)
class Limit:
    """How often a task may start."""

    task: str
    #: Seconds from one start to the next.
    period: float
    #: Whether all workers are counted together.
    everywhere: bool


def limit_of(app: Celery, task: Any, broker: Broker) -> Limit | None:
    """The limit of a task; raises `ImproperlyConfigured` for one that cannot be understood."""
    given, scope = task.rate_limit, getattr(task, "rate_limit_scope", None) or app.conf.task_rate_limit_scope
    try:
        starts = float(rate(given))
    except (ValueError, KeyError, TypeError):
        raise ImproperlyConfigured(
            f"rate_limit {given!r} of task {task.name!r}: a number a second is expected, or one like '10/s', '100/m' "
            "or '5/h'"
        ) from None
    if scope not in (WORKER, GLOBAL):
        raise ImproperlyConfigured(f"rate_limit_scope {scope!r} of task {task.name!r} is neither 'worker' nor 'global'")
    if starts <= 0:
        return None
    return Limit(task.name, 1.0 / starts, scope == GLOBAL and broker.counts_rates)


def limits_of(app: Celery, broker: Broker) -> dict[str, Limit]:
    """The limits of all tasks that have one."""
    found = ((name, limit_of(app, task, broker)) for name, task in app.tasks.items())
    return {name: limit for name, limit in found if limit is not None}


def check_limits(app: Celery) -> None:
    """At the start of a worker: raise `ImproperlyConfigured` for limits that nobody can understand, and warn of those
    that the broker cannot count.
    """
    broker = app.broker
    for task in app.tasks.values():
        if limit_of(app, task, broker) is None or broker.counts_rates:
            continue
        if (getattr(task, "rate_limit_scope", None) or app.conf.task_rate_limit_scope) == GLOBAL:
            logger.warning(
                "The rate limit of task %s is for all workers together (rate_limit_scope 'global'), which this broker "
                "cannot count: it holds for each worker instead. Redis and SQLite can.", task.name,
                extra={"action": "rate_limit_scope"},
            )  # fmt: skip


class Limiter:
    """Answers for one task process. `limits` is empty as long as no task has one."""

    def __init__(self, app: Celery, options: WorkerOptions, broker: Broker, directives: Directives) -> None:
        self.app = app
        self.broker = broker
        self.processes = options.concurrency
        self.limits: dict[str, Limit] = {}
        self._board = options.rates
        #: Of tasks that were not known when the worker started: each process counts them for itself.
        self._own: dict[str, Line] = {}
        if self._board is None:
            return
        for name, limit in directives.rate_limits.items():
            self._set(name, limit)
        self.limits = limits_of(app, broker)
        directives.on("rate_limit", self._changed)

    def wait(self, request: Request) -> float:
        """Seconds that a request of a limited task must wait; 0 where it may start, which is counted."""
        limit = self.limits[request.name]
        back = LIMITED in request.headers
        if limit.everywhere:
            try:
                return self.broker.rate_wait(limit.task, limit.period, back=back)
            except self.broker.connection_errors as exc:
                logger.warning("The broker cannot be asked about a rate limit: %s", exc)
                return 1.0
        assert self._board is not None
        if limit.task in self._board.places:
            with self._board.change(limit.task) as line:
                return line.wait(uptime(), limit.period, processes=self.processes, back=back)
        line = self._own.setdefault(limit.task, Line())
        return line.wait(uptime(), limit.period, back=back)

    def _changed(self, directive: dict[str, Any]) -> None:
        name = directive["task"]
        self._set(name, directive.get("limit"))
        task = self.app.tasks.get(name)
        found = limit_of(self.app, task, self.broker) if task is not None else None
        if found is None:
            self.limits.pop(name, None)
        else:
            self.limits[name] = found

    def _set(self, name: str, limit: Any) -> None:
        task = self.app.tasks.get(name)
        if task is not None:
            task.rate_limit = limit


class Hunger:
    """Has waiting messages come early where this worker could start them; the thread of housekeeping uses it."""

    def __init__(
        self, app: Celery, options: WorkerOptions, broker: Broker, keeper: Keeper, board: Board,
        directives: Directives,
    ) -> None:  # fmt: skip
        self.app = app
        self.broker = broker
        self.keeper = keeper
        self.board = board
        self.rates = options.rates
        self._changes: list[str] = []
        self._limits = limits_of(app, broker) if self.rates is not None else {}
        self._next = 0.0
        #: Task -> when its line moved last, when to look again, and the pause until then.
        self._looks: dict[str, tuple[float, float, float]] = {}
        if self.rates is not None:
            directives.on("rate_limit", lambda directive: self._changes.append(directive["task"]))

    def look(self, now: float) -> None:
        """A round, if one is due; raises connection errors."""
        if self.rates is None or (now < self._next and not self._changes):
            return
        self._next = now + LOOK
        while self._changes:
            self._restart(self._changes[0])
            del self._changes[0]
        if self.board.size() <= sum(map(self.board.busy, range(self.board.used()))):
            return
        for task, limit in self._limits.items():
            if not limit.everywhere and task in self.rates.places:
                self._feed(task, limit, self.rates.read(task), now)

    def _feed(self, task: str, limit: Limit, line: Line, now: float) -> None:
        if now - line.next < max(LOOK, limit.period):
            return
        moved_at, due, pause = self._looks.get(task, (0.0, 0.0, LOOK))
        if line.next != moved_at:
            due, pause = 0.0, LOOK
        if now < due:
            return
        if self.keeper.advance(LIMITED, task, max(1, math.ceil(AHEAD / limit.period))):
            pause = LOOK
        else:
            pause = min(2 * pause, LOOK_MOST)
        self._looks[task] = (line.next, now + pause, pause)

    def _restart(self, task: str) -> None:
        """A limit has changed: the line begins anew, and all that wait in it come to hear of that."""
        assert self.rates is not None
        self._limits = limits_of(self.app, self.broker)
        if task in self.rates.places:
            with self.rates.change(task) as line:
                line.next = line.free = line.again = 0.0
        if self.broker.counts_rates:
            self.broker.forget_rate(task)
        for _ in range(BATCHES):
            if self.keeper.advance(LIMITED, task, BATCH) < BATCH:
                break
