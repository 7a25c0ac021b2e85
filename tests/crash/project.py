"""The project that the crash suite's workers run: its app is made from the environment, its tasks write the ledger.

`CELERYLITE_TEST_AS=celery` builds the same project on Celery, to see the suite catch what Celery loses. No tests here.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.support.ledger import Ledger
from tests.support.worker import OURS as LIBRARY


def _die_exit() -> None:
    os._exit(3)


def _die_segfault() -> None:
    ctypes.string_at(0)


def _die_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(3)


def _die_memory() -> None:
    raise MemoryError("no more")


def _die_sys_exit() -> None:
    sys.exit(3)


#: The ways in which a task can be poison.
DEATHS: dict[str, Callable[[], None]] = {
    "exit": _die_exit,
    "segfault": _die_segfault,
    "killed": _die_killed,
    "parent": _die_parent,
    "memory": _die_memory,
    "sys_exit": _die_sys_exit,
}


def make_app(
    broker: str, backend: str | None, ledger: Ledger, settings: dict[str, Any], *, current: bool = False
) -> Any:
    """An app with the suite's tasks. The client in the test and the worker in its process build the same."""
    library = importlib.import_module(LIBRARY)
    app = library.Celery("crash", broker=broker, backend=backend, set_as_current=current)
    app.conf.update(settings)
    _add_tasks(app, ledger)
    _add_workflow_tasks(app, ledger)
    return app


def _add_tasks(app: Any, ledger: Ledger) -> None:
    @app.task(name="crash.work", bind=True, shared=False)
    def work(self: Any, seconds: float = 0.0) -> int:
        ledger.start(self.request.id)
        if seconds:
            time.sleep(seconds)
        ledger.finish(self.request.id)
        return os.getpid()

    @app.task(name="crash.hold", bind=True, shared=False)
    def hold(self: Any, seconds: float) -> int:
        """Take long the first time only, so that a second delivery ends at once."""
        first = not ledger.starts()[self.request.id]
        ledger.start(self.request.id)
        if first:
            time.sleep(seconds)
        ledger.finish(self.request.id)
        return os.getpid()

    @app.task(name="crash.freeze", bind=True, shared=False)
    def freeze(self: Any, seconds: float) -> None:
        """Sleep in C without giving up the interpreter's lock."""
        ledger.start(self.request.id)
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
        ledger.finish(self.request.id)

    @app.task(name="crash.retry_once", bind=True, shared=False)
    def retry_once(self: Any, countdown: float) -> None:
        """Ask for a second try after so long."""
        ledger.start(self.request.id)
        if not self.request.retries:
            raise self.retry(countdown=countdown)
        ledger.finish(self.request.id)

    @app.task(name="crash.die", bind=True, shared=False)
    def die(self: Any, how: str) -> None:
        ledger.start(self.request.id)
        DEATHS[how]()


def _add_workflow_tasks(app: Any, ledger: Ledger) -> None:
    @app.task(name="crash.plus", bind=True, shared=False)
    def plus(self: Any, x: int, y: int = 0) -> int:
        ledger.start(self.request.id)
        ledger.finish(self.request.id)
        return x + y

    @app.task(name="crash.total", bind=True, shared=False)
    def total(self: Any, values: list[int]) -> int:
        ledger.start(self.request.id)
        ledger.finish(self.request.id)
        return sum(values)

    @app.task(name="crash.fail", bind=True, shared=False)
    def fail(self: Any, *args: Any) -> None:
        ledger.start(self.request.id)
        ledger.finish(self.request.id)
        raise ValueError("on purpose")

    @app.task(name="crash.errback", shared=False)
    def errback(task_id: str) -> None:
        ledger.write("errback", task_id)


def _watch_worker(library: str, ledger: Ledger) -> None:
    """Note which processes run tasks and when the worker is ready; what else is in its tree is found by exclusion."""
    signals = importlib.import_module(f"{library}.signals")

    @signals.worker_process_init.connect(weak=False)
    def on_process(**_: Any) -> None:
        ledger.write("process")

    @signals.worker_ready.connect(weak=False)
    def on_ready(sender: Any = None, **_: Any) -> None:
        ledger.write("ready", str(sender))


if "CRASH_BROKER" in os.environ:  # in a worker's process; a test calls make_app itself
    _ledger = Ledger(os.environ["CRASH_LEDGER"])
    _settings = json.loads(os.environ["CRASH_SETTINGS"])
    app = make_app(os.environ["CRASH_BROKER"], os.environ.get("CRASH_BACKEND"), _ledger, _settings, current=True)
    _watch_worker(LIBRARY, _ledger)
    if "CRASH_COMMIT" in os.environ:
        from tests.crash.sqlite.points import strike_at  # for celerylite only

        strike_at(os.environ["CRASH_COMMIT"])
