"""Taking from SQLite: what one task process holds, and every way in which it lets go of a message.

A batch is taken in one transaction. That a message of a batch has started is a mark in shared memory, which a killed
process leaves behind; its row is deleted later, together with its outcome or with the next batch. A message that was
taken alone is acknowledged by a transaction of its own.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any

from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.base import Consumer
from celerylite.brokers.envelope import decode, redelivered, with_headers
from celerylite.brokers.outage import Enduring
from celerylite.brokers.sqlite import Row, settle
from celerylite.brokers.sqlite_bells import DELAYED, POLL, SAFETY, Ear, queue_bell
from celerylite.brokers.sqlite_chords import drop_chord
from celerylite.brokers.sqlite_file import ERRORS, Link
from celerylite.brokers.sqlite_marks import EARLY, LATE, PLACES, Marks
from celerylite.brokers.values import Delivery, EndedChord, Settlement
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.brokers.sqlite import SqliteBroker
    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.sqlite")

#: Most bytes that one take may bring.
TAKE_BYTES = 1_000_000
#: Seconds of a process's work that a lost power cord may undo: the disk is asked this often, and before each wait.
SYNC_EVERY = 0.02
#: Parts of a lease between its extensions by the consumer itself.
EXTENSIONS = 3


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


class SqliteConsumer(Enduring, Consumer):
    """See the module. `renewed` tells when (`uptime`) the keeper last renewed our lease."""

    _logger = logger
    _lost_sentence = "Cannot use the broker: %s. Trying again…"

    def __init__(
        self,
        broker: SqliteBroker,
        queues: Sequence[str],
        *,
        serial: bool,
        lease: float,
        renewed: Callable[[], float] = lambda: 0.0,
        on_block: Callable[[int], None] = lambda number: None,
        alarm: int | None = None,
        sure: float = 0.05,
    ) -> None:
        self.broker = broker
        self.database = broker.database
        self.serial = serial
        self.lease = lease
        self.sure = sure
        self.id = f"{'s' if serial else 't'}{os.urandom(8).hex()}"
        self._open_wake(alarm)
        self._link: Link | None = None
        #: Threads settle while another one waits for messages.
        self._lock = RLock()
        self._marks = Marks(self.database.bells, self.id)
        self._sequence = 0
        self._extended = float("-inf")
        #: Messages acknowledged by a mark; their rows go with the next take.
        self._finished: list[Held] = []
        #: Chords whose last part was settled here, and nobody has asked for yet.
        self._ended: list[Any] = []
        self._version = -1
        self._ear: Any = None
        self.set_queues(queues)

    def set_queues(self, queues: Sequence[str]) -> None:
        """Fetch from these queues from now on; nothing was asked for beforehand."""
        self.queues = list(queues)
        self._turn = 0
        if self._ear is not None:
            self._ear.close()
        others = (self._wake_read, *self._alarms)
        self._ear = Ear(self.database.bells, map(queue_bell, self.queues), others)

    def open(self, given_up: Callable[[], bool]) -> bool:
        """Open the file, trying until it works or `given_up` says so; returns whether it did."""
        return self._keep_trying(lambda: self._extend(self._opened()), ERRORS, given_up)

    def _opened(self) -> Link:
        if self._link is None:
            link = self.database.borrow()
            self._marks.open()
            self._link = link
        return self._link

    def _extend(self, link: Link) -> None:
        """Write down that we live; the keeper renews it from then on."""
        now = uptime()
        if now - self._extended > self.lease / EXTENSIONS:
            with link:
                link.execute("INSERT OR REPLACE INTO consumer (name, lease) VALUES (?, ?)", (self.id, now + self.lease))
            self._extended = now

    # -- taking

    def fetch(self, most: int, wait: float) -> list[Delivery]:
        """Take up to `most` messages; with none there, wait up to `wait` seconds for the first."""
        if not self.queues:
            self._idle(wait)
            return []
        try:
            taken = self._fetch(most, 0.0 if self._pause else wait)  # to say at once that it works again
        except ERRORS as exc:
            self._complain(exc)
            self._sleep(min(self._pause, wait))
            return []
        if self._pause:
            self._relieved("%s can be used again", self.broker.address.url)
        return taken

    def _fetch(self, most: int, wait: float) -> list[Delivery]:
        with self._lock:
            taken = self._take(most)
        if taken or wait <= 0:
            return taken
        with self._lock:
            self._rest()
        deadline = time.monotonic() + wait
        rung = True
        while True:
            if rung or self._changed():
                self._ear.hush()  # before the look: what rings after it is heard in the wait
                with self._lock:
                    taken = self._take(most)
                if taken and not rung and not self._ear.deaf:
                    self._ear.close()  # a bell that nobody rings may have been removed
                if taken:
                    return taken
            rest = deadline - time.monotonic()
            if rest <= 0:
                return []
            rung = self._ear.wait(min(rest, POLL if self._ear.deaf else SAFETY))
            if self._drain_wake() or self._alarmed():
                return []

    def _changed(self) -> bool:
        """Whether anybody has committed since we last asked; what nobody rang the bell for is noticed here."""
        version = self._opened().version()
        changed, self._version = version != self._version, version
        return changed

    def _rest(self) -> None:
        """Before a wait: leave nothing undone, and nothing that a lost power cord could undo."""
        link = self._opened()
        if self._finished:
            with link:
                self._forget_finished(link)
            self._finished.clear()
        if link.dirty:
            link.sync()

    def _take(self, most: int) -> list[Delivery]:
        """One transaction; or only a look, where there is nothing."""
        link = self._opened()
        self._extend(link)
        most = min(most, PLACES // 2)
        if not self._finished and not any(link.read(schema.ANY, (queue,)) for queue in self.queues):
            return []
        sent = uptime()
        with link:
            self._forget_finished(link)
            rows = self._look(link, most)
            first, self._sequence = self._sequence, self._sequence + len(rows)
            link.many(schema.HOLD, [(self.id, first + at, row[2]) for at, row in enumerate(rows)])
            if len(rows) == most:  # there may be more, for others who have heard the same bell
                for queue in {row[4] for row in rows}:
                    link.ring(queue_bell(queue))
        self._finished.clear()
        self._sync_if_due(link)
        taken: list[Delivery] = []
        for at, (priority, _, number, raw, queue) in enumerate(rows):
            tag = b"%d\0%d" % (first + at, number)
            held = Held(tag, raw, queue, number, first + at, priority, sent + self.sure, len(rows) == 1)
            taken.append(held)
        return taken

    def _look(self, link: Link, most: int) -> list[tuple[int, int, int, bytes, str]]:
        """The next messages in line: (priority, turn, id, message, queue); among queues by turns."""
        queues = self.queues
        if len(queues) > 1:
            self._turn = (self._turn + 1) % len(queues)
            queues = queues[self._turn :] + queues[: self._turn]
        found: list[tuple[int, int, int, bytes, str]] = []
        for turn, queue in enumerate(queues):
            size = 0
            for priority, number, raw in link.read(schema.WAITING, (queue, most)):
                found.append((priority, turn, number, raw, queue))
                size += len(raw)
                if size > TAKE_BYTES:
                    break
        if len(queues) > 1:
            found.sort(key=lambda row: row[:3])
        return _within(found, most)

    def read(self, delivery: Delivery) -> Message:
        """The message in a delivery."""
        return decode(delivery.raw)

    def fresh(self, delivery: Delivery) -> bool:
        """Whether nobody can have taken the message from us by now."""
        assert isinstance(delivery, Held)
        return uptime() < delivery.sure_until

    # -- letting go

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
        if settlement.store is None and not settlement.messages and not settlement.commands:
            if not acked:
                self.ack(delivery)
            return True
        rows = self.broker.rows(settlement.messages) if settlement.messages else []
        with self._lock:
            ended = self._insist(lambda link: self._settle(link, delivery, settlement, rows, acked))
            self._ended += ended or ()
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
        ended, self._ended = self._ended, []
        return ended

    def finish_chord(self, chord: EndedChord, settlement: Settlement) -> None:
        """Send what the end of a chord sets off, unless somebody else has done so, and forget the chord."""
        rows = self.broker.rows(settlement.messages)
        with self._lock:
            done = self._insist(lambda link: settle(link, settlement, rows) if drop_chord(link, chord) else [])
            self._ended += done or ()

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

    def flush(self) -> None:
        """Return once all that was done is on the disk."""
        with self._lock:
            try:
                self._rest()
            except ERRORS as exc:
                self._complain(exc)

    # -- the end

    def close(self) -> None:
        """Give back all that is held, forget the consumer, close."""
        self.end()
        try:
            with self._lock:
                self._insist(self._leave)
                if self._link is not None:
                    self._link.sync()
        except ERRORS as exc:
            logger.error("Could not say goodbye to the broker: %s", exc, extra={"action": "given_up"})
        finally:
            if self._link is not None:
                self._link.close()
            self._marks.close()
            self._ear.close()
            self._close_wake()

    def _leave(self, link: Link) -> None:
        """Within a transaction: return what has not started; what is acknowledged by a mark is gone."""
        statement = "SELECT id, number, queue, raw FROM message WHERE consumer = ? ORDER BY number DESC"
        for number, sequence, queue, raw in link.read(statement, (self.id,)):
            if self._marks.get(sequence) == EARLY:
                link.execute(schema.LET_GO, (number, self.id, sequence))
            else:
                link.execute(schema.RETURN, (raw, number, self.id, sequence))
                link.ring(queue_bell(queue))
        link.execute("DELETE FROM consumer WHERE name = ?", (self.id,))


def _within(rows: list[Any], most: int) -> list[Any]:
    """The first rows, as many as are allowed and as fit into one take."""
    size = 0
    for count, row in enumerate(rows[:most], 1):
        size += len(row[3])
        if size > TAKE_BYTES:
            return rows[:count]
    return rows[:most]

