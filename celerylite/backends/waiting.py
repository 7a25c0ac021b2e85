"""Waiting for results in stores that cannot tell: they are asked every now and then.

`backends.redis` replaces this by a subscription.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celerylite import states
from celerylite.exceptions import TimeoutError

#: The sentence of `AsyncResult.get`.
TIMED_OUT = "The operation timed out."

OnMessage = Callable[[dict[str, Any]], Any]
OnInterval = Callable[[], Any]


class SyncBackendMixin:
    """What `AsyncResult` and `ResultSet` call to wait."""

    is_async = False

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
        callback: Callable[[str, Any], Any] | None = None,
        propagate: bool = True,
    ) -> Any:
        """Wait until `result` is ready and return its value, or raise its exception."""
        self._ensure_not_eager()  # type: ignore[attr-defined]
        meta = self._wait(result.id, timeout, interval, on_message, on_interval)
        result._maybe_set_cache(meta)
        return result.maybe_throw(propagate=propagate, callback=callback)

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: OnInterval | None = None,
    ) -> dict[str, Any]:
        """Wait until a task is ready and return its record; raises `TimeoutError`."""
        return self._wait(task_id, timeout, interval, None, on_interval)

    def _wait(
        self,
        task_id: str,
        timeout: float | None,
        interval: float,
        on_message: OnMessage | None,
        on_interval: OnInterval | None,
    ) -> dict[str, Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            meta: dict[str, Any] = self.get_task_meta(task_id)  # type: ignore[attr-defined]
            if meta["status"] in states.READY_STATES:
                if on_message is not None:
                    on_message(meta)
                return meta
            if on_interval is not None:
                on_interval()
            remaining = interval if deadline is None else min(interval, deadline - time.monotonic())
            if remaining <= 0 and deadline is not None:
                raise TimeoutError(TIMED_OUT)
            self._pause(remaining)

    def _pause(self, seconds: float) -> None:
        """Let time pass; a store that notices changes may come back earlier."""
        time.sleep(seconds)

    def iter_native(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """(id, record) of each result of a set as it comes in, those of sets within it included."""
        self._ensure_not_eager()  # type: ignore[attr-defined]
        for member in result.results:
            if hasattr(member, "_leaves"):
                yield member.id, list(member.results)
        pending: dict[str, list[Any]] = {}
        for leaf in result._leaves():
            if leaf.ignored:
                continue  # nothing will ever be stored
            if leaf._cache is not None:
                yield leaf.id, leaf._cache
            else:
                pending.setdefault(leaf.id, []).append(leaf)
        if not pending:
            return
        metas = self.get_many(  # type: ignore[attr-defined]
            list(pending),
            timeout=timeout,
            interval=interval,
            no_ack=no_ack,
            on_message=on_message,
            on_interval=on_interval,
        )
        for task_id, meta in metas:
            for leaf in pending[task_id]:
                leaf._maybe_set_cache(meta)
            yield task_id, meta

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:
        """Nothing is kept of results that nobody waits for."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """As above."""
        return result


class NotifiedBackendMixin(SyncBackendMixin):
    """The same for stores that tell when a record is written; `_records` is their own wait for it."""

    _cache: Any

    def _records(
        self,
        task_ids: Iterable[str],
        timeout: float | None,
        interval: float,
        on_message: OnMessage | None,
        on_interval: OnInterval | None,
        late: str,
        *more: Any,
    ) -> Iterable[tuple[str, dict[str, Any]]]:
        """(id, record) of each task as it becomes ready; raises `TimeoutError` with `late` as its text.

        `more` is what a store's own methods give to `_wait`.
        """
        raise NotImplementedError("Must implement the _records method")

    def _wait(
        self,
        task_id: str,
        timeout: float | None,
        interval: float,
        on_message: OnMessage | None,
        on_interval: OnInterval | None,
        *more: Any,
    ) -> dict[str, Any]:
        if task_id in self._cache:
            return self._cache[task_id]
        for _, meta in self._ready_ones((task_id,), timeout, interval, on_message, on_interval, TIMED_OUT, *more):
            return meta
        raise AssertionError("unreachable: a wait ends with a record or an error")

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
        max_iterations: int | None = None,
        READY_STATES: frozenset[str] = states.READY_STATES,  # noqa: N803 (Celery's name)
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, record) of each task: those that are ready in one trip, the others as they are written."""
        if max_iterations is not None or READY_STATES is not states.READY_STATES:
            return super().get_many(  # type: ignore[misc]
                task_ids, timeout, interval, no_ack, on_message, on_interval, max_iterations, READY_STATES
            )
        late = f"Operation timed out ({timeout})"
        return self._ready_ones(task_ids, timeout, interval, on_message, on_interval, late)

    def _ready_ones(self, *args: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        for task_id, meta in self._records(*args):
            if meta["status"] == states.SUCCESS:
                self._cache[task_id] = meta
            yield task_id, meta
