"""The housekeeping of one worker on SQLite: leases, due messages, what the dead left, and the file itself.

A consumer is dead when its process is gone (its file is not locked any more) or when its lease has run out. Its own
worker has a moment to see to it first. What a stopped process has acknowledged by a mark stays with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers import sqlite_marks as marks
from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.base import Keeper
from celerylite.brokers.envelope import header_text, redelivered
from celerylite.brokers.sqlite_bells import DELAYED, POLL, SAFETY, Ear, queue_bell
from celerylite.brokers.sqlite_file import Link
from celerylite.brokers.sqlite_letting_go import Held
from celerylite.brokers.sqlite_upkeep import Upkeep
from celerylite.brokers.values import Delivery
from celerylite.brokers.waking import Waking
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.brokers.sqlite import SqliteBroker

#: Told of a message that was set aside, and why.
OnBuried = Callable[[bytes, str], None]
#: Row of a held message: id, queue, priority, number, message.
Row = tuple[int, str, int, int, bytes]

logger = logging.getLogger("celery.brokers.sqlite")

#: Most messages moved by one promotion, so that others can write in between.
PROMOTE_MOST = 500
#: Seconds between looks for processes that are gone.
LOOK_FOR_DEAD = 1.0
#: Seconds between rounds of upkeep while there is much to do.
AGAIN = 0.1
#: Seconds for which a process must have been gone: its own worker knows better what to do with what it ran.
GRACE = 2.0

HELD_BY = "SELECT id, queue, priority, number, raw FROM message WHERE consumer = ? ORDER BY number"


class SqliteKeeper(Waking, Keeper):
    """See the module."""

    def __init__(self, broker: SqliteBroker, queues: Sequence[str], *, lease: float) -> None:
        self.broker = broker
        self.database = broker.database
        self.lease = lease
        self._link: Link | None = None
        self.queues = list(queues)
        self._open_wake()
        self._ear = Ear(self.database.bells, (DELAYED,), (self._wake_read,))
        self._upkeep = Upkeep()
        #: Consumers whose process is gone, and since when we know.
        self._gone: dict[str, float] = {}
        self._version = -1
        self._looked = 0.0

    @property
    def link(self) -> Link:
        """The keeper's own."""
        if self._link is None:
            self._link = self.database.borrow()
        return self._link

    def set_queues(self, queues: Sequence[str]) -> None:
        """The queues of the worker from now on."""
        self.queues = list(queues)

    # -- leases

    def renew(self, consumer_ids: Iterable[str]) -> None:
        """Extend the leases of consumers that are alive."""
        until = uptime() + self.lease
        rows = [(until, consumer) for consumer in consumer_ids]
        if rows:
            with self.link as link:
                link.many("UPDATE consumer SET lease = ? WHERE name = ?", rows)
            # With it everything that any process has committed before.
            self.link.sync()

    def reclaim(self, limit: int | None, on_buried: OnBuried) -> float:
        """Return what dead consumers held; returns the seconds until the next look is due."""
        busy = self._upkeep.do(self.link)
        now = uptime()
        consumers = self.link.read("SELECT name, lease FROM consumer")
        gone = {name for name, _ in consumers if not marks.lives(self.database.bells, name)}
        self._gone = {name: self._gone.get(name, now) for name in gone}
        for name, lease in consumers:
            if lease < now or now - self._gone.get(name, now) >= GRACE:
                self._reclaim_one(name, limit, on_buried, gone=name in gone)
        return min(AGAIN if busy else LOOK_FOR_DEAD, self.lease)

    def _reclaim_one(self, name: str, limit: int | None, on_buried: OnBuried, *, gone: bool) -> None:
        buried: list[tuple[bytes, str]] = []
        moved = 0
        with self.link as link:
            if not gone and not link.read("SELECT 1 FROM consumer WHERE name = ? AND lease < ?", (name, uptime())):
                return  # it has come back
            noted = marks.read(self.database.bells, name)
            # From the newest to the oldest, each to the front: so the oldest ends up first in line.
            for row in reversed(self._held(name)):
                kind = marks.kind_of(noted, row[3])
                if kind == marks.EARLY:
                    if gone:  # as long as its process exists, it may want to know that this one is its own
                        link.execute(schema.LET_GO, (row[0], name, row[3]))
                elif kind == marks.LATE or name[0] != "s":
                    moved += 1
                    buried += self._return_suspect(link, name, row, limit)
                else:
                    moved += 1
                    self._return(link, name, row, row[4])
            if gone:
                link.execute("DELETE FROM consumer WHERE name = ?", (name,))
        if gone:
            marks.remove(self.database.bells, name)
        if moved:
            logger.warning(
                "Restored %d message(s) of a task process that is gone", moved, extra={"action": "reclaimed"}
            )
        for raw, reason in buried:
            on_buried(raw, reason)

    def _held(self, name: str) -> list[Row]:
        return self.link.read(HELD_BY, (name,))

    def _return(self, link: Link, name: str, row: Row, raw: bytes) -> None:
        """Within a transaction: to the front of its queue."""
        link.execute(schema.RETURN, (raw, row[0], name, row[3]))
        link.ring(queue_bell(row[1]))

    def _return_suspect(self, link: Link, name: str, row: Row, limit: int | None) -> list[tuple[bytes, str]]:
        """Return a message that may be what killed its consumer; after `limit` deaths it is set aside, and given
        back with the reason.
        """
        raw, count = redelivered(row[4], count=True)
        if not limit or count < limit:
            self._return(link, name, row, raw)
            return []
        if link.execute(schema.LET_GO, (row[0], name, row[3])).rowcount == 0:
            return []
        reason = f"{count} workers died while they ran it (worker_delivery_limit)"
        self.broker.bury(link, row[4], row[1], row[2], reason)
        return [(row[4], reason)]

    # -- what a consumer of this worker has left

    def abandon(self, consumer_id: str, running: Iterable[Any]) -> list[Delivery]:
        """Return what a consumer of this worker that has died held, but for the messages that it ran.

        `running` are the tags that it died with; those still held come back as deliveries, for the caller to decide on.
        """
        started = set(running)
        found: list[Delivery] = []
        with self.link as link:
            noted = marks.read(self.database.bells, consumer_id)
            for row in reversed(self._held(consumer_id)):
                number, queue, priority, sequence, raw = row
                tag = b"%d\0%d" % (sequence, number)
                if marks.kind_of(noted, sequence) == marks.EARLY:
                    link.execute(schema.LET_GO, (number, consumer_id, sequence))
                elif tag in started:
                    found.append(Held(tag, raw, queue, number, sequence, priority, 0.0, True))
                else:
                    self._return(link, consumer_id, row, raw)
        return found[::-1]

    def give_back(
        self,
        consumer_id: str,
        delivery: Delivery,
        *,
        count: bool = False,
        limit: int | None = None,
        on_buried: OnBuried = lambda raw, reason: None,
    ) -> None:
        """Return one message of a dead consumer to its queue, redelivered; with `count` it may be set aside instead."""
        assert isinstance(delivery, Held)
        row = delivery.id, delivery.queue, delivery.priority, delivery.number, delivery.raw
        buried: list[tuple[bytes, str]] = []
        with self.link as link:
            if count:
                buried = self._return_suspect(link, consumer_id, row, limit)
            else:
                self._return(link, consumer_id, row, redelivered(delivery.raw, count=False)[0])
        for raw, reason in buried:
            on_buried(raw, reason)

    def discard(self, consumer_id: str, delivery: Delivery) -> bool:
        """Acknowledge one message of a dead consumer; False where it is held no more."""
        assert isinstance(delivery, Held)
        with self.link as link:
            return link.execute(schema.LET_GO, (delivery.id, consumer_id, delivery.number)).rowcount == 1

    def spare(self, consumer_id: str, running: Any, upto: int) -> int:
        """Give back what a busy consumer holds but has not started, up to sequence number `upto`.

        Threads take only what they have room for, so nothing waits behind another task there.
        """
        if consumer_id[:1] != "s":
            return 0
        moved, number = 0, int(running.split(b"\0", 1)[0])
        with self.link as link:
            noted = marks.read(self.database.bells, consumer_id)
            for row in reversed(self._held(consumer_id)):
                kind = marks.kind_of(noted, row[3])
                if kind == marks.EARLY:  # a long task: what it acknowledged by a mark may as well be on the disk
                    link.execute(schema.LET_GO, (row[0], consumer_id, row[3]))
                elif kind == marks.NONE and number < row[3] <= upto:
                    self._return(link, consumer_id, row, row[4])
                    moved += 1
        self.link.sync()
        return moved

    # -- due messages

    def promote(self) -> float | None:
        """Move due messages to their queues; returns the seconds until the next one is due, None without any."""
        while True:
            self._ear.hush()
            left = self._next_due()
            if left is None or left > 0:
                return left
            with self.link as link:
                statement = "SELECT id, queue FROM message WHERE due <= ? ORDER BY due DESC, id DESC LIMIT ?"
                for number, queue in link.read(statement, (time.time(), PROMOTE_MOST)):
                    link.execute(schema.PROMOTE, (number,))
                    link.ring(queue_bell(queue))

    def advance(self, header: str, value: str, most: int) -> int:
        """Let deferred messages with this header wait at the front of our queues."""
        text = header_text(header, value).encode()
        marks = ", ".join("?" * len(self.queues))
        query = (
            f"SELECT id, queue FROM message WHERE due IS NOT NULL AND consumer IS NULL AND queue IN ({marks}) "
            "AND instr(raw, ?) > 0 ORDER BY due LIMIT ?"
        )
        with self.link as link:
            found = link.read(query, (*self.queues, text, most))
            for number, queue in reversed(found):
                link.execute(schema.PROMOTE, (number,))
                link.ring(queue_bell(queue))
        return len(found)

    def _next_due(self) -> float | None:
        (due,) = self.link.read("SELECT min(due) FROM message WHERE due IS NOT NULL")[0]
        return None if due is None else max(0.0, due - time.time())

    def wait(self, timeout: float, blocked: Callable[[], Iterable[int]]) -> bool:
        """Sleep until `timeout`, until `wake`, or until a message was deferred; True where one may have been."""
        self._upkeep.carry_over(self.link)
        rung = self._ear.wait(min(timeout, POLL) if self._ear.deaf else timeout)
        self._drain_wake()
        now = uptime()
        if not rung and now - self._looked < SAFETY and not self._ear.deaf:
            return False
        self._looked = now
        version = self.link.version()
        changed, self._version = version != self._version, version
        return rung or changed

    def drop(self) -> None:
        """After an error: open the file anew."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def close(self) -> None:
        """Let other workers see to what is due, and close."""
        self.database.bells.ring(DELAYED)
        self.drop()
        self._ear.close()
        self._close_wake()
