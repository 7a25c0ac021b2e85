"""A task process: it fetches, runs, stores and acknowledges by itself, and notes on the board what it is doing.

The same loop serves prefork (one task at a time in the main thread), threads, and solo workers within another process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from celerylite import signals
from celerylite.concurrency.base import Executor
from celerylite.exceptions import WorkerTerminate
from celerylite.execution import Execution, execute
from celerylite.platforms import EX_FAILURE
from celerylite.utils.clock import uptime
from celerylite.worker.board import RAW_SIZE
from celerylite.worker.directives import Directives
from celerylite.worker.hearing import Hearing
from celerylite.worker.intake import Intake
from celerylite.worker.interrupting import Interrupting
from celerylite.worker.limits import limits_for
from celerylite.worker.overtime import Overtime
from celerylite.worker.pace import Pace
from celerylite.worker.revoked import recall
from celerylite.worker.settler import Settler
from celerylite.worker.share import Share

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers import Broker, Delivery
    from celerylite.followup import Following
    from celerylite.worker.board import Board
    from celerylite.worker.children import Line
    from celerylite.worker.emitter import Emitter
    from celerylite.worker.options import WorkerOptions
    from celerylite.worker.request import Request

logger = logging.getLogger("celery.worker")

#: Seconds that a fetch waits before the loop looks round; signals and messages end the wait at once.
WAIT = 60.0
#: Seconds between looks at what the parent has told while all slots are busy.
LOOK = 0.1
#: Full batches of this size and more are followed by another: it is asked for while their last quarter runs. Waiting
#: for it took 14 µs a task.
AHEAD = 8


class TaskProcess(Overtime):
    """Runs the tasks of some slots of the board, in the process that calls `run`."""

    def __init__(
        self,
        app: Celery,
        options: WorkerOptions,
        broker: Broker,
        executor: Executor,
        board: Board,
        first_slot: int = 0,
        line: Line | None = None,
        directives: Directives | None = None,
    ) -> None:
        self.app = app
        self.options = options
        self.broker = broker
        self.executor = executor
        self.board = board
        self.first_slot = first_slot
        self.serial = executor.inline
        self.directives = directives or Directives(options.queues)
        self.directives.on("concurrency", lambda directive: executor.resize(directive["slots"]))
        self.hearing = Hearing(app, self.directives, board, line, self.stop)
        self.hearing.begin(options.queues)
        self.stopping = False
        #: How many tasks were handed to a slot; `done` have ended.
        self.begun = self.done = 0
        self.pace = Pace(self.directives.prefetch or options.prefetch or options.fetch_max)
        self.directives.on("prefetch", lambda directive: self.pace.bound(directive["most"]))
        self.consumer = broker.consumer(
            options.queues,
            serial=self.serial,
            lease=options.lease,
            renewed=board.renewed,
            on_block=partial(board.set_blocked, first_slot),
            alarm=None if line is None else line.fileno(),
            sure=min(0.05, options.long_task / 2),
        )
        self.consumer.on_outage = partial(board.set_outage, first_slot)
        self.intake = Intake(app, options, self.consumer, broker, self.directives)
        self.events = None
        self.settler = Settler(app, broker, self.consumer, lambda: self.stopping)
        self.share = Share(options, line)
        self.interrupting = Interrupting(board, first_slot, lambda slot, running: self.warn(0, running))
        self.cold = False
        self._guard = getattr(executor, "guard", self.interrupting.guard)
        self._running = {}
        self._taking = Lock()
        #: Whether a fetch comes next.
        self._last = False
        #: Whether the outcome of the task that has ended waits for that fetch.
        self._held_back = False
        self.consumer.on_sent = self._on_sent

    def watch(self, emitter: Emitter) -> None:
        """Have `emitter` tell of the tasks whenever events are on."""

        self.settler.emitter = emitter

        def switch(directive: Any = None) -> None:
            self.events = self.intake.events = emitter if self.directives.events else None

        self.directives.on("events", switch)
        switch()

    # -- the loop

    def run(
        self,
        on_ready: Callable[[], None] = lambda: None,
        on_idle: Callable[[], None] = lambda: None,
        on_fewer: Callable[[int], None] = lambda running: None,
    ) -> None:
        """Work until `stop` is called, the parent is gone or this process has run its share of tasks.

        `on_ready` is called before the first fetch, `on_idle` when nothing runs any more, before the goodbyes;
        `on_fewer`, after the last fetch, with the number of tasks that still run.
        """
        self.board.set_consumer(self.first_slot, self.consumer.id)
        try:
            # What was told meanwhile ends the opening, as the end of the parent does.
            while not self.stopping and not self.consumer.open(lambda: self.stopping):
                self.hearing.listen()
            recall(self.app, self.broker, self.directives, lambda: self.stopping)
            if not self.stopping:
                self.share.ready()
                on_ready()
            self.hearing.stand_by(lambda: self.stopping)
            self._retire_if_due()  # one that runs a single task needs a successor from the beginning
            while not self.stopping:
                self._round()
            self.executor.drain(on_fewer)
            if self.events is not None:
                self.events.flush()
            if self.consumer.counting:
                self.consumer.flush()
                self.settler.finish_chords()
            on_idle()
        except WorkerTerminate:
            self.cold = True
        finally:
            self.consumer.close()
            self.executor.close()

    def _round(self) -> None:
        self.hearing.listen()
        if self.stopping:
            return
        if self.events is not None:
            self.events.flush()
        room = self.executor.free() or self.executor.wait_free(LOOK)
        if room <= 0:
            return
        left = self.share.left(self.begun)
        if not left:
            self.stop()  # threads run the last of its tasks; who comes after it goes on
            return
        self.hearing.follow(self.consumer, self.broker)
        most = min(self.pace.batch() if self.serial else room, left)
        deliveries = self.consumer.fetch(most, WAIT)
        if self.serial and len(deliveries) > 1:  # with threads nothing waits: all are started at once
            self._set_last(_number(deliveries[-1]))
        if self.consumer.counting:
            self.settler.finish_chords()
        asks_at = len(deliveries) * 3 // 4 if self.serial and len(deliveries) == most >= AHEAD else -1
        for index, delivery in enumerate(deliveries):
            if self.hearing.refused(delivery):
                self.consumer.release([delivery])
                continue
            # Behind a task that took long the rest may have been given to others meanwhile.
            if self.stopping or (index and not self.consumer.fresh(delivery)):
                self.consumer.release(deliveries[index:])
                return
            if index == asks_at:
                self._prepare(len(deliveries) - index)
            self._last = self.serial and index == len(deliveries) - 1
            self.take(delivery)
            if self.consumer.counting and self.serial:
                self.settler.finish_chords()

    def _prepare(self, behind: int) -> None:
        """Ask for the next batch, of which nothing runs before the `behind` messages that are here."""
        most = min(self.pace.batch(), self.share.left(self.begun + behind))
        if most:
            self.consumer.prepare(most, self._set_last)

    def _set_last(self, number: int) -> None:
        self.board.set_last(self.first_slot, number)

    def take(self, delivery: Delivery) -> None:
        """Run one delivery, or hand it to a slot."""
        try:
            request = self.intake.request(delivery)
        except Exception as exc:  # a border: no message may end the process
            self._cannot_run(delivery, exc)
            return
        if request is None:
            return
        self.begun += 1
        if self.serial:
            self.perform(request, 0)
        else:
            self.executor.submit(partial(self.perform, request))

    def _cannot_run(self, delivery: Delivery, exc: Exception) -> None:
        """Something of ours, or a result store, failed: give the message back when ending, else set it aside."""
        logger.exception("A message could not be dealt with: %r", exc, extra={"action": "internal_error"})
        signals.task_internal_error.send(sender=self, task_id=None, exception=exc, args=None, kwargs=None, einfo=None)
        if self.stopping:
            self.consumer.requeue(delivery)
        else:
            self.consumer.bury(delivery, f"could not be dealt with: {exc!r}")

    def stop(self) -> None:
        """Finish what runs, give back the rest; any thread and any signal handler may call."""
        self.stopping = True
        self.consumer.end()

    # -- one task

    def perform(self, request: Request, slot: int) -> None:
        """Run one request from its acknowledgement to its settlement."""
        plan, delivery = request.plan, request.delivery
        assert plan is not None and delivery is not None
        early = plan.early
        started = uptime()
        at = self.first_slot + slot
        try:
            hard, soft = limits_for(request, self.options, self.directives)
            if len(delivery.raw) > RAW_SIZE:
                self.board.set_title(at, request.id, request.name)
            self.board.start(at, delivery.tag, delivery.raw, started, soft, hard, early)
            if self.consumer.begin(delivery, ack=early):
                self.board.tally.count(at, request.name)
                if not early:  # `begin` may have given it a new tag
                    self.board.set_tag(at, delivery.tag)
                request.acknowledged = early
                self._running[slot] = request
                self._execute(request, slot)
        except WorkerTerminate:
            if not request.acknowledged:
                self.consumer.requeue(delivery)
            raise
        except Exception as exc:  # a border: user code is run behind another one, so this is ours
            self._cannot_run(delivery, exc)
        finally:
            self.interrupting.leave()
            if not request.given_up:
                self.done += 1
                if not self._held_back:
                    self.board.finish(at, self.done)
        if self.consumer.counting and not self.serial:
            self.settler.finish_chords()
        self.pace.ran(uptime() - started)
        self._retire_if_due()

    def _on_sent(self) -> None:
        """The last outcome is on its way: only now the board may say that its task has ended."""
        if self._held_back:
            self._held_back = False
            self.board.finish(self.first_slot, self.done)

    def _execute(self, request: Request, slot: int) -> None:
        plan = request.plan
        assert plan is not None
        execution = Execution(
            plan, request.context(), request.args, request.kwargs, partial(self.settle, request, slot)
        )
        if plan.track_started:
            execution.on_start = partial(self.settler.store_now, request)
        execution.guard = self._guard
        if self.events is not None:
            self.events.started(request)
        outcome = execute(execution)
        if self.events is not None and not request.given_up:
            self.events.ended(request, outcome)

    def on_cold_shutdown(self) -> None:
        """End now: what was acknowledged is lost, what was not goes back."""
        self.cold = True
        self.stop()
        if self.interrupting.leave() or not self.serial:
            raise WorkerTerminate(EX_FAILURE)

    # -- letting go

    def settle(
        self, request: Request, slot: int, execution: Execution, record: bytes | None, following: Following | None
    ) -> None:
        """Store, follow up and acknowledge, in one transaction where broker and result store are one server."""
        if not self._take(request, slot):
            return  # it ran into its hard limit, and has failed already
        self._held_back = self.settler.let_go(request, execution, record, following, self._last)

    def _retire_if_due(self) -> None:
        if self.share.limited and self.share.spent(self.done, self.pace.mean, self.executor.slots):
            self.stop()


def _number(delivery: Delivery) -> int:
    """The sequence number in a tag."""
    tag = delivery.tag
    return int(tag.split(b"\0", 1)[0]) if tag else 0
