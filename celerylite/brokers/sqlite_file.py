"""An SQLite file as several processes share it: opening it, transactions, and certainty that they are on the disk.

Commits do not sync by themselves (WAL, synchronous=NORMAL): a killed process loses nothing that it has committed.
Whoever must outlive a lost power cord calls `Link.sync` after the commit, outside of the lock, so that the disk
serves many at once (0.2 ms here, where synchronous=FULL takes 0.45 ms and keeps everybody else waiting).
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.sqlite_address import Address, check_place
from celerylite.brokers.sqlite_bells import Bells, Ear
from celerylite.exceptions import ImproperlyConfigured

#: Errors that may go away by themselves: locked, full, out of order.
ERRORS = (sqlite3.OperationalError, OSError)

#: Seconds between tries to get a lock, growing.
FIRST_PAUSE, LAST_PAUSE = 0.0002, 0.005
#: Most links, and ears, that a process keeps open while nobody uses them: each has up to four files.
IDLE = 8
#: Pages of the write-ahead log after which whoever commits carries them over, where no worker's housekeeping does.
AUTOCHECKPOINT = 8000
#: Bytes to which the write-ahead log is cut when it begins anew.
WAL_LIMIT = 8_000_000

_sync = getattr(os, "fdatasync", os.fsync)


class Database:
    """One file. Threads each borrow a link; a forked child starts with none."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.path = address.path
        self.bells = Bells(address.path + "-run", address.path)
        self._idle: list[Link] = []
        #: Bells of this process's own that nobody listens to just now, by name.
        self._ears: dict[str, Ear] = {}
        self._checked = False
        self._lock = threading.Lock()

    def borrow(self) -> Link:
        """An open link: an idle one, or a new one."""
        while self._idle:
            try:
                link = self._idle.pop()
            except IndexError:
                break
            if link.usable:
                return link
        return Link(self)

    def give_back(self, link: Link) -> None:
        """Keep a link for the next who needs one; not more than a few."""
        if len(self._idle) < IDLE:
            self._idle.append(link)
        else:
            link.close()

    def run(self, work: Callable[[Link], Any]) -> Any:
        """Call with a borrowed link."""
        link = self.borrow()
        try:
            return work(link)
        finally:
            self.give_back(link)

    def borrow_ear(self) -> tuple[str, Ear]:
        """A bell that rings for the caller only, and the ear that hears it; both are silent."""
        try:
            name, ear = self._ears.popitem()
        except KeyError:
            name = f"l.{os.getpid()}.{os.urandom(6).hex()}"
            ear = Ear(self.bells, (name,))
        ear.hush()
        return name, ear

    def give_back_ear(self, name: str, ear: Ear) -> None:
        """Keep an ear for the next who needs one; not more than a few."""
        if len(self._ears) < IDLE:
            self._ears[name] = ear
        else:
            ear.close()
            self.bells.remove(name)

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own; the file is made where there is none.

        Raises `ImproperlyConfigured` for a file that can never work, sqlite3's `OperationalError` for one that might.
        """
        if not self._checked:
            check_place(self.address)
            _make_file(self.path)
        try:
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError as exc:
            raise sqlite3.OperationalError(f"{self.path}: {exc}{self._hint(exc)}") from exc
        try:
            self._prepare(connection)
        except sqlite3.OperationalError as exc:
            connection.close()
            raise sqlite3.OperationalError(f"{self.path}: {exc}{self._hint(exc)}") from exc
        except sqlite3.DatabaseError as exc:
            connection.close()
            raise ImproperlyConfigured(
                f"{self.path} cannot be used as broker or result store: {exc}. Move it away, or name another file."
            ) from exc
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._checked:
                self._create(connection)
                self._checked = True
        for pragma in (
            "synchronous=NORMAL", "secure_delete=OFF", f"wal_autocheckpoint={AUTOCHECKPOINT}",
            f"journal_size_limit={WAL_LIMIT}", "temp_store=MEMORY",
        ):  # fmt: skip
            # Even these may find the file locked: by the first to open it after a crash, or the last to close it.
            self.insist(partial(connection.execute, f"PRAGMA {pragma}"))

    def _create(self, connection: sqlite3.Connection) -> None:
        """Make the tables in a new file; make sure that an old one is ours."""
        insist = self.insist
        version, owner = (insist(partial(_pragma, connection, name)) for name in ("user_version", "application_id"))
        if not version:
            if insist(lambda: connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()):
                raise ImproperlyConfigured(
                    f"{self.path} is a database of another program. Name another file in broker_url."
                )
            insist(lambda: connection.execute("PRAGMA auto_vacuum=INCREMENTAL"))
            mode = insist(lambda: connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
            if mode != "wal":
                raise ImproperlyConfigured(f"{self.path}: no shared memory on this file system, which is needed here")
            insist(lambda: connection.execute("BEGIN IMMEDIATE"))
            if not _pragma(connection, "user_version"):  # nobody else was faster
                for statement in filter(str.strip, schema.TABLES.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={schema.VERSION}")
            connection.execute("COMMIT")
            _sync_folder(os.path.dirname(self.path))
            return
        if owner != schema.APPLICATION_ID:
            raise ImproperlyConfigured(
                f"{self.path} is a database of another program. Name another file in broker_url."
            )
        if version != schema.VERSION:
            raise ImproperlyConfigured(
                f"{self.path} was made by another version of celerylite (its tables are version {version}, these are "
                f"{schema.VERSION}). Use that version to empty it, or name another file."
            )
        if not os.access(self.path, os.W_OK):
            raise ImproperlyConfigured(f"{self.path} cannot be written by this user. Change its permissions.")

    def insist(self, work: Callable[[], Any]) -> Any:
        """Call until no other process is in the way, for `timeout` seconds; then its OperationalError is raised."""
        pause, deadline = FIRST_PAUSE, 0.0
        while True:
            try:
                return work()
            except sqlite3.OperationalError as exc:
                if "locked" not in str(exc) and "busy" not in str(exc):
                    raise
                now = time.monotonic()
                deadline = deadline or now + self.address.timeout
                if now >= deadline:
                    raise sqlite3.OperationalError(
                        f"{self.path} is locked by another process for {self.address.timeout:g} s"
                    ) from exc
            time.sleep(pause)
            pause = min(pause * 1.5, LAST_PAUSE)

    def _hint(self, exc: BaseException) -> str:
        text = str(exc)
        if "readonly" in text or "unable to open" in text:
            folder = os.path.dirname(self.path)
            return f" (this user must be able to write the file and its folder {folder})"
        if "full" in text:
            return " (no space is left for it)"
        return ""

    def explain(self, exc: sqlite3.Error) -> sqlite3.OperationalError:
        """The same error, saying which file it is about and what may help."""
        return sqlite3.OperationalError(f"{self.path}: {exc}{self._hint(exc)}")

    def close(self) -> None:
        """Close what is idle; the next use opens it again."""
        while self._idle:  # one by one: other threads may borrow meanwhile
            try:
                self._idle.pop().close()
            except IndexError:
                break
        while self._ears:
            try:
                name, ear = self._ears.popitem()
            except KeyError:
                break
            ear.close()
            self.bells.remove(name)
        self.bells.close()

    def forget(self) -> None:
        """In a forked child: the parent's links are not ours."""
        self._idle = []
        self._ears = {}
        self._lock = threading.Lock()
        self.bells.forget()


class Link:
    """One connection. Use it as a context manager for a transaction that writes: it commits, or rolls back.

    Bells asked for with `ring` sound after the commit.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.connection = database.connect()
        self.execute = self.connection.execute
        self.usable = True
        self._wal: int | None = None
        self._bells: set[str] = set()
        #: Whether something was committed that may not be on the disk yet.
        self.dirty = False
        self.synced_at = 0.0
        _links.add(self)

    def __enter__(self) -> Link:
        try:
            self.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc):
                raise self.database.explain(exc) from exc
            self.database.insist(lambda: self.execute("BEGIN IMMEDIATE"))
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, traceback: object) -> None:
        if kind is None:
            try:
                self.execute("COMMIT")
            except sqlite3.OperationalError as error:
                self._roll_back()
                raise self.database.explain(error) from error
            self.dirty = True
            if self._bells:
                bells, self._bells = self._bells, set()
                for name in bells:
                    self.database.bells.ring(name)
            return
        self._roll_back()
        if isinstance(exc, sqlite3.OperationalError):
            raise self.database.explain(exc) from exc

    def _roll_back(self) -> None:
        self._bells.clear()
        if self.connection.in_transaction:  # a full disk has rolled back already
            self.execute("ROLLBACK")

    def ring(self, name: str) -> None:
        """Ring a bell when this transaction is committed."""
        self._bells.add(name)

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each of the rows."""
        self.connection.executemany(statement, rows)

    def read(self, statement: str, arguments: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        try:
            return self.execute(statement, arguments).fetchall()
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) and "busy" not in str(exc):
                raise self.database.explain(exc) from exc
            return self.database.insist(lambda: self.execute(statement, arguments).fetchall())

    def version(self) -> int:
        """A number that changes when another connection commits; asking costs 5 µs and no lock."""
        return _pragma(self.connection, "data_version")

    def sync(self) -> None:
        """Return once everything committed so far, by any process, is on the disk."""
        if self._wal is None:
            # Another descriptor than SQLite's own; its locks are on the other two files, so closing this harms none.
            self._wal = os.open(self.database.path + "-wal", os.O_RDWR | os.O_CLOEXEC)
        self.dirty = False
        _sync(self._wal)
        self.synced_at = time.monotonic()

    def close(self) -> None:
        """Close; what was borrowed of it is of no use any more."""
        self.usable = False
        if self._wal is not None:
            os.close(self._wal)
            self._wal = None
        self.connection.close()

    def abandon(self) -> None:
        """In a forked child: never touch the parent's connection, not even to close it (its files would be closed up
        as if nobody else used them).
        """
        self.usable = False
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))
        if self._wal is not None:
            os.close(self._wal)
            self._wal = None


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _make_file(path: str) -> None:
    """Make the file as the umask says: SQLite would keep it from the group in any case."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except OSError:
        pass  # it is there; or SQLite will say what is wrong


def _sync_folder(folder: str) -> None:
    """Make sure that a new file is found after a lost power cord."""
    number = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


_links: WeakSet[Link] = WeakSet()
_databases: dict[str, Database] = {}
_databases_lock = threading.Lock()


def database(address: Address) -> Database:
    """The file at an address; one object for the process, shared by broker, result store and transport."""
    with _databases_lock:
        found = _databases.get(address.path)
        if found is None or found.address != address:
            found = _databases[address.path] = Database(address)
        return found


def close_all() -> None:
    """Close what is idle of all files; the next use opens it again."""
    for one in list(_databases.values()):
        one.close()


def _after_fork() -> None:
    global _databases_lock
    _databases_lock = threading.Lock()
    for link in list(_links):
        link.abandon()
    for known in list(_databases.values()):
        known.forget()


os.register_at_fork(after_in_child=_after_fork)
