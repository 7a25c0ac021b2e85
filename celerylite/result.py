"""What the caller gets: `AsyncResult` and its kin, to wait for, look at, forget or revoke a call.

Waiting and reading are the result store's business (`backends`); results of many calls are in `result_set`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from celerylite import _state, states
from celerylite.exceptions import TaskRevokedError, TimeoutError
from celerylite.result_base import (
    E_WOULDBLOCK,
    OnReady,
    ResultBase,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
)
from celerylite.result_set import GroupResult, ResultSet
from celerylite.result_tree import ResultTree

if TYPE_CHECKING:
    from types import TracebackType
    from weakref import ReferenceType

    from celerylite.app.base import Celery

__all__ = (
    "ResultBase",
    "AsyncResult",
    "ResultSet",
    "GroupResult",
    "EagerResult",
    "result_from_tuple",
    "E_WOULDBLOCK",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
)

R = TypeVar("R")


class AsyncResult(ResultTree, Generic[R]):
    """The result of one call; nothing is read before you ask for it."""

    app: Any = None
    TimeoutError = TimeoutError
    #: What is known for good: the task is ready.
    _cache: dict[str, Any] | None = None
    _ignored = False
    _backend: Any = None
    _on_ready: OnReady | None = None
    #: The result of the call that this process made next, for reading ahead.
    _next: ReferenceType[AsyncResult[Any]] | None = None

    def __init__(
        self,
        id: str,  # Celery's name
        backend: Any = None,
        task_name: str | None = None,
        app: Celery | None = None,
        parent: Any = None,
    ) -> None:
        if id is None:
            raise ValueError(f"AsyncResult requires valid id, not {type(id)}")
        self.app = app or self.app or _state.get_current_app()
        self.id = id
        self.parent = parent
        if backend is not None:
            self._backend = backend

    # Both are made when first asked for: most callers never ask, and `delay` must not touch the result store.

    @property
    def backend(self) -> Any:
        """The result store that is asked."""
        found = self._backend
        if found is None:
            found = self._backend = self.app.backend
        return found

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    @property
    def on_ready(self) -> OnReady:
        """Who wants to know when the result is ready; see `then`."""
        found = self._on_ready
        if found is None:
            found = self._on_ready = OnReady()
            if self._cache is not None:
                found(self)
        return found

    @on_ready.setter
    def on_ready(self, value: Any) -> None:
        self._on_ready = value

    @property
    def ignored(self) -> bool:
        """Whether the call asked for no result, so that there is nothing to wait for."""
        return self._ignored

    @ignored.setter
    def ignored(self, value: bool) -> None:
        self._ignored = value

    # -- waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: frozenset[str] = states.EXCEPTION_STATES,  # noqa: N803 (Celery's name)
        PROPAGATE_STATES: frozenset[str] = states.PROPAGATE_STATES,  # noqa: N803
    ) -> R:
        """Wait until the task is ready, and return what it returned, or raise what it raised.

        `timeout` is in seconds; `propagate=False` returns the exception; `interval` is how often a store that
        cannot tell us is asked, and how often `on_interval` is called; `on_message` gets every state told.
        """
        if self._ignored:
            return None  # type: ignore[return-value]
        if disable_sync_subtasks:
            assert_will_not_block()
        follow = propagate and follow_parents and self.parent is not None
        if follow:
            self._maybe_reraise_parent_error()
        if self._cache is not None:
            return self.maybe_throw(propagate=propagate, callback=callback)
        try:
            return self.backend.wait_for_pending(
                self, timeout=timeout, interval=interval, no_ack=no_ack, propagate=propagate, callback=callback,
                on_interval=self._looking_at_parents(on_interval) if follow else on_interval, on_message=on_message,
            )  # fmt: skip
        except Exception:
            if follow:
                self._maybe_reraise_parent_error()  # what came before and failed is the reason
            raise

    wait = get  # an older name

    def _looking_at_parents(self, on_interval: Callable[[], Any] | None) -> Callable[[], None]:
        def look() -> None:
            self._maybe_reraise_parent_error()
            if on_interval is not None:
                on_interval()

        return look

    def _maybe_reraise_parent_error(self) -> None:
        parents = ResultSet(list(reversed(list(self._parents()))), app=self.app)
        parents._read()
        for leaf in parents._leaves():
            if leaf._cache is not None:
                leaf.maybe_throw()

    def _parents(self) -> Iterator[Any]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def then(
        self, callback: Callable[..., Any], on_error: Callable[..., Any] | None = None, weak: bool = False
    ) -> Any:
        """Have `callback(result)` called as soon as this process learns that the result is ready."""
        return self.on_ready.then(callback, on_error)

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        """Raise the task's exception if there is one, else return what is known, without waiting."""
        meta = self._get_task_meta()
        value = meta["result"]
        if propagate and meta["status"] in states.PROPAGATE_STATES:
            self.throw(value, self._to_remote_traceback(meta.get("traceback")))
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw  # an older name

    def throw(self, exc: Any, tb: TracebackType | None = None) -> NoReturn:
        """Raise an exception; anything else that was stored as one is wrapped."""
        error = exc if isinstance(exc, BaseException) else Exception(exc)
        raise error.with_traceback(tb)  # without: the traceback would grow at every get()

    def _to_remote_traceback(self, text: str | None) -> TracebackType | None:
        if not text or not self.app.conf.task_remote_tracebacks:
            return None
        from tblib import Traceback  # type: ignore[import-not-found]  # optional

        return Traceback.from_string(text).as_traceback()

    # -- states

    def ready(self) -> bool:
        """Whether the task has ended, however it did."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Whether the task has returned."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Whether the task has raised."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Whether the store has anything about the task."""
        return self.backend.task_result_exists(self.id)

    def forget(self) -> None:
        """Delete the result, and those of the tasks that led to it."""
        self._cache = None
        if self.parent is not None:
            self.parent.forget()
        self.backend.remove_pending_result(self)
        self.backend.forget(self.id)

    # -- revoking

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Tell all workers not to run the task, and with `terminate` to end it if it runs."""
        self.app.control.revoke(
            self.id, connection=connection, terminate=terminate, signal=signal, reply=wait, timeout=timeout
        )

    def revoke_by_stamped_headers(
        self,
        headers: dict[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """The same for all tasks that carry these stamps."""
        self.app.control.revoke_by_stamped_headers(
            headers, connection=connection, terminate=terminate, signal=signal, reply=wait, timeout=timeout
        )

    @property
    def supports_native_join(self) -> bool:
        """Whether many results can be waited for in one go."""
        return self.backend.supports_native_join

    # -- what the store knows

    def _get_task_meta(self) -> dict[str, Any]:
        if self._cache is not None:
            return self._cache
        return self._maybe_set_cache(self.backend.get_task_meta(self.id))

    def _maybe_set_cache(self, meta: Any) -> Any:
        if meta and meta["status"] in states.READY_STATES:
            meta = self._set_cache(meta)
            if self._on_ready is not None:
                self._on_ready(self)
        return meta

    def _set_cache(self, meta: dict[str, Any]) -> dict[str, Any]:
        children = meta.get("children")
        if children:
            meta["children"] = [result_from_tuple(child, self.app) for child in children]
        self._cache = meta
        return meta

    def _iter_meta(self, **kwargs: Any) -> Iterator[dict[str, Any]]:
        return iter([self._get_task_meta()])

    @property
    def task_id(self) -> Any:
        """The same as `id`."""
        return self.id

    @task_id.setter
    def task_id(self, value: Any) -> None:
        self.id = value

    # -- as a Python object

    def __str__(self) -> str:
        return str(self.id)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        if isinstance(other, str):
            return bool(other == self.id)
        return NotImplemented

    def __copy__(self) -> Any:
        return self.__class__(self.id, self.backend, None, self.app, self.parent)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, self.__reduce_args__()

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self.backend, None, None, self.parent


class EagerResult(AsyncResult[R]):
    """The result of a task that was run here and now (`Task.apply`)."""

    def __init__(
        self,
        id: str | None,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        # Not AsyncResult's: there is no app, no store, and no id where a lock refused the call (celery-once).
        self.id = id
        self._result = ret_value
        self._state = state
        self._traceback = traceback
        self._name = name
        self.on_ready = OnReady()
        self.on_ready(self)

    @property  # type: ignore[misc]
    def backend(self) -> Any:
        """There is none."""
        return None

    @property
    def _cache(self) -> dict[str, Any]:  # type: ignore[override]
        return {
            "task_id": self.id, "result": self._result, "status": self._state,
            "traceback": self._traceback, "name": self._name,
        }  # fmt: skip

    def _get_task_meta(self) -> dict[str, Any]:
        return self._cache

    def get(  # type: ignore[override]
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
        **kwargs: Any,
    ) -> Any:
        """What the task returned, or raise what it raised; nothing for a state in between."""
        if disable_sync_subtasks:
            assert_will_not_block()
        if self._state == states.SUCCESS:
            return self._result
        if self._state in states.PROPAGATE_STATES:
            if propagate:
                self.throw(self._result)
            return self._result
        return None

    wait = get  # type: ignore[assignment]

    def _to_remote_traceback(self, text: str | None) -> None:
        return None

    def ready(self) -> bool:
        """Always: it ran before there was a result."""
        return True

    def forget(self) -> None:
        """Nothing was stored."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Mark the result as revoked; the task has run."""
        self._state = states.REVOKED
        self._result = TaskRevokedError("revoked")

    @property
    def supports_native_join(self) -> bool:
        """There is no store to ask."""
        return False

    def __copy__(self) -> Any:
        return self.__class__(*self.__reduce_args__())

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self._result, self._state, self._traceback, self._name

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"


def result_from_tuple(r: Any, app: Celery | None = None) -> Any:
    """A result from what `as_tuple` gave (or JSON made of it): a `GroupResult` where there are children."""
    if isinstance(r, ResultBase):
        return r
    app = app or _state.get_current_app()
    node, children = r
    task_id, parent = node if isinstance(node, list | tuple) else (node, None)
    parent = result_from_tuple(parent, app) if parent else None
    if children is not None:
        return app.GroupResult(task_id, [result_from_tuple(child, app) for child in children], parent=parent)
    return app.AsyncResult(task_id, parent=parent)
