"""Results of many calls: `ResultSet`, and `GroupResult`, which has an id and can be saved.

The results of a set are read and waited for together, in one trip, where the store can do that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

from celerylite import _state, states
from celerylite.exceptions import TimeoutError
from celerylite.result_base import OnReady, ResultBase, assert_will_not_block

if TYPE_CHECKING:
    from celerylite.app.base import Celery

Callback = Callable[[str, Any], Any]


class ResultSet(ResultBase):
    """A collection of results (and of sets of results), in order."""

    _app: Any = None
    results: list[Any] = None  # type: ignore[assignment]

    def __init__(
        self, results: list[Any] | None, app: Celery | None = None, ready_barrier: Any = None, **kwargs: Any
    ) -> None:
        self._app = app
        self.results = results  # type: ignore[assignment]
        self.on_ready = OnReady()
        if ready_barrier is not None:
            ready_barrier.then(self._on_ready)

    def _on_ready(self, *args: Any) -> None:
        self.on_ready(self)

    # -- as a collection

    def add(self, result: Any) -> None:
        """Append a result that is not in the set yet."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: Any) -> None:
        """Take a result (or id) out; KeyError where it is not in the set."""
        if isinstance(result, str):
            result = self.app.AsyncResult(result)
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        """Take a result out if it is there."""
        if result in self.results:
            self.results.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        """Append the results that are not in the set yet."""
        for result in results:
            self.add(result)

    def clear(self) -> None:
        """Take all results out."""
        self.results[:] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(str(result.id) for result in self.results)}]>"

    # -- states

    def successful(self) -> bool:
        """Whether all tasks have returned."""
        self._read()
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """Whether a task has raised."""
        self._read()
        return any(result.failed() for result in self.results)

    def waiting(self) -> bool:
        """Whether a task has not ended."""
        return not self.ready()

    def ready(self) -> bool:
        """Whether all tasks have ended, however they did."""
        self._read()
        ready = all(result.ready() for result in self.results)
        if ready:
            self._on_ready()
        return ready

    def completed_count(self) -> int:
        """How many tasks have returned."""
        self._read()
        return sum(int(result.successful()) for result in self.results)

    def _read(self) -> None:
        """Read what is not known yet in one trip; what is not ready then is asked for singly."""
        unread = {leaf.id: leaf for leaf in self._leaves() if leaf._cache is None and not leaf.ignored}
        if unread and not self.supports_native_join:
            for leaf in unread.values():
                leaf._get_task_meta()
        elif unread:
            for task_id, meta in self.backend.get_many(list(unread), max_iterations=1):
                unread[task_id]._maybe_set_cache(meta)

    def _leaves(self) -> Iterator[Any]:
        for result in self.results:
            if isinstance(result, ResultSet):
                yield from result._leaves()
            else:
                yield result

    # -- all at once

    def forget(self) -> None:
        """Delete the results."""
        for result in self.results:
            result.forget()

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Tell all workers not to run these tasks, and with `terminate` to end those that run."""
        self.app.control.revoke(
            [result.id for result in self.results],
            connection=connection, timeout=timeout, terminate=terminate, signal=signal, reply=wait,
        )  # fmt: skip

    def maybe_throw(self, callback: Callback | None = None, propagate: bool = True) -> None:
        """Raise the first exception among the results."""
        for result in self.results:
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def then(
        self, callback: Callable[..., Any], on_error: Callable[..., Any] | None = None, weak: bool = False
    ) -> Any:
        """Have `callback(self)` called as soon as this process learns that all results are ready."""
        for result in self.results:
            result.then(self._one_ready)
        return self.on_ready.then(callback, on_error)

    def _one_ready(self, _: Any) -> None:
        if all(result.on_ready.ready for result in self.results):
            self._on_ready()

    # -- waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> Any:
        """Wait for all results and return their values in order; see `join`."""
        wait = self.join_native if self.supports_native_join else self.join
        return wait(
            timeout=timeout, propagate=propagate, interval=interval, callback=callback, no_ack=no_ack,
            on_message=on_message, disable_sync_subtasks=disable_sync_subtasks, on_interval=on_interval,
        )  # fmt: skip

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> list[Any]:
        """Wait for one result after the other; with `callback(id, value)` the values go there instead.

        Raises the first exception of a task (unless `propagate` is false), or `TimeoutError`.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        started, values = monotonic(), []
        for result in self.results:
            remaining = None if timeout is None else timeout - (monotonic() - started)
            if timeout and remaining is not None and remaining <= 0:
                raise TimeoutError("join operation timed out")
            value = result.get(
                timeout=None if remaining is None else max(0, remaining), propagate=propagate, no_ack=no_ack,
                interval=interval, on_interval=on_interval, disable_sync_subtasks=disable_sync_subtasks,
            )  # fmt: skip
            if callback is not None:
                callback(result.id, value)
            else:
                values.append(value)
        return values

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """As `join`, but all are waited for together, and exceptions are raised as they come in."""
        if disable_sync_subtasks:
            assert_will_not_block()
        found: dict[str, Any] = {}
        for task_id, meta in self.iter_native(timeout, interval, no_ack, on_message, on_interval):
            if isinstance(meta, list):
                continue  # a set within the set: its results come as well
            value = meta["result"]
            if propagate and meta["status"] in states.PROPAGATE_STATES:
                raise value.with_traceback(None) if isinstance(value, BaseException) else Exception(value)
            if callback is not None:
                callback(task_id, value)
            else:
                found[task_id] = value
        return None if callback is not None else self._values(found)

    def _values(self, found: dict[str, Any]) -> list[Any]:
        return [
            result._values(found) if isinstance(result, ResultSet) else None if result.ignored else found[result.id]
            for result in self.results
        ]

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """(id, meta) of each result as it comes in; a set within the set gives (id, list of its results)."""
        return self.backend.iter_native(
            self,
            timeout=timeout,
            interval=interval,
            no_ack=no_ack,
            on_message=on_message,
            on_interval=on_interval,
        )

    def _iter_meta(self, **kwargs: Any) -> Iterator[dict[str, Any]]:
        return (
            meta
            for _, meta in self.backend.get_many(
                [leaf.id for leaf in self._leaves()], max_iterations=1, **kwargs
            )
        )

    def _failed_join_report(self) -> Iterator[Any]:
        return (
            leaf
            for leaf in self._leaves()
            if leaf.backend.is_cached(leaf.id) and leaf.state in states.PROPAGATE_STATES
        )

    @property
    def supports_native_join(self) -> bool:
        """Whether the store can wait for many results in one go."""
        try:
            return bool(self.results[0].supports_native_join)
        except IndexError:
            return False

    @property
    def app(self) -> Any:
        """The app that was given, or that of the first result."""
        if self._app is None:
            self._app = self.results[0].app if self.results else _state.get_current_app()
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        """The result store that is asked."""
        return self.app.backend if self.app else self.results[0].backend


class GroupResult(ResultSet):
    """The results of a group: a set with an id, which can be saved and restored."""

    id: str | None = None

    def __init__(
        self, id: str | None = None, results: list[Any] | None = None, parent: Any = None, **kwargs: Any
    ) -> None:
        self.id = id
        self.parent = parent
        super().__init__(results, **kwargs)

    def save(self, backend: Any = None) -> Any:
        """Store which results belong to the group, so that `restore` finds them."""
        return (backend or self.app.backend).save_group(self.id, self)

    def delete(self, backend: Any = None) -> None:
        """Forget what `save` stored."""
        (backend or self.app.backend).delete_group(self.id)

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Celery | None = None) -> GroupResult | None:
        """The group that was saved under this id."""
        of_class: Any = cls.app
        here: Any = app or (None if isinstance(of_class, property) else of_class) or _state.get_current_app()
        group: GroupResult | None = (backend or here.backend).restore_group(id)
        return group

    def as_tuple(self) -> tuple[Any, Any]:
        """The group as it travels."""
        parent = self.parent
        head = (self.id, parent.as_tuple() if parent is not None else None)
        return head, [result.as_tuple() for result in self.results]

    @property
    def children(self) -> list[Any]:
        """The results of the group."""
        return self.results

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return other.id == self.id and other.results == self.results and other.parent == self.parent
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(str(result.id) for result in self.results)}]>"

    def __str__(self) -> str:
        return str(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, self.__reduce_args__()

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self.results
