"""Stores with keys and values: the names of keys, and records kept under them.

A store of this kind defines `get`, `mget`, `set` and `delete`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

from celerylite import states
from celerylite.backends.chords import CountingChords
from celerylite.backends.core import Backend
from celerylite.exceptions import TimeoutError
from celerylite.result import result_from_tuple


class Record(bytes):
    """A task's record as it stands in the store, with the state that it says."""

    state: str
    #: What the store keeps, where that is not these bytes.
    payload: Any

    def __new__(cls, data: bytes, state: str) -> Record:
        record = super().__new__(cls, data)
        record.state = state
        record.payload = record
        return record

    def __reduce__(self) -> tuple[Any, ...]:
        # Stores that pickle what they keep want the bytes, and nothing of ours.
        return bytes, (bytes(self),)


class BaseKeyValueStoreBackend(CountingChords, Backend):
    """The base of stores with keys and values."""

    task_keyprefix: Any = "celery-task-meta-"
    group_keyprefix: Any = "celery-taskset-meta-"
    chord_keyprefix: Any = "chord-unlock-"
    #: Whether `incr` is atomic, so that chords can count.
    implements_incr = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        prefix = self._global_keyprefix()
        self.task_keyprefix = self.key_t(prefix + _text(self.task_keyprefix))
        self.group_keyprefix = self.key_t(prefix + _text(self.group_keyprefix))
        self.chord_keyprefix = self.key_t(prefix + _text(self.chord_keyprefix))

    def _global_keyprefix(self) -> str:
        prefix = (self.app.conf.result_backend_transport_options or {}).get("global_keyprefix") or ""
        return f"{prefix}_" if prefix and prefix[-1] not in "-.:_" else prefix

    # -- keys

    @staticmethod
    def key_t(s: str | bytes) -> Any:
        """A key as the store wants it."""
        return s.encode("utf-8") if isinstance(s, str) else s

    def get_key_for_task(self, task_id: Any, key: Any = "") -> Any:
        """The key of a task's record."""
        return self._get_key_for(self.task_keyprefix, "task_id", task_id, key)

    def get_key_for_group(self, group_id: Any, key: Any = "") -> Any:
        """The key of a saved group, or with a suffix of what a chord keeps."""
        return self._get_key_for(self.group_keyprefix, "group_id", group_id, key)

    def get_key_for_chord(self, group_id: Any, key: Any = "") -> Any:
        """The key of a chord's counter."""
        return self._get_key_for(self.chord_keyprefix, "group_id", group_id, key)

    def _get_key_for(self, prefix: Any, kind: str, id: Any, key: Any) -> Any:  # noqa: A002
        if not id:
            raise ValueError(f"{kind} must not be empty. Got {id} instead.")
        if isinstance(id, UUID):
            id = str(id)  # noqa: A001
        if key:
            return prefix + self.key_t(id) + self.key_t(key)
        return prefix + self.key_t(id)

    def _strip_prefix(self, key: Any) -> str:
        key = self.key_t(key)
        for prefix in (self.task_keyprefix, self.group_keyprefix):
            if key.startswith(prefix):
                key = key[len(prefix) :]
                break
        return _text(key)

    # -- what a store defines

    def get(self, key: Any) -> Any:
        """The value of a key, or None."""
        raise NotImplementedError("Must implement the get method.")

    def mget(self, keys: Iterable[Any]) -> Any:
        """The values of keys: a list in their order, or a mapping of those there are."""
        raise NotImplementedError("Does not support get_many")

    def set(self, key: Any, value: Any) -> Any:
        """Store a value."""
        raise NotImplementedError("Must implement the set method.")

    def _set_with_state(self, key: Any, value: Any, state: str) -> Any:
        return self.set(key, value)

    def delete(self, key: Any) -> Any:
        """Delete a key."""
        raise NotImplementedError("Must implement the delete method")

    def incr(self, key: Any) -> int:
        """Count up atomically."""
        raise NotImplementedError("Does not implement incr")

    def expire(self, key: Any, value: int) -> Any:
        """Have a key deleted after so many seconds."""
        raise NotImplementedError("Does not implement expire")

    # -- records

    def record(
        self, task_id: str, state: str, result: Any, traceback: Any = None, request: Any = None
    ) -> Record:
        """The record of a task as it stands in the store. Raises kombu's `EncodeError`."""
        meta = self._meta(task_id, state, self.encode_result(result, state), traceback, request)
        if type(self).encode is BaseKeyValueStoreBackend.encode:
            return Record(self.codec.to_bytes(meta), state)
        record = Record(b"", state)  # a store with an encoding of its own, or that keeps objects (Django's cache)
        record.payload = self.encode(meta)
        return record

    def store(self, task_id: str, record: Any, state: str | None = None) -> None:
        """Store a record as `record` made it, unless the task has succeeded already."""
        self._ensure_retryable(self._store_record, task_id, record, state or getattr(record, "state", ""))

    def _store_record(self, task_id: str, record: bytes, state: str) -> None:
        if self._get_task_meta_for(task_id)["status"] != states.SUCCESS:
            self._set_with_state(self.get_key_for_task(task_id), getattr(record, "payload", record), state)

    def _meta(self, task_id: Any, state: str, result: Any, traceback: Any, request: Any) -> dict[str, Any]:
        meta = self._get_result_meta(result, state, traceback, request)
        meta["task_id"] = _text(task_id)
        return meta

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        # A task that has succeeded stays so, whatever a second run of it or a lost worker says.
        if self._get_task_meta_for(task_id)["status"] != states.SUCCESS:
            value = self._payload(self._meta(task_id, state, result, traceback, request))
            self._set_with_state(self.get_key_for_task(task_id), value, state)
        return result

    def _payload(self, meta: dict[str, Any]) -> Any:
        return self.codec.to_bytes(meta) if self.compression else self.encode(meta)

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        payload = self.get(self.get_key_for_task(task_id))
        if not payload:
            return {"status": states.PENDING, "result": None}
        return self.decode_result(payload)

    def task_result_exists(self, task_id: str) -> bool:
        """Whether there is a record."""
        return bool(self.get(self.get_key_for_task(task_id)))

    def _forget(self, task_id: str) -> None:
        self.delete(self.get_key_for_task(task_id))

    def _save_group(self, group_id: str, result: Any) -> Any:
        self._set_with_state(
            self.get_key_for_group(group_id), self._payload({"result": result.as_tuple()}), states.SUCCESS
        )
        return result

    def _restore_group(self, group_id: str) -> Any:
        payload = self.get(self.get_key_for_group(group_id))
        if not payload:
            return None
        meta = self.decode(payload)
        meta["result"] = result_from_tuple(meta["result"], self.app)
        return meta

    def _delete_group(self, group_id: str) -> None:
        self.delete(self.get_key_for_group(group_id))

    # -- many at once

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        max_iterations: int | None = None,
        READY_STATES: frozenset[str] = states.READY_STATES,  # noqa: N803 (Celery's name)
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, record) of each task as it becomes ready, until all are; raises `TimeoutError`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        waiting = dict.fromkeys(task_ids)
        rounds = 0
        while True:
            for task_id, meta in self._read_ready(waiting, READY_STATES):
                waiting.pop(task_id, None)
                if on_message is not None:
                    on_message(meta)
                yield task_id, meta
            rounds += 1
            if not waiting or (max_iterations and rounds >= max_iterations):
                return
            if on_interval is not None:
                on_interval()
            pause = interval if deadline is None else min(interval, deadline - time.monotonic())
            if pause <= 0 and deadline is not None:
                raise TimeoutError(f"Operation timed out ({timeout})")
            self._pause(pause)

    def _read_ready(self, task_ids: Iterable[str], ready: frozenset[str]) -> list[tuple[str, dict[str, Any]]]:
        found = [(task_id, self._cache[task_id]) for task_id in task_ids if task_id in self._cache]
        known = {task_id for task_id, _ in found}
        missing = [task_id for task_id in task_ids if task_id not in known]
        if missing:
            values = self.mget([self.get_key_for_task(task_id) for task_id in missing])
            metas = self._mget_to_results(values, missing, ready)
            for task_id, meta in metas.items():
                if meta["status"] == states.SUCCESS:
                    self._cache[task_id] = meta
            found.extend(metas.items())
        return found

    def _mget_to_results(
        self,
        values: Any,
        keys: list[str],
        READY_STATES: frozenset[str] = states.READY_STATES,  # noqa: N803
    ) -> dict[str, dict[str, Any]]:
        if hasattr(values, "items"):  # memcached gives those there are
            pairs = [(self._strip_prefix(key), value) for key, value in values.items()]
        else:
            pairs = list(zip(keys, values, strict=False))
        metas = [(task_id, self.decode_result(value)) for task_id, value in pairs if value]
        return {task_id: meta for task_id, meta in metas if meta["status"] in READY_STATES}

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
