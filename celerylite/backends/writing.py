"""The writing half of a result store: values made fit for the serializer, and a record for each state."""

from __future__ import annotations

import sys
from typing import Any

from celerylite import _state, states
from celerylite.backends import failures, records
from celerylite.context import Context
from celerylite.exceptions import BackendStoreError, ChordError, TaskRevokedError
from celerylite.result_base import ResultBase
from celerylite.utils.einfo import ExceptionInfo

E_NOT_STORED = "failed to store result on the backend"


class Writing:
    """See `core.Backend`."""

    app: Any
    codec: records.Codec
    content_type: str
    content_encoding: str
    serializer: str

    def encode(self, data: Any) -> Any:
        """Serialized."""
        return self.codec.encode(data)

    def _encode(self, data: Any) -> tuple[str, str, Any]:
        return self.content_type, self.content_encoding, self.codec.encode(data)

    def decode(self, payload: Any) -> Any:
        """What was encoded."""
        return self.codec.decode(payload) if payload is not None else None

    def encode_result(self, result: Any, state: str) -> Any:
        """A result made fit for the serializer: exceptions, and results of other tasks."""
        if state in states.EXCEPTION_STATES and isinstance(result, BaseException):
            return self.prepare_exception(result)
        return self.prepare_value(result)

    def prepare_value(self, result: Any) -> Any:
        """Results of other tasks as tuples, unless the serializer is pickle."""
        if self.serializer != "pickle" and isinstance(result, ResultBase):
            return result.as_tuple()  # type: ignore[attr-defined]
        return result

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> Any:
        """What is stored for an exception."""
        return failures.prepare(exc, serializer or self.serializer, self.codec.check)

    def exception_to_python(self, exc: Any) -> Any:
        """The exception that was stored."""
        return failures.rebuild(exc)

    def decode_result(self, payload: Any) -> Any:
        """A stored record, its exception rebuilt."""
        return self.meta_from_decoded(self.decode(payload))

    def meta_from_decoded(self, meta: dict[str, Any]) -> dict[str, Any]:
        """A decoded record with its exception rebuilt."""
        if meta["status"] in states.EXCEPTION_STATES:
            meta["result"] = self.exception_to_python(meta["result"])
        return meta

    # -- storing

    def _get_result_meta(
        self,
        result: Any,
        state: str,
        traceback: Any,
        request: Any,
        format_date: bool = True,
        encode: bool = False,
    ) -> dict[str, Any]:
        now = None
        if state in states.READY_STATES:
            now = self.app.now()
            now = now.isoformat() if format_date else now
        extended = records.extended_fields(request) if self._is_extended() and request is not None else None
        if extended is not None and encode:  # stores with columns keep arguments as bytes
            extended["args"] = _to_bytes(self.encode(extended["args"]))
            extended["kwargs"] = _to_bytes(self.encode(extended["kwargs"]))
        children = self.current_task_children(request)
        return records.task_meta(state, result, traceback, children, now, request, extended)

    def _is_extended(self) -> bool:
        return bool(self.app.conf.result_extended)

    def current_task_children(self, request: Any = None) -> list[Any] | None:
        """The results of the tasks that the task of `request` (or the one that runs here) has called."""
        if request is None:
            task = _state.get_current_task()
            request = task.request if task is not None else None
            if request is None:
                return None
        children = request._children if isinstance(request, Context) else getattr(request, "children", None)
        return [child.as_tuple() for child in children] if children else []

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """Store a state; returns the result as it was stored."""
        result = self.encode_result(result, state)
        self._ensure_retryable(
            self._store_result, task_id, result, state, traceback, request=request, **kwargs,
            fallback=lambda: BackendStoreError(E_NOT_STORED, task_id=task_id, state=state),
        )  # fmt: skip
        return result

    def record(
        self, task_id: str, state: str, result: Any, traceback: Any = None, request: Any = None
    ) -> Any:
        """What `store` is to be given for a task; made by execution, which stores it at the right moment."""
        return state, result, traceback, request

    def store(self, task_id: str, record: Any, state: str | None = None) -> None:
        """Store what `record` made."""
        found, result, traceback, request = record
        self.store_result(task_id, result, found, traceback, request=request)

    def mark_as_started(self, task_id: str, **meta: Any) -> Any:
        """Store that a worker runs the task."""
        return self.store_result(task_id, meta, states.STARTED)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Store what a task returned."""
        if store_result and not getattr(request, "ignore_result", False):
            self.store_result(task_id, result, state, request=request)
        self._part_returned(request, state, result)

    def mark_as_failure(
        self,
        task_id: str,
        exc: Any,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Store what a task raised. Errbacks are `followup`'s business: `call_errbacks` is not looked at."""
        if store_result:
            self.store_result(task_id, exc, state, traceback=traceback, request=request)
        self._part_returned(request, state, exc)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Store that a task was revoked."""
        exc = TaskRevokedError(reason)
        if store_result:
            self.store_result(task_id, exc, state, traceback=None, request=request)
        self._part_returned(request, state, exc)

    def mark_as_retry(
        self,
        task_id: str,
        exc: Any,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        state: str = states.RETRY,
    ) -> Any:
        """Store that a task will be tried again."""
        return (
            self.store_result(task_id, exc, state, traceback=traceback, request=request)
            if store_result
            else None
        )

    def fail_from_current_stack(self, task_id: str, exc: BaseException | None = None) -> ExceptionInfo:
        """Store the exception that is being handled, or `exc`."""
        kind, current, trace = sys.exc_info()
        if exc is not None:
            kind, current, trace = type(exc), exc, exc.__traceback__
        info = ExceptionInfo((kind, current, trace))
        self.mark_as_failure(task_id, current, info.traceback)
        return info

    def _part_returned(self, request: Any, state: str, result: Any) -> None:
        if request is not None and getattr(request, "chord", None):
            self.on_chord_part_return(request, state, result)

    def chord_error_from_stack(self, callback: Any, exc: BaseException | None = None) -> Any:
        """Store a chord's failure as the result of its body."""
        error = exc if isinstance(exc, ChordError) else ChordError(str(exc))
        return self.fail_from_current_stack(callback.id, exc=error)

    # -- what a store defines

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        raise NotImplementedError("backend does not implement _store_result.")

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def _ensure_retryable(self, func: Any, *args: Any, fallback: Any = None, **kwargs: Any) -> Any:
        raise NotImplementedError


def _to_bytes(payload: str | bytes) -> bytes:
    return payload.encode("utf-8") if isinstance(payload, str) else payload
