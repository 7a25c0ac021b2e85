"""A worker in a thread of the test's process: real messages and results, no second process to look after."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celerylite import Celery, _state
from celerylite.contrib.testing import tasks  # noqa: F401  registers celery.ping
from celerylite.result import allow_join_result
from celerylite.utils.dispatch import Signal
from celerylite.utils.nodenames import anon_nodename
from celerylite.worker import WorkController

__all__ = (
    "TestWorkController",
    "setup_app_for_worker",
    "start_worker",
    "test_worker_started",
    "test_worker_starting",
    "test_worker_stopped",
)

#: The task that proves a worker to work.
PING = "celery.ping"

WORKER_LOGLEVEL = os.environ.get("WORKER_LOGLEVEL", "error")

test_worker_starting = Signal(name="test_worker_starting", providing_args=set())
test_worker_started = Signal(name="test_worker_started", providing_args={"worker", "consumer"})
test_worker_stopped = Signal(name="test_worker_stopped", providing_args={"worker"})


class TestWorkController(WorkController):
    """A worker that one can wait for."""

    # pytest would take it for a class of tests where it is imported.
    __test__ = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Set when the worker fetches, and also when it ended before it came so far.
        self._on_started = threading.Event()
        self._error: BaseException | None = None
        super().__init__(*args, **kwargs)

    def on_consumer_ready(self, consumer: Any) -> None:
        """Called when the worker starts to fetch."""
        super().on_consumer_ready(consumer)
        self._on_started.set()
        test_worker_started.send(sender=self.app, worker=self, consumer=consumer)

    def ensure_started(self) -> None:
        """Wait until the worker fetches. The worker must run in another thread, else this never returns."""
        self._on_started.wait()
        if self._error is not None:
            raise RuntimeError(f"Test worker failed to start: {self._error!r}") from self._error


@contextmanager
def start_worker(
    app: Celery,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    **kwargs: Any,
) -> Iterator[TestWorkController]:
    """Run a worker of `app` in a thread while the block runs; give it.

    At the end running tasks may take `shutdown_timeout` seconds to finish, else `RuntimeError` is raised.
    Other keyword arguments go to the worker.
    """
    test_worker_starting.send(sender=app)
    worker = None
    try:
        with _start_worker_thread(
            app,
            concurrency=concurrency,
            pool=pool,
            loglevel=loglevel,
            logfile=logfile,
            perform_ping_check=perform_ping_check,
            shutdown_timeout=shutdown_timeout,
            **kwargs,
        ) as worker:
            if perform_ping_check:
                _check_ping(app, ping_task_timeout)
            yield worker
    finally:
        test_worker_stopped.send(sender=app, worker=worker)


def setup_app_for_worker(app: Celery, loglevel: str | int, logfile: str | None) -> None:
    """Make `app` complete and current, and set up its logging."""
    app.finalize()
    app.set_current()
    app.set_default()
    app.log.setup(loglevel=loglevel, logfile=logfile)


@contextmanager
def _start_worker_thread(
    app: Celery,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None,
    WorkController: type[TestWorkController] = TestWorkController,
    perform_ping_check: bool = True,
    shutdown_timeout: float = 10.0,
    **kwargs: Any,
) -> Iterator[TestWorkController]:
    """As `start_worker`, with the class of the worker to choose, and without the call of `ping` itself."""
    setup_app_for_worker(app, loglevel, logfile)
    if perform_ping_check and PING not in app.tasks:
        raise RuntimeError(f"{app!r} lacks the task celery.ping; perform_ping_check=False does without it")
    quiet = {"without_heartbeat": True, "without_mingle": True, "without_gossip": True}
    options: dict[str, Any] = {"hostname": anon_nodename(), **quiet, **kwargs}
    worker = WorkController(
        app=app, concurrency=concurrency, pool=pool, loglevel=loglevel, logfile=logfile, **options
    )
    thread = threading.Thread(target=_run, args=(worker,), daemon=True, name="celerylite-test-worker")
    thread.start()
    worker.ensure_started()
    # A worker in this process must not forbid the test, which is no task, to wait for results.
    _state._set_task_join_will_block(False)
    try:
        yield worker
    finally:
        _stop(worker, thread, shutdown_timeout)


def _run(worker: TestWorkController) -> None:
    """What the thread does. A start that fails is reported by `ensure_started`, in the thread of the test."""
    try:
        worker.start()
    except BaseException as exc:  # a border: whatever ends the worker early must end the wait of the test
        if not worker._on_started.is_set():
            worker._error = exc
        elif not isinstance(exc, SystemExit):
            raise
    finally:
        worker._on_started.set()


def _stop(worker: TestWorkController, thread: threading.Thread, timeout: float) -> None:
    worker.stop()
    thread.join(timeout)
    if thread.is_alive():
        raise RuntimeError(
            "Worker thread failed to exit within the allocated timeout. "
            "Consider raising `shutdown_timeout` if your tasks take longer to execute."
        )


def _check_ping(app: Celery, timeout: float) -> None:
    with allow_join_result():
        answer = app.tasks[PING].delay().get(timeout=timeout)
    if answer != "pong":
        raise RuntimeError(f"the test worker answered the ping with {answer!r}")
