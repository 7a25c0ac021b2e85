"""The housekeeping of a worker: leases, due messages, hoarders, and what dead task processes leave behind.

It runs in the control process, or in a thread of a worker that lives in somebody else's process.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from celerylite.utils.clock import uptime
from celerylite.worker.loss import Loss, fail_buried, settle_loss
from celerylite.worker.rate_limits import Hunger
from celerylite.worker.settling import finish_overdue_chords

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerylite.app.base import Celery
    from celerylite.brokers import Broker
    from celerylite.worker.board import Board
    from celerylite.worker.directives import Directives, Message
    from celerylite.worker.emitter import Emitter
    from celerylite.worker.news import News
    from celerylite.worker.options import WorkerOptions

logger = logging.getLogger("celery.worker")

#: Seconds between looks at the board while a task runs, and while none does.
LOOK_BUSY, LOOK_IDLE = 0.05, 0.25
#: Seconds of a round after which the server, or we, were away: others may have been cut off as well.
AWAY = 1.0
#: Parts of a lease between renewals.
RENEWALS = 3
#: Part of a lease between looks for chords that nobody finishes (10 s of 15): who should have was killed at that very
#: moment, so it is rare, and an idle worker shall cost the broker less than one command a second.
LOOK_CHORDS = 2 / 3


class Housekeeping:
    """One loop; `report` and `stop` may be called by other threads."""

    def __init__(
        self,
        app: Celery,
        options: WorkerOptions,
        broker: Broker,
        board: Board,
        on_settled: Callable[[Loss], None] = lambda loss: None,
        directives: Directives | None = None,
    ) -> None:
        self.app = app
        self.options = options
        self.broker = broker
        self.board = board
        self.on_settled = on_settled
        self.keeper = broker.keeper(options.queues, lease=options.lease)
        self._hunger = Hunger(app, options, broker, self.keeper, board, directives) if directives is not None else None
        self._losses: deque[Loss] = deque()
        #: Set by another thread when queues were added or cancelled.
        self._queues: list[str] | None = None
        self._stopping = threading.Event()
        self._renew_at = self._reclaim_at = self._promote_at = self._chords_at = 0.0
        self._chord_trouble = ""
        #: When (`uptime`) the last round began.
        self._round_at = 0.0
        self._broken = False
        #: Whether this connection is new: a server that has just started holds leases that ran out while it was away.
        self._fresh = True
        self._spared: dict[int, float] = {}
        #: Tells of tasks that were lost with their process.
        self.news: News | None = None

    @property
    def _events(self) -> Emitter | None:
        return self.news.events if self.news is not None else None

    def _on_buried(self, raw: bytes, reason: str) -> None:
        fail_buried(self.app, self.options, self.broker, raw, reason, self._events)

    def listen(self) -> None:
        """Before the worker says that it is ready: be there for what is broadcast from then on."""
        try:
            self.keeper.listen()
        except self.broker.connection_errors as exc:
            logger.debug("Not listening yet: %s", exc)  # `run` tries again, and says so

    def run(self) -> None:
        """Keep house until `stop`; a broken connection is mended, whatever else is wrong is logged."""
        while not self._stopping.is_set():
            try:
                self._round()
            except (*self.broker.connection_errors,) as exc:
                self._mend(exc)
            except Exception:  # a border: housekeeping must go on
                logger.exception("Housekeeping failed; going on", extra={"action": "housekeeping_failed"})
                self._mend(None)
        try:
            self._settle_losses()
        except self.broker.connection_errors as exc:
            logger.error("The broker is gone: %d lost task(s) could not be settled: %s", len(self._losses), exc)
        self.keeper.close()

    @property
    def connected(self) -> bool:
        """Whether the broker is there, as far as is known at this moment."""
        known = self.board.renewed() > 0 and not self._broken and not self.board.outage()
        return known and self.keeper.connected()

    def stop(self) -> None:
        """End `run` after the losses that were reported are settled."""
        self._stopping.set()
        self.keeper.wake()

    def follow(self, directives: Directives) -> None:
        """Keep house for the queues that the worker consumes, whatever it is told."""

        def changed(directive: Message | None = None) -> None:
            self._queues = list(directives.queues)
            self.keeper.wake()

        for kind in ("add_consumer", "cancel_consumer"):
            directives.on(kind, changed)
        if directives.queues != self.options.queues:
            changed()

    def report(self, loss: Loss) -> None:
        """A task process is gone: settle what it left."""
        self._losses.append(loss)
        self.keeper.wake()

    def _round(self) -> None:
        now = uptime()
        self.board.set_alive(now)
        if self._round_at and now - self._round_at > max(AWAY, self.options.lease / 4):
            self._reclaim_at = max(self._reclaim_at, now + self.options.lease)  # see `_mend`
        self._round_at = now
        queues, self._queues = self._queues, None
        if queues is not None:
            self.broker.subscribe(self.app.amqp.queues.consume_from.values())
            self.keeper.set_queues(queues)
        if now >= self._renew_at:
            self._renew(now)
        self._settle_losses()
        if self._fresh:
            self._fresh = False
            self._reclaim_at = max(self._reclaim_at, uptime() + self.options.lease - self.keeper.server_age())
        if now >= self._reclaim_at:
            self._reclaim_at = uptime() + self.keeper.reclaim(self.options.delivery_limit, self._on_buried)
        if now >= self._promote_at:
            left = self.keeper.promote()
            self._promote_at = float("inf") if left is None else uptime() + left
        if now >= self._chords_at:
            self._finish_chords()
        if self._hunger is not None:
            self._hunger.look(now)
        busy = self._spare_hoarders(now)
        self._sleep(LOOK_BUSY if busy else LOOK_IDLE)
        if self._broken:
            self._broken = False
            logger.warning("Housekeeping is connected to the broker again", extra={"action": "reconnected"})

    def _renew(self, now: float) -> None:
        self.keeper.renew(self.board.consumers())
        self.board.set_renewed(now)  # the moment before the renewal, to be on the safe side
        lease = self.options.lease
        self._renew_at = now + lease / RENEWALS
        if uptime() - now > lease / 4:
            self._reclaim_at = max(self._reclaim_at, uptime() + lease)  # the server was frozen: see `_mend`

    def _finish_chords(self) -> None:
        self._chords_at = uptime() + LOOK_CHORDS * self.options.lease
        try:
            finish_overdue_chords(self.app, self.broker)
        except Exception as exc:  # a border: stores of any make raise what they like, bodies are the user's
            if repr(exc) != self._chord_trouble:  # said once, not every few seconds
                logger.error("Chords cannot be looked after: %r", exc, extra={"action": "chord_failed"})
            self._chord_trouble = repr(exc)
            self._chords_at += LOOK_CHORDS * self.options.lease

    def _sleep(self, most: float) -> None:
        until = min(self._renew_at, self._reclaim_at, self._promote_at)
        pause = max(0.0, min(most, until - uptime()))
        if self.keeper.wait(pause, self.board.blocked):
            self._promote_at = 0.0

    def _spare_hoarders(self, now: float) -> bool:
        """Give back what waits behind a long task; returns whether anything runs."""
        busy = False
        for slot in range(self.board.used()):
            if not self.board.busy(slot):
                continue
            busy = True
            running = self.board.read(slot)
            long = now - running.since >= self.options.long_task
            if long and running.consumer_id and running.holds_more and self._spared.get(slot) != running.since:
                self.keeper.spare(running.consumer_id, running.tag, running.last)
                self._spared[slot] = running.since
        return busy

    def _settle_losses(self) -> None:
        while self._losses:
            settle_loss(self.app, self.options, self.broker, self.keeper, self._losses[0], self._events)
            self.on_settled(self._losses.popleft())

    def _mend(self, exc: BaseException | None) -> None:
        if exc is not None and not self._broken:
            self._broken = True
            logger.error("Housekeeping lost the broker: %s. Trying again…", exc, extra={"action": "connection_lost"})
        self.keeper.drop()
        self._renew_at = self._promote_at = 0.0
        # Whoever was cut off too must have the time to renew, or their messages would be taken from them though they
        # live.
        self._reclaim_at = uptime() + self.options.lease
        self._fresh = True
        self.board.set_alive(uptime())
        self._stopping.wait(0.5)
