"""Every way in which a consumer on SQLite lets go of a message, and what it holds until then.

That a message of a batch has started is a mark in shared memory, which a killed process leaves behind; its row is
deleted later, together with its outcome or with the next batch. A message that was taken alone is acknowledged by a
transaction of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any

from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.envelope import redelivered, with_headers
from celerylite.brokers.sqlite import Row, settle
from celerylite.brokers.sqlite_bells import DELAYED, queue_bell
from celerylite.brokers.sqlite_chords import drop_chord
from celerylite.brokers.sqlite_file import ERRORS, Database, Link
from celerylite.brokers.sqlite_marks import EARLY, LATE, Marks
from celerylite.brokers.values import Delivery, EndedChord, Settlement
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.brokers.sqlite import SqliteBroker

logger = logging.getLogger("celery.brokers.sqlite")

#: Seconds of a process's work that a lost power cord may undo: the disk is asked this often, and before each wait.
SYNC_EVERY = 0.02


@dataclass(slots=True)
class Held(Delivery):
    """A message that this consumer holds."""

    id: int
    number: int
    priority: int
    #: Until when (`uptime`) nobody else can have taken it away.
    sure_until: float
    #: Whether it came alone.
    alone: bool


class LettingGo:
    """See `sqlite_consumer.SqliteConsumer`."""

    broker: SqliteBroker
    database: Database
    serial: bool
    id: str
    #: Threads settle while another one waits for messages.
    _lock: RLock
    _link: Link | None
    _marks: Marks
    #: Messages acknowledged by a mark; their rows go with the next take.
    _finished: list[Held]
    #: Chords whose last part was settled here, and nobody has asked for yet.
    _ended: list[Any]
    _complain: Callable[[BaseException], None]
    _out_of_patience: Callable[[], bool]
    _sleep: Callable[[float], None]
    _pause: float

    def _opened(self) -> Link:
        if self._link is None:
            link = self.database.borrow()
            self._marks.open()
            self._link = link
        return self._link

    def fresh(self, delivery: Delivery) -> bool:
        """Whether nobody can have taken the message from us by now."""
        assert isinstance(delivery, Held)
        return uptime() < delivery.sure_until

    def begin(self, delivery: Delivery, *, ack: bool) -> bool:
        """The task is about to start: acknowledge it if asked, and make sure that nobody else has it."""
        assert isinstance(delivery, Held)
        with self._lock:
            if self.serial and uptime() < delivery.sure_until and not (ack and delivery.alone):
                self._marks.set(delivery.number, EARLY if ack else LATE)
                # After the mark, not before: a process put to sleep in between must notice when it wakes.
                if uptime() < delivery.sure_until:
                    if ack:
                        self._finished.append(delivery)
                    return True
            elif not ack and uptime() < delivery.sure_until:
                return True
            return bool(self._insist(lambda link: self._let_go(link, delivery) if ack else self._has(link, delivery)))

    def _let_go(self, link: Link, held: Held) -> bool:
        """Within a transaction: delete the message; False where it is not ours any more."""
        return link.execute(schema.LET_GO, self._name(held)).rowcount == 1

    def _has(self, link: Link, held: Held) -> bool:
        """Within a transaction, so that nobody is about to take it: whether the message is still ours."""
        return link.execute(schema.IS_HELD, self._name(held)).fetchone() is not None

    def _insist(self, work: Callable[[Link], Any]) -> Any:
        """One transaction, tried until it works; None where it is time to end."""
        while True:
            try:
                link = self._opened()
                with link:
                    value = work(link)
                self._sync_if_due(link)
                return value
            except ERRORS as exc:  # nothing was committed
                self._complain(exc)
                if self._out_of_patience():
                    logger.error("An outcome could not be written: %s", exc, extra={"action": "given_up"})
                    return None
                self._sleep(self._pause)

    def _sync_if_due(self, link: Link) -> None:
        """Never raises: what was committed must not be done again because the disk is slow to say so."""
        if time.monotonic() - link.synced_at > SYNC_EVERY:
            try:
                link.sync()
            except OSError as exc:
                self._complain(exc)

    def _forget_finished(self, link: Link) -> None:
        """Within a transaction; clear the list when it is committed."""
        if self._finished:
            link.many(schema.LET_GO, [self._name(held) for held in self._finished])

    def _name(self, held: Held) -> tuple[int, str, int]:
        return held.id, self.id, held.number

    def ack(self, delivery: Delivery) -> None:
        """The message is done with."""
        assert isinstance(delivery, Held)
        with self._lock:
            if self.serial and self._marks.get(delivery.number) == LATE and self.fresh(delivery):
                self._marks.set(delivery.number, EARLY)
                self._finished.append(delivery)
            else:
                self._insist(lambda link: link.execute(schema.LET_GO, self._name(delivery)))

    def settle(self, delivery: Delivery, settlement: Settlement, *, acked: bool, last: bool = False) -> bool:
        """Store, send and acknowledge in one transaction; nothing is held back."""
        assert isinstance(delivery, Held)
        if settlement.is_empty:
            if not acked:
                self.ack(delivery)
            return True
        rows = self.broker.rows(settlement.messages) if settlement.messages else []
        with self._lock:
            ended = self._insist(lambda link: self._settle(link, delivery, settlement, rows, acked))
            self._note_ended(ended)
        if ended is None and not self._out_of_patience():
            logger.warning(
                "A task finished after its lease had run out; whoever has it now will store its result.",
                extra={"action": "lease_lost"},
            )
        return True

    def _settle(
        self, link: Link, delivery: Held, settlement: Settlement, rows: Sequence[Row], acked: bool
    ) -> list[Any] | None:
        """Within a transaction: the chords that have ended with it, None where the message is not ours any more."""
        if not acked and not self._let_go(link, delivery):
            return None
        return settle(link, settlement, rows)

    def ended_chords(self) -> list[Any]:
        """The chords whose last part was settled here since the last time."""
        with self._lock:
            ended, self._ended, self.counting = self._ended, [], 0
        return ended

    def _note_ended(self, ended: list[Any] | None) -> None:
        if ended:
            self._ended += ended
            self.counting = len(self._ended)

    def finish_chord(self, chord: EndedChord, settlement: Settlement) -> None:
        """Send what the end of a chord sets off, unless somebody else has done so, and forget the chord."""
        rows = self.broker.rows(settlement.messages)
        with self._lock:
            done = self._insist(lambda link: settle(link, settlement, rows) if drop_chord(link, chord) else [])
            self._note_ended(done)

    def requeue(self, delivery: Delivery) -> None:
        """Give a message back to the front of its queue, marked as redelivered."""
        self._return(delivery, redelivered(delivery.raw, count=False)[0])

    def _return(self, delivery: Delivery, raw: bytes) -> None:
        assert isinstance(delivery, Held)

        def work(link: Link) -> None:
            link.execute(schema.RETURN, (raw, *self._name(delivery)))
            link.ring(queue_bell(delivery.queue))

        with self._lock:
            self._insist(work)

    def defer(self, delivery: Delivery, due: float, headers: Mapping[str, Any] | None = None) -> None:
        """Let a message wait in the file until `due`."""
        assert isinstance(delivery, Held)
        raw = with_headers(delivery.raw, headers)

        def work(link: Link) -> None:
            link.execute(schema.DEFER, (due, raw, *self._name(delivery)))
            link.ring(DELAYED)

        with self._lock:
            self._insist(work)

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Set a message aside where it can be looked at."""
        assert isinstance(delivery, Held)

        def work(link: Link) -> None:
            if self._let_go(link, delivery):
                self.broker.bury(link, delivery.raw, delivery.queue, delivery.priority, reason)

        with self._lock:
            self._insist(work)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give messages that were not started back to the front, the first of them first in line."""

        def work(link: Link) -> None:
            for delivery in reversed(deliveries):
                assert isinstance(delivery, Held)
                link.execute(schema.RETURN, (delivery.raw, *self._name(delivery)))
                link.ring(queue_bell(delivery.queue))

        with self._lock:
            self._insist(work)

    def _rest(self) -> None:
        """Before a wait: leave nothing undone, and nothing that a lost power cord could undo."""
        link = self._opened()
        if self._finished:
            with link:
                self._forget_finished(link)
            self._finished.clear()
        if link.dirty:
            link.sync()

    def flush(self) -> None:
        """Return once all that was done is on the disk."""
        with self._lock:
            try:
                self._rest()
            except ERRORS as exc:
                self._complain(exc)
