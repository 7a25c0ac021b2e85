"""A worker within one process: `-P solo`, and workers in a thread of somebody's program.

The task loop runs in the thread that calls `run`, housekeeping in another one. There is no parent: what it would do is
done here as far as possible.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from celerylite import brokers, concurrency, signals
from celerylite.exceptions import WorkerTerminate
from celerylite.platforms import EX_FAILURE, EX_OK
from celerylite.worker.autoscale import start_autoscaler
from celerylite.worker.consumed import declare_queues
from celerylite.worker.emitter import Emitter
from celerylite.worker.event_pipe import EventPipe
from celerylite.worker.housekeeping import Housekeeping
from celerylite.worker.news import News
from celerylite.worker.node import LocalRoad, Node, Refused
from celerylite.worker.parent import make_board
from celerylite.worker.parent_commands import THREADS_CANNOT_END, resized_threads
from celerylite.worker.pidbox import Pidbox
from celerylite.worker.task_process import TaskProcess

if TYPE_CHECKING:
    from celerylite.worker.controller import WorkController
    from celerylite.worker.extension import Extension

#: Seconds between looks whether the worker shall end, while its steps start.
LOOK = 0.1


class OneProcess:
    """One life of such a worker."""

    def __init__(self, worker: WorkController) -> None:
        self.worker = worker
        app, options = worker.app, worker.options
        executor = concurrency.get_implementation(worker.pool_cls)(options.concurrency)
        self.board, places = make_board(options)
        self._most = len(places[0])
        self.board.use(range(executor.slots))
        for slot in range(executor.slots):
            self.board.clear(slot, os.getpid())
        self.broker = brokers.connect_worker(app, worker.hostname)
        self.housekeeping = Housekeeping(app, options, self.broker, self.board, directives=worker.directives)
        self.process = TaskProcess(app, options, self.broker, executor, self.board, directives=worker.directives)
        road = LocalRoad(self.process.consumer.wake, self.do)
        self.node = Node(app, options, self.board, self.broker, worker.directives, road)
        self.housekeeping.follow(worker.directives)
        self.pipe = EventPipe()
        self.news = self.node.news = self.housekeeping.news = News(self.node, self.pipe)
        self.process.watch(Emitter(self.pipe, at_once=True))
        self.pidbox = Pidbox(self.node, worker.consumer)

    def run(self) -> None:
        """Work until stopped."""
        worker = self.worker
        self.housekeeping.listen()
        thread = threading.Thread(target=self.housekeeping.run, name="housekeeping", daemon=True)
        signals.worker_process_init.send(sender=None)
        thread.start()
        worker.health.serve(self.housekeeping)
        self.news.start()
        self.pidbox.start()
        self.node.autoscaler = start_autoscaler(self.node)
        beat = self._beat() if worker.beat else None
        try:
            declare_queues(worker.app, worker.options.queues)
            if worker.extension is not None:
                self._start_extension(worker.extension)
            self.process.run(worker._on_ready)
        except WorkerTerminate:
            worker.exitcode = EX_FAILURE  # what was running has been given back if it was not acknowledged
        finally:
            if beat is not None:
                beat.stop()
            if worker.extension is not None:
                worker.extension.close()
                worker.extension.join()
            if self.node.autoscaler is not None:
                self.node.autoscaler.stop()
            self.pidbox.stop()
            self.housekeeping.stop()
            thread.join()
            self.news.stop()
            self.broker.close()
            signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=EX_OK)

    def _start_extension(self, extension: Extension) -> None:
        """Returns when the steps have started, or one of them has had the worker told to end."""
        started = threading.Event()
        extension.start(self.node, started.set)
        while not started.wait(LOOK) and not self.worker._stop_wanted:
            pass

    def do(self, kind: str, fields: dict[str, Any]) -> Any:
        """What a parent would do; see `Node.ask_parent`. Any thread may call."""
        worker = self.worker
        if kind == "shutdown":
            worker.stop(exitcode=fields.get("exitcode"))
            return None
        if kind == "pool_restart":
            worker.reload(fields.get("modules"), fields.get("reload", False))
            return None
        if worker.pool_cls == "threads" and kind in ("pool_grow", "pool_shrink"):
            return self._resize(int(fields.get("n", 1)) * (1 if kind == "pool_grow" else -1))
        if worker.pool_cls == "threads" and kind == "terminate":
            raise Refused(THREADS_CANNOT_END)
        raise Refused(f"{kind} is not possible with -P {worker.pool_cls}: this worker has no processes of its own")

    def _resize(self, more: int) -> int:
        try:
            size = resized_threads(self.board, more, self._most)
        except ValueError as exc:
            raise Refused(str(exc)) from None
        self.board.use(range(size))
        self.node.post("concurrency", slots=size)
        return size

    def _beat(self) -> Any:
        from celerylite.beat import EmbeddedService  # lazy: only with -B

        worker = self.worker
        service = EmbeddedService(
            worker.app, schedule_filename=worker.schedule_filename, scheduler_cls=worker.scheduler, thread=True
        )
        service.start()
        return service
