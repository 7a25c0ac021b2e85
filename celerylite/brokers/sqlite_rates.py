"""Rate limits that all workers on an SQLite file share: one row a task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celerylite.brokers.rates import Line

if TYPE_CHECKING:
    from celerylite.brokers.sqlite_file import Database, Link

#: Made with the first limit: most files never see one.
TABLE = (
    "CREATE TABLE IF NOT EXISTS rate (name TEXT PRIMARY KEY, next REAL NOT NULL, free REAL NOT NULL, again REAL "
    "NOT NULL) WITHOUT ROWID"
)
READ = "SELECT next, free, again FROM rate WHERE name = ?"
WRITE = "INSERT OR REPLACE INTO rate (name, next, free, again) VALUES (?, ?, ?, ?)"


def wait(database: Database, name: str, period: float, *, back: bool) -> float:
    """As `rates.Line.wait`, in one transaction; that it outlives a lost power cord is not needed."""

    def work(link: Link) -> float:
        with link:
            link.execute(TABLE)
            row = link.read(READ, (name,))
            line = Line(*row[0]) if row else Line()
            seconds = line.wait(time.time(), period, back=back)
            link.execute(WRITE, (name, line.next, line.free, line.again))
        return seconds

    return database.run(work)


def forget(database: Database, name: str) -> None:
    """Begin the line anew."""

    def work(link: Link) -> None:
        with link:
            link.execute(TABLE)
            link.execute("DELETE FROM rate WHERE name = ?", (name,))

    database.run(work)
