"""Revoked tasks in an SQLite file, the broker's or the result store's."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from celerylite.brokers.revoked_book import RevokedBook

if TYPE_CHECKING:
    from celerylite.brokers.sqlite_file import Database, Link


class SqliteBook(RevokedBook):
    """A table, made with the first revoke: most files never see one."""

    TABLE = "CREATE TABLE IF NOT EXISTS revoked (entry TEXT PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID"
    INDEX = "CREATE INDEX IF NOT EXISTS revoked_time ON revoked (time)"
    TRIM = "DELETE FROM revoked WHERE time <= (SELECT time FROM revoked ORDER BY time DESC LIMIT 1 OFFSET ?)"

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, entries: Iterable[str], *, expires: float, most: int) -> None:
        """Write down, and forget what is too old or too much, in one transaction; then it is on the disk."""
        now = time.time()
        rows = [(entry, now) for entry in entries]

        def work(link: Link) -> None:
            with link:
                link.execute(self.TABLE)
                link.execute(self.INDEX)
                link.many("INSERT OR REPLACE INTO revoked (entry, time) VALUES (?, ?)", rows)
                link.execute("DELETE FROM revoked WHERE time <= ?", (now - expires,))
                link.execute(self.TRIM, (most,))
            link.sync()

        self.database.run(work)

    def read(self, expires: float) -> dict[str, float]:
        """Everything younger than `expires`."""
        query = "SELECT entry, time FROM revoked WHERE time > ? ORDER BY time"
        try:
            return dict(self.database.run(lambda link: link.read(query, (time.time() - expires,))))
        except sqlite3.OperationalError as exc:
            if "no such table" in str(exc):
                return {}
            raise
