"""One wait for results on Redis: read, and where something is missing subscribe, read again, and wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celerylite import states
from celerylite.backends.redis_listener import E_RETRY_LIMIT, Watch
from celerylite.exceptions import TimeoutError

if TYPE_CHECKING:
    from celerylite.backends.redis import RedisBackend

#: A task's id and its record.
Found = tuple[str, dict[str, Any]]


class Wait:
    """Iterate over it to get (id, record) of each task as it becomes ready; raises `TimeoutError`."""

    def __init__(
        self,
        backend: RedisBackend,
        task_ids: Iterable[str],
        timeout: float | None,
        interval: float,
        on_message: Callable[[dict[str, Any]], Any] | None,
        on_interval: Callable[[], Any] | None,
        late: str,
        looked: bool = False,
    ) -> None:
        self._backend = backend
        #: The tasks that are not ready yet, by the key of their record, which is its channel as well.
        self._pending = {backend.get_key_for_task(task_id): task_id for task_id in task_ids}
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._interval = interval
        self._on_message = on_message
        self._on_interval = on_interval
        self._late = late
        #: Whether somebody has just read, and found nothing.
        self._looked = looked
        #: The last record that `on_message` got of each task; what is read after a reconnect may be the same.
        self._told: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[Found]:
        if not self._looked:
            yield from self._read()
        if not self._pending:
            return
        if self._timeout is not None and self._timeout <= 0:
            raise TimeoutError(self._late)
        listener = self._backend.listener
        watch = listener.add(self._pending)
        try:
            while self._pending:
                listener.wait(watch, self._until())
                yield from self._news(watch)
                if self._on_interval is not None:
                    self._on_interval()
                if self._pending and self._deadline is not None and time.monotonic() >= self._deadline:
                    raise TimeoutError(self._late)
        finally:
            listener.remove(watch)

    def _until(self) -> float | None:
        if self._on_interval is None:
            return self._deadline
        soon = time.monotonic() + self._interval
        return soon if self._deadline is None else min(soon, self._deadline)

    def _news(self, watch: Watch) -> Iterator[Found]:
        if watch.error is not None:
            raise watch.error
        if watch.reread:
            watch.reread = False
            yield from self._read()
        while watch.news:
            key, record = watch.news.popleft()
            yield from self._look(key, record)

    def _read(self) -> Iterator[Found]:
        keys = list(self._pending)
        found = self._backend._retrying(lambda: self._backend.mget(keys), self._deadline, self._gave_up)
        for key, record in zip(keys, found, strict=True):
            if record is not None:
                yield from self._look(key, record)

    def _look(self, key: bytes, record: bytes) -> Iterator[Found]:
        """The task of `key`, if this record says that it is ready; other states go to `on_message` only."""
        task_id = self._pending.get(key)
        if task_id is None:
            return
        meta = self._backend.decode_result(record)
        ready = meta["status"] in states.READY_STATES
        if self._on_message is not None and self._told.get(key) != record:
            self._told[key] = record
            self._on_message(meta)
        if ready:
            del self._pending[key]
            yield task_id, meta

    def _gave_up(self, exc: BaseException) -> BaseException:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return TimeoutError(self._late)
        return RuntimeError(E_RETRY_LIMIT)
