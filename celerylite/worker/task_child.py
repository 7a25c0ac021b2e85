"""What a forked task process does around its loop: signals, process signals of the app, time limits of threads, its
end.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celerylite import brokers
from celerylite.concurrency import prefork
from celerylite.concurrency.base import Executor
from celerylite.concurrency.solo import SoloExecutor
from celerylite.concurrency.thread import ThreadExecutor
from celerylite.platforms import EX_FAILURE
from celerylite.worker.emitter import Emitter
from celerylite.worker.limits import ThreadLimits
from celerylite.worker.task_process import TaskProcess

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.worker.board import Board
    from celerylite.worker.children import Line
    from celerylite.worker.directives import Directives
    from celerylite.worker.event_pipe import EventPipe
    from celerylite.worker.options import WorkerOptions

logger = logging.getLogger("celery.worker")


def run_task_child(
    app: Celery,
    options: WorkerOptions,
    board: Board,
    slots: range,
    line: Line,
    directives: Directives,
    pipe: EventPipe,
    standby: bool = False,
) -> int:
    """Run tasks until told to stop or the parent is gone; returns the exit status."""
    threads = options.pool == "threads"
    executor: Executor = ThreadExecutor(directives.concurrency or options.concurrency) if threads else SoloExecutor()
    broker = brokers.connect_worker(app, options.hostname)
    process = TaskProcess(app, options, broker, executor, board, slots.start, line, directives)
    process.hearing.standby = standby
    _handle_signals(process, board, slots.start)
    signal.signal(signal.SIGUSR1, lambda *_: process.interrupting.on_signal())
    process.consumer.on_connected = lambda name, file: line.send_file(file, lifeline=name)
    process.watch(Emitter(pipe, at_once=threads))
    limits = _watch_threads(process, executor)
    prefork.process_initializer(app, options.hostname)
    status = 0
    try:
        process.run(
            lambda: _tell(line, "ready"), lambda: _tell(line, "idle"), lambda running: _tell(line, "running", running)
        )
        status = EX_FAILURE if process.cold else 0
    finally:
        if limits is not None:
            limits.stop()
        prefork.process_destructor(os.getpid(), status)
        _run_exit_hooks()
    return status


def _watch_threads(process: TaskProcess, executor: Executor) -> ThreadLimits | None:
    if not isinstance(executor, ThreadExecutor):
        return None
    limits = ThreadLimits(executor, process.board, process.first_slot, process.warn, process.on_hard_limit)
    limits.start()
    return limits


def _run_exit_hooks() -> None:
    """Monitoring packages flush in billiard's worker class; see the shim."""
    pool = sys.modules.get("celerylite.shims.billiard.pool")
    if pool is not None:
        pool.run_exit_hooks()


def _tell(line: Line, word: str, value: Any = True) -> None:
    line.send(**{word: value})


def _handle_signals(process: TaskProcess, board: Board, slot: int) -> None:
    """Signals ask the process to end in order; where the board says so, they end it together with its task."""

    def or_die(act: Callable[[], None]) -> Callable[[int, object], None]:
        def handle(number: int, frame: object) -> None:
            if board.doom(slot) == number:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            act()

        return handle

    def cold() -> None:
        if board.cold():
            process.on_cold_shutdown()

    signal.signal(signal.SIGTERM, or_die(process.stop))
    signal.signal(signal.SIGINT, or_die(process.stop))
    signal.signal(signal.SIGQUIT, or_die(cold))
    signal.signal(signal.SIGHUP, or_die(lambda: None))
