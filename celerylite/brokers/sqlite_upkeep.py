"""Keeps an SQLite file small: deletes what has expired, carries the write-ahead log over, gives free pages back.

The housekeeping of every worker does it, a little at a time, so that nobody else has to wait for long.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from celerylite.brokers.sqlite_bells import Bells
from celerylite.brokers.sqlite_chords import drop_expired

if TYPE_CHECKING:
    from celerylite.brokers.sqlite_file import Link

#: Seconds between rounds, and between looks for what nobody removes in the ordinary way.
ROUND, SLOW_ROUND = 1.0, 60.0
#: Rows deleted in one transaction.
MOST = 500
#: Bytes of the write-ahead log from which on it is carried over.
LOG_SIZE = 4_000_000
#: Free pages that a file may keep, and how many are given back at a time.
KEEP_FREE, GIVE_BACK = 2000, 4000


class Upkeep:
    """The state of one keeper's rounds."""

    def __init__(self) -> None:
        self._next = self._next_slow = 0.0

    def do(self, link: Link) -> bool:
        """A round, if one is due; True where the next should come soon."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + ROUND
        busy = self._expire(link)
        if now >= self._next_slow:
            self._next_slow = now + SLOW_ROUND
            _remove_strays(link)
        busy |= self._shrink(link)
        if busy:
            self._next = now
        return busy

    def _expire(self, link: Link) -> bool:
        """Delete what has expired; True where there may be more."""
        now = time.time()
        if link.read("SELECT 1 FROM result WHERE expires <= ? LIMIT 1", (now,)):
            with link:
                statement = "DELETE FROM result WHERE id IN (SELECT id FROM result WHERE expires <= ? LIMIT ?)"
                return link.execute(statement, (now, MOST)).rowcount == MOST
        if link.read("SELECT 1 FROM chord WHERE expires <= ? LIMIT 1", (now,)):
            with link:
                drop_expired(link, now)
        if link.read("SELECT 1 FROM queue WHERE expires <= ? LIMIT 1", (now,)):
            with link:
                drop_queues(link, [row[0] for row in link.read("SELECT name FROM queue WHERE expires <= ?", (now,))])
        return False

    def _shrink(self, link: Link) -> bool:
        """Give free pages at the end of the file back; True where there are more."""
        free = link.read("PRAGMA freelist_count")[0][0]
        if free <= KEEP_FREE or free * 2 < link.read("PRAGMA page_count")[0][0]:
            return False
        # As a script, because only that runs to its end; a statement gives back one page.
        link.database.insist(lambda: link.connection.executescript(f"PRAGMA incremental_vacuum({GIVE_BACK})"))
        return True

    def carry_over(self, link: Link) -> None:
        """Move the write-ahead log into the file when it has grown; it begins anew then."""
        try:
            if os.stat(link.database.path + "-wal").st_size < LOG_SIZE:
                return
        except OSError:
            return
        _, size, done = link.read("PRAGMA wal_checkpoint(PASSIVE)")[0]
        if 0 < done == size or size <= 0:
            return
        # What came in the meantime is little, so others wait for a moment only.
        link.read("PRAGMA wal_checkpoint(RESTART)")


def drop_queues(link: Link, names: list[str]) -> None:
    """Within a transaction: delete queues that have expired, their messages and bindings."""
    for name in names:
        link.execute("DELETE FROM queue WHERE name = ?", (name,))
        link.execute("DELETE FROM binding WHERE queue = ?", (name,))
        link.execute("DELETE FROM message WHERE queue = ? AND consumer IS NULL", (name,))


def _remove_strays(link: Link) -> None:
    """Bells and waiters of processes that are gone."""
    bells = link.database.bells
    for (bell,) in link.read("SELECT DISTINCT bell FROM waiter"):
        if not bells.heard(bell):
            with link:
                link.execute("DELETE FROM waiter WHERE bell = ?", (bell,))
            bells.remove(bell)
    _remove_files(bells)


def _remove_files(bells: Bells) -> None:
    try:
        names = os.listdir(bells.folder)
    except OSError:
        return
    for name in names:
        if name[0] in "ql" and not bells.heard(name):
            bells.remove(name)
