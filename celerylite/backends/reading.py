"""The reading half of a result store: records of tasks and groups, and forgetting them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from celerylite import states
from celerylite.exceptions import BackendGetMetaError


class Remembered(OrderedDict[str, Any]):
    """The records of finished tasks that were read last (`result_cache_max`: 0 keeps all, -1 none)."""

    def __init__(self, limit: int | None) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: str, value: Any) -> None:
        if self.limit == -1:
            return
        super().__setitem__(key, value)
        while self.limit and len(self) > self.limit:
            self.popitem(last=False)


class Reading:
    """See `core.Backend`."""

    _cache: Any

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """The record of a task; a task without one is PENDING."""
        self._ensure_not_eager()
        if cache and task_id in self._cache:
            return self._cache[task_id]
        meta = self._ensure_retryable(
            self._get_task_meta_for, task_id,
            fallback=lambda: BackendGetMetaError("failed to get meta", task_id=task_id),
        )  # fmt: skip
        if cache and meta.get("status") == states.SUCCESS:
            self._cache[task_id] = meta
        return meta

    def get_state(self, task_id: str) -> str:
        """The state of a task."""
        return self.get_task_meta(task_id)["status"]

    def get_status(self, task_id: str) -> str:
        """An older name of `get_state`."""
        return self.get_state(task_id)

    def get_traceback(self, task_id: str) -> Any:
        """The traceback of a task that failed."""
        return self.get_task_meta(task_id).get("traceback")

    def get_result(self, task_id: str) -> Any:
        """What a task returned or raised."""
        return self.get_task_meta(task_id).get("result")

    def get_children(self, task_id: str) -> Any:
        """The results of the tasks that a task called, as tuples."""
        return self.get_task_meta(task_id).get("children")

    def is_cached(self, task_id: str) -> bool:
        """Whether the record is remembered here (`result_cache_max`)."""
        return task_id in self._cache

    def task_result_exists(self, task_id: str) -> bool:
        """Whether the store has anything about the task."""
        return self.get_task_meta(task_id, cache=False)["status"] != states.PENDING

    def reload_task_result(self, task_id: str) -> None:
        """Read a record anew into the cache."""
        self._cache[task_id] = self.get_task_meta(task_id, cache=False)

    def reload_group_result(self, group_id: str) -> None:
        """The same for a group."""
        self._cache[group_id] = self.get_group_meta(group_id, cache=False)

    def get_group_meta(self, group_id: str, cache: bool = True) -> Any:
        """What was saved of a group."""
        self._ensure_not_eager()
        if cache and group_id in self._cache:
            return self._cache[group_id]
        meta = self._restore_group(group_id)
        if cache and meta is not None:
            self._cache[group_id] = meta
        return meta

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """The `GroupResult` that was saved, or None."""
        meta = self.get_group_meta(group_id, cache=cache)
        return meta["result"] if meta else None

    def save_group(self, group_id: str, result: Any) -> Any:
        """Save which results belong to a group."""
        return self._save_group(group_id, result)

    def delete_group(self, group_id: str) -> Any:
        """Forget what `save_group` saved."""
        self._cache.pop(group_id, None)
        return self._delete_group(group_id)

    def forget(self, task_id: str) -> None:
        """Delete the record of a task."""
        self._cache.pop(task_id, None)
        self._forget(task_id)

    # -- what a store defines

    def _get_task_meta_for(self, task_id: str) -> Any:
        raise NotImplementedError("backend does not implement _get_task_meta_for.")

    def _forget(self, task_id: str) -> None:
        raise NotImplementedError("backend does not implement forget.")

    def _save_group(self, group_id: str, result: Any) -> Any:
        raise NotImplementedError("backend does not implement save_group.")

    def _restore_group(self, group_id: str) -> Any:
        raise NotImplementedError("backend does not implement restore_group.")

    def _delete_group(self, group_id: str) -> Any:
        raise NotImplementedError("backend does not implement delete_group.")

    def _ensure_retryable(self, func: Any, *args: Any, fallback: Any = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    def _ensure_not_eager(self) -> None:
        raise NotImplementedError
