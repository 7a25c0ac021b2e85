"""For integration tests: waits for what workers do, and says on the terminal what it waits for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, TextIO

from celerylite import exceptions
from celerylite.result import ResultSet
from celerylite.utils.text import truncate
from celerylite.utils.time import humanize_seconds

if TYPE_CHECKING:
    from celerylite.app.base import Celery

E_STILL_WAITING = "Still waiting for {0}.  Trying again {when}: {exc!r}"


class Sentinel(Exception):
    """Raised by a condition that does not hold yet."""


class ManagerMixin:
    """See `Manager`."""

    app: Celery

    def _init_manager(
        self,
        block_timeout: float = 30 * 60.0,
        no_join: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.block_timeout = block_timeout
        self.no_join = no_join
        self.connerrors = self.app.connection().recoverable_connection_errors

    def remark(self, s: str, sep: str = "-") -> None:
        """Print a line of its own."""
        print(f"{sep}{s}", file=self.stdout)

    def warn(self, s: str) -> None:
        """Print to stderr."""
        print(s, file=self.stderr)

    def missing_results(self, r: Iterable[Any]) -> list[str]:
        """The ids of those that have no result yet."""
        return [result.id for result in r if not result.ready()]

    def wait_for(
        self,
        fun: Callable[..., Any],
        catch: Any,
        desc: str = "thing",
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        errback: Callable[..., Any] | None = None,
        max_retries: int | None = 10,
        interval_start: float = 0.1,
        interval_step: float = 0.5,
        interval_max: float = 5.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> Any:
        """Call `fun` until it raises none of `catch`; what it returns. The last error is raised after `max_retries`."""
        for tried in count():
            try:
                return fun(*args, **(kwargs or {}))
            except catch as exc:
                if max_retries is not None and tried >= max_retries:
                    raise
                pause = min(interval_start + tried * interval_step, interval_max)
                if errback is not None:
                    errback(exc, None, tried)
                if emit_warning:
                    self.warn(E_STILL_WAITING.format(desc, when=humanize_seconds(pause, "in", " "), exc=exc))
                time.sleep(pause)

    def ensure_not_for_a_while(
        self,
        fun: Callable[..., Any],
        catch: Any,
        desc: str = "thing",
        max_retries: int = 20,
        interval_start: float = 0.1,
        interval_step: float = 0.02,
        interval_max: float = 1.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> None:
        """Make sure that `fun` goes on raising one of `catch` for so many tries; raises `AssertionError` if not."""
        for tried in range(max_retries):
            try:
                fun()
            except catch:
                time.sleep(min(interval_start + tried * interval_step, interval_max))
            else:
                raise AssertionError(f"Should not have happened: {desc}")

    def retry_over_time(self, *args: Any, **kwargs: Any) -> Any:
        """Another name of `wait_for`."""
        return self.wait_for(*args, **kwargs)

    def join(self, r: Any, propagate: bool = False, max_retries: int = 10, **kwargs: Any) -> Any:
        """The values of a result or of several, in a list; an exception is a value unless `propagate`.

        A try takes `timeout` seconds (None waits for ever). Raises `AssertionError` when values are missing after
        `max_retries` of them.
        """
        if self.no_join:
            return None
        results = r if isinstance(r, ResultSet) else self.app.ResultSet([r])
        for tried in range(max_retries):
            try:
                return results.get(propagate=propagate, **kwargs)
            except (TimeoutError, exceptions.TimeoutError) as exc:
                waiting = self.missing_results(results)
                self.remark(
                    f"Still waiting for {len(waiting)}/{len(results)} results (try {tried + 1}): "
                    f"[{truncate(', '.join(waiting))}] {exc!r}",
                    "!",
                )
            except self.connerrors as exc:
                self.remark(f"join: connection lost: {exc!r}", "!")
        raise AssertionError("Test failed: Missing task results")

    def inspect(self, timeout: float = 3.0) -> Any:
        """`app.control.inspect`."""
        return self.app.control.inspect(timeout=timeout)

    def query_tasks(self, ids: Collection[str], timeout: float = 0.5) -> Iterator[tuple[str, Any]]:
        """What each worker says of these tasks."""
        yield from (self.inspect(timeout).query_task(*ids) or {}).items()

    def query_task_states(self, ids: Collection[str], timeout: float = 0.5) -> dict[str, set[str]]:
        """State (active, reserved …) → ids of the tasks that some worker has in it."""
        states: dict[str, set[str]] = {}
        for _, reply in self.query_tasks(ids, timeout):
            for task_id, (state, _) in reply.items():
                states.setdefault(state, set()).add(task_id)
        return states

    def assert_accepted(
        self,
        ids: Collection[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be accepted",
        **policy: Any,
    ) -> Any:
        """Wait until all of them run."""
        return self.assert_task_worker_state(self.is_accepted, ids, interval=interval, desc=desc, **policy)

    def assert_received(
        self,
        ids: Collection[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be received",
        **policy: Any,
    ) -> Any:
        """Wait until workers have all of them."""
        return self.assert_task_worker_state(self.is_received, ids, interval=interval, desc=desc, **policy)

    def assert_result_tasks_in_progress_or_completed(
        self,
        async_results: Iterable[Any],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be started or completed",
        **policy: Any,
    ) -> Any:
        """Wait until the result store knows all of them as begun."""
        return self.assert_task_state_from_result(
            self.is_result_task_in_progress, async_results, interval=interval, desc=desc, **policy
        )

    def assert_task_state_from_result(
        self, fun: Callable[..., Any], results: Iterable[Any], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until `fun(results)` holds."""
        policy.setdefault("interval_start", interval)
        return self.wait_for(self.true_or_raise, (Sentinel,), args=(fun, results), **policy)

    @staticmethod
    def is_result_task_in_progress(results: Iterable[Any], **kwargs: Any) -> bool:
        """Whether all of them have begun."""
        return all(result.state in ("STARTED", "SUCCESS") for result in results)

    def assert_task_worker_state(
        self, fun: Callable[..., Any], ids: Collection[str], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until `fun(ids)` holds."""
        policy.setdefault("interval_start", interval)
        return self.wait_for(self.true_or_raise, (Sentinel,), args=(fun, ids), **policy)

    def is_received(self, ids: Collection[str], **kwargs: Any) -> bool:
        """Whether workers have all of them."""
        return self._ids_matches_state(("reserved", "active", "ready"), ids, **kwargs)

    def is_accepted(self, ids: Collection[str], **kwargs: Any) -> bool:
        """Whether all of them run, or have run."""
        return self._ids_matches_state(("active", "ready"), ids, **kwargs)

    def _ids_matches_state(
        self, expected_states: Iterable[str], ids: Collection[str], timeout: float = 0.5
    ) -> bool:
        states = self.query_task_states(ids, timeout)
        found = set().union(*(states.get(state, set()) for state in expected_states))
        return found >= set(ids)

    def true_or_raise(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `fun` returns; raises `Sentinel` where that is falsy."""
        value = fun(*args, **kwargs)
        if not value:
            raise Sentinel()
        return value

    def wait_until_idle(self) -> None:
        """Purge the queues and wait until no worker runs anything; raises `AssertionError` when they do not come to
        rest.
        """
        with self.app.connection_for_write() as connection:
            self.app.control.purge(connection)
            for _ in range(100):
                busy = self.app.control.inspect(connection=connection).active() or {}
                if not any(busy.values()):
                    return
                time.sleep(0.1)
        raise AssertionError("The workers did not come to rest")


class Manager(ManagerMixin):
    """Test helpers around one app; keywords: `block_timeout` (seconds), `no_join`, `stdout`, `stderr`."""

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        self.app = app
        self._init_manager(**kwargs)
