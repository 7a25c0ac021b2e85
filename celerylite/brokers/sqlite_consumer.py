"""Taking from SQLite: one transaction a batch, woken by bells.

`sqlite_letting_go` has what becomes of a message then.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any

from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.base import Consumer
from celerylite.brokers.envelope import decode
from celerylite.brokers.outage import Enduring
from celerylite.brokers.sqlite_bells import POLL, SAFETY, Ear, queue_bell
from celerylite.brokers.sqlite_file import ERRORS, Link
from celerylite.brokers.sqlite_letting_go import Held, LettingGo
from celerylite.brokers.sqlite_marks import EARLY, PLACES, Marks
from celerylite.brokers.values import Delivery
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.brokers.sqlite import SqliteBroker
    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.sqlite")

#: Most bytes that one take may bring.
TAKE_BYTES = 1_000_000
#: Parts of a lease between its extensions by the consumer itself.
EXTENSIONS = 3


class SqliteConsumer(Enduring, LettingGo, Consumer):
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
        self._link = None
        self._lock = RLock()
        self._marks = Marks(self.database.bells, self.id)
        self._sequence = 0
        self._extended = float("-inf")
        self._finished = []
        self._ended = []
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

