"""One wait for results in an SQLite file: read, and where something is missing leave word, read again, and wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celerylite import states
from celerylite.brokers.sqlite_bells import POLL, SAFETY
from celerylite.exceptions import TimeoutError

if TYPE_CHECKING:
    from celerylite.backends.sqlite import SqliteBackend
    from celerylite.brokers.sqlite_file import Link

#: A task's id and its record.
Found = tuple[str, dict[str, Any]]
#: Pending results from which on a wait pauses between reads, so that they come by the dozen.
MANY, BREATH = 50, 0.005


class Wait:
    """Iterate over it to get (id, record) of each task as it becomes ready; raises `TimeoutError`."""

    def __init__(
        self,
        backend: SqliteBackend,
        task_ids: Iterable[str],
        timeout: float | None,
        interval: float,
        on_message: Callable[[dict[str, Any]], Any] | None,
        on_interval: Callable[[], Any] | None,
        late: str,
    ) -> None:
        self._backend = backend
        #: The tasks that are not ready yet, by the key of their record.
        self._pending = {backend.get_key_for_task(task_id): task_id for task_id in task_ids}
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._interval = interval
        self._on_message = on_message
        self._on_interval = on_interval
        self._late = late
        #: The last record that `on_message` got of each task.
        self._told: dict[bytes, bytes] = {}
        self._bell = ""

    def __iter__(self) -> Iterator[Found]:
        yield from self._read()
        if not self._pending:
            return
        self._check_time()
        database = self._backend.database
        self._bell, ear = database.borrow_ear()
        try:
            database.run(self._leave_word)
            while True:
                yield from self._read()
                if not self._pending:
                    return
                self._check_time()
                ear.wait(self._rest(POLL if ear.deaf else SAFETY))
                if len(self._pending) > MANY:
                    time.sleep(BREATH)
                ear.hush()
                if self._on_interval is not None:
                    self._on_interval()
        finally:
            if self._pending:
                database.run(self._take_back)
            database.give_back_ear(self._bell, ear)

    def _check_time(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise TimeoutError(self._late)

    def _rest(self, most: float) -> float:
        if self._on_interval is not None:
            most = min(most, self._interval)
        return most if self._deadline is None else min(most, self._deadline - time.monotonic())

    def _leave_word(self, link: Link) -> None:
        with link:
            rows = [(key, self._bell) for key in self._pending]
            link.many("INSERT OR REPLACE INTO waiter (key, bell) VALUES (?, ?)", rows)

    def _take_back(self, link: Link) -> None:
        with link:
            link.execute("DELETE FROM waiter WHERE bell = ?", (self._bell,))

    def _read(self) -> Iterator[Found]:
        keys = list(self._pending)
        for key, record in zip(keys, self._backend.mget(keys), strict=True):
            if record is not None:
                yield from self._look(key, record)

    def _look(self, key: bytes, record: bytes) -> Iterator[Found]:
        """The task of `key`, if this record says that it is ready; other states go to `on_message` only."""
        if key not in self._pending:
            return
        meta = self._backend.decode_result(record)
        if self._on_message is not None and self._told.get(key) != record:
            self._told[key] = record
            self._on_message(meta)
        if meta["status"] in states.READY_STATES:
            yield self._pending.pop(key), meta
