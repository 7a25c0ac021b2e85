"""What a forked task process does around its loop: signals, process signals of the app, time limits of threads, its
end.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

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
) -> int:
    """Run tasks until told to stop or the parent is gone; returns the exit status."""
    threads = options.pool == "threads"
    executor: Executor = ThreadExecutor(options.concurrency) if threads else SoloExecutor()
    broker = brokers.connect_worker(app, options.hostname)
    process = TaskProcess(app, options, broker, executor, board, slots.start, line, directives)
    signal.signal(signal.SIGTERM, lambda *_: process.stop())
    signal.signal(signal.SIGINT, lambda *_: process.stop())
    signal.signal(signal.SIGQUIT, lambda *_: process.on_cold_shutdown() if board.cold() else None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: process.on_soft_limit())
    process.consumer.on_connected = lambda name, file: line.send_file(file, lifeline=name)
    process.watch(Emitter(pipe, at_once=threads))
    limits = _watch_threads(process, executor)
    prefork.process_initializer(app, options.hostname)
    status = 0
    try:
        process.run(lambda: _tell_ready(line))
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


def _tell_ready(line: Line) -> None:
    line.send(ready=True)
