"""Notebooks in an SQLite file, and publishing together with a note: each in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from celerylite.brokers.base import Notebook
from celerylite.brokers.sqlite_file import Link
from celerylite.brokers.values import Claim

if TYPE_CHECKING:
    from celerylite.brokers.sqlite_file import Database

READ = "SELECT value FROM note WHERE notebook = ? AND key = ?"
WRITE = "INSERT OR REPLACE INTO note (notebook, key, value) VALUES (?, ?, ?)"


class SqliteNotebook(Notebook):
    """One notebook."""

    def __init__(self, database: Database, name: str) -> None:
        self.database = database
        self.name = name

    def read(self) -> tuple[int, dict[str, bytes]]:
        """Its version and all its notes."""

        def work(link: Link) -> tuple[int, dict[str, bytes]]:
            with link:  # so that both are of one moment
                notes = dict(link.read("SELECT key, value FROM note WHERE notebook = ?", (self.name,)))
                return self._version(link), notes

        return self.database.run(work)

    def change(
        self, set: Mapping[str, bytes] | None = None, drop: Iterable[str] = (), version: int | None = None
    ) -> bool:
        """Write and delete notes in one step; False where `version` is another by now."""

        def work(link: Link) -> bool:
            with link:
                found = self._version(link)
                if version not in (None, found):
                    return False
                link.many(WRITE, [(self.name, key, value) for key, value in (set or {}).items()])
                link.many("DELETE FROM note WHERE notebook = ? AND key = ?", [(self.name, key) for key in drop])
                link.execute("INSERT OR REPLACE INTO notebook (name, version) VALUES (?, ?)", (self.name, found + 1))
            link.sync()
            return True

        return self.database.run(work)

    def version(self) -> int:
        """Another number after each `change`, 0 where nothing was ever changed."""
        return self.database.run(self._version)

    def _version(self, link: Link) -> int:
        rows = link.read("SELECT version FROM notebook WHERE name = ?", (self.name,))
        return rows[0][0] if rows else 0


def claim_one(link: Link, claim: Claim) -> tuple[bytes | None, bool]:
    """Within a transaction: what the claimer is told, and whether its messages are to be sent now.

    A note that says what is to be written is the work of an earlier call whose answer was lost.
    """
    rows = link.read(READ, (claim.book, claim.field))
    found = rows[0][0] if rows else b""
    if found == claim.value:
        return None, False
    if found != (claim.seen or b""):
        return found, False
    link.execute(WRITE, (claim.book, claim.field, claim.value))
    return None, True
