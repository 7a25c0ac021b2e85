"""Results in an SQLite file, the broker's own or another: stored once, waited for without polling, deleted in time.

    sqlite:///celerylite.db    sqlite:////var/lib/app/results.db?timeout=10

`db+sqlite:///…` is another store, Celery's own on SQLAlchemy, with other tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from celerylite import states
from celerylite.backends.base import BaseKeyValueStoreBackend, SyncBackendMixin
from celerylite.backends.sqlite_chords import SqliteChords
from celerylite.backends.sqlite_waiting import Wait
from celerylite.backends.waiting import NotifiedBackendMixin
from celerylite.brokers.sqlite_address import DEFAULT_URL, parse
from celerylite.brokers.sqlite_file import ERRORS, Link, database
from celerylite.brokers.sqlite_results import write_result

__all__ = ("SqliteBackend",)

READ = "SELECT value FROM result WHERE key = ? AND (expires IS NULL OR expires > ?)"
COUNT = (
    "INSERT INTO result (key, state, expires, value) VALUES (?, '', ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
)


class SqliteBackend(SqliteChords, NotifiedBackendMixin, BaseKeyValueStoreBackend, SyncBackendMixin):
    """Results in a file. Safe to be shared by threads; a forked child opens the file anew."""

    supports_autoexpire = True
    supports_native_join = True
    supports_result_compression = True
    supports_failure_expires = True
    implements_incr = True
    #: A settlement knows the state without looking into the record.
    status_is_plain = True
    #: There is one database in a file.
    db = None

    def __init__(self, app: Any, url: str | None = None, expires: Any = None, **kwargs: Any) -> None:
        super().__init__(app, expires=expires, expires_type=int, url=url, **kwargs)
        self.url = url if url and "://" in url else DEFAULT_URL
        address = parse(self.url)
        self.sqlite_path = address.path
        self.database = database(address)
        failure = self.app.conf.result_failure_expires
        self.failure_expires = self.expires if failure is None else self.prepare_expires(failure, int)

    def as_uri(self, include_password: bool = False) -> str:
        """The URL; there are no passwords."""
        return self.database.address.url

    def ttl(self, state: str) -> int | None:
        """Seconds that a record in this state lives; None for ever."""
        return (self.failure_expires if state == states.FAILURE else self.expires) or None

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """A file that is locked or full may be so no more."""
        return isinstance(exc, ERRORS)

    def revoked_book(self) -> Any:
        """Where revoked tasks are remembered if the broker has no place for them."""
        from celerylite.brokers.sqlite_revoked import SqliteBook  # lazy: only for revokes and workers

        return SqliteBook(self.database)

    # -- storing

    def _store_record(self, task_id: str, record: bytes, state: str) -> None:
        self._write(self.get_key_for_task(task_id), bytes(record), state, self.ttl(state))

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        record = self.codec.to_bytes(self._meta(task_id, state, result, traceback, request))
        self._write(self.get_key_for_task(task_id), record, state, self.ttl(state))
        return result

    def _write(self, key: bytes, value: bytes, state: str, ttl: float | None) -> None:
        def work(link: Link) -> None:
            with link:
                write_result(link, key, value, state, ttl)
            link.sync()

        self.database.run(work)

    def set(self, key: Any, value: Any) -> None:
        """Store a value for `result_expires` seconds."""
        self._write(_bytes(key), _bytes(value), "", self.expires)

    def _set_with_state(self, key: Any, value: Any, state: str) -> None:
        self._write(_bytes(key), _bytes(value), "", self.ttl(state))

    # -- keys and values

    def get(self, key: Any) -> bytes | None:
        """The value of a key, or None."""
        rows = self.database.run(lambda link: link.read(READ, (_bytes(key), time.time())))
        return rows[0][0] if rows else None

    def mget(self, keys: Iterable[Any]) -> list[bytes | None]:
        """The values of keys."""
        now = time.time()

        def work(link: Link) -> list[bytes | None]:
            found = (link.read(READ, (_bytes(key), now)) for key in keys)
            return [rows[0][0] if rows else None for rows in found]

        return self.database.run(work)

    def delete(self, key: Any) -> None:
        """Delete a key."""

        def work(link: Link) -> None:
            with link:
                link.execute("DELETE FROM result WHERE key = ?", (_bytes(key),))

        self.database.run(work)

    def incr(self, key: Any) -> int:
        """Count up atomically."""

        def work(link: Link) -> int:
            with link:
                rows = link.read("SELECT value, expires FROM result WHERE key = ?", (_bytes(key),))
                value, expires = rows[0] if rows else (b"0", time.time() + self.expires if self.expires else None)
                link.execute(COUNT, (_bytes(key), expires, b"%d" % (int(value) + 1)))
                return int(value) + 1

        return self.database.run(work)

    def expire(self, key: Any, value: int) -> bool:
        """Have a key deleted after so many seconds."""

        def work(link: Link) -> bool:
            with link:
                statement = "UPDATE result SET expires = ? WHERE key = ?"
                return link.execute(statement, (time.time() + int(value), _bytes(key))).rowcount == 1

        return self.database.run(work)

    def cleanup(self) -> None:
        """Delete what has expired; workers do it all the time."""

        def work(link: Link) -> None:
            with link:
                link.execute("DELETE FROM result WHERE expires <= ?", (time.time(),))

        self.database.run(work)

    # -- waiting

    def _records(self, *args: Any) -> Wait:
        return Wait(self, *args)

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {"expires": self.expires, "url": self.url, **(kwargs or {})})


def _bytes(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | bytearray) else str(value).encode("utf-8")
