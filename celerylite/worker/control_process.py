"""The control process: the one process of a worker that talks to the broker about the worker itself.

It keeps house (leases, due tasks, losses); remote control and events have their place here too. It ends after all
task processes.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from celerylite import brokers
from celerylite.worker.autoscale import start_autoscaler
from celerylite.worker.housekeeping import Housekeeping
from celerylite.worker.loss import Loss
from celerylite.worker.news import News
from celerylite.worker.node import LineRoad, Node
from celerylite.worker.pidbox import Pidbox

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.worker.board import Board
    from celerylite.worker.children import Line
    from celerylite.worker.consumer import Consumer
    from celerylite.worker.directives import Directives
    from celerylite.worker.event_pipe import EventPipe
    from celerylite.worker.extension import Extension
    from celerylite.worker.health import Health
    from celerylite.worker.options import WorkerOptions

logger = logging.getLogger("celery.worker")


class ControlProcess:
    """Runs in a child of the worker's parent."""

    def __init__(
        self,
        app: Celery,
        options: WorkerOptions,
        board: Board,
        line: Line,
        directives: Directives,
        pipe: EventPipe,
        health: Health | None = None,
        consumer: Consumer | None = None,
        extension: Extension | None = None,
    ) -> None:
        self.board = board
        self.line = line
        self.health = health
        self.parent_pid = os.getppid()
        broker = brokers.connect_worker(app, options.hostname)
        self.housekeeping = Housekeeping(app, options, broker, board, self._settled, directives)
        self.housekeeping.follow(directives)
        self.road = LineRoad(line)
        self.node = Node(app, options, board, broker, directives, self.road, parent_pid=self.parent_pid)
        self.news = News(self.node, pipe)
        self.node.news = self.news
        self.housekeeping.news = self.news
        self.pidbox = Pidbox(self.node, consumer)
        self.extension = extension

    def run(self) -> int:
        """Work until the parent says stop, or is gone and the task processes are too."""
        # The parent decides when we end: a signal to the whole group must not take us before the tasks.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        thread = threading.Thread(target=self.housekeeping.run, name="housekeeping", daemon=True)
        self.housekeeping.listen()
        thread.start()
        if self.health is not None:
            self.health.serve(self.housekeeping, self.parent_pid)
        self.news.start()
        self.pidbox.start()
        self.node.autoscaler = start_autoscaler(self.node)
        if self.extension is not None:
            self.extension.start(self.node, self._say_ready)
        else:
            self._say_ready()
        while True:
            messages = self.line.receive()
            if messages is None:
                self._outlive_tasks()
                break
            if any(self._handle(message) for message in messages):
                break
        if self.extension is not None:
            self.extension.close()
            self.extension.join()
        if self.node.autoscaler is not None:
            self.node.autoscaler.stop()
        self.pidbox.stop()
        self.housekeeping.stop()
        thread.join(10)
        self.news.stop()
        return 0

    def _say_ready(self) -> None:
        self.line.send(ready=True)

    def _handle(self, message: dict[str, Any]) -> bool:
        """One word of the parent; True to stop."""
        if "loss" in message:
            fields = message["loss"]
            first, count = fields.pop("slots")
            slots = range(first, first + count)
            consumer_id = self.board.read_consumer(first)
            running = [entry for entry in map(self.board.read, slots) if entry.busy]
            self.housekeeping.report(Loss(consumer_id=consumer_id, running=running, **fields))
        if "adopt" in message:
            self.housekeeping.keeper.adopt(message["adopt"], self.line.files.popleft())
        if "directive" in message:
            self.node.directives.apply(message["directive"])
        if "answer" in message:
            self.road.hear(message["answer"])
        if "disown" in message:
            self.housekeeping.keeper.disown(message["disown"])
        if "closing" in message and self.extension is not None:
            self.extension.close(message["cold"])
        return "stop" in message

    def _settled(self, loss: Loss) -> None:
        self.line.send(settled=loss.number)

    def _outlive_tasks(self) -> None:
        """The parent has died: task processes finish what they run, and need their leases until then."""
        logger.error("The worker's main process is gone; ending when the running tasks have ended")
        while any(_lives(pid) for pid in self.board.pids()):
            time.sleep(0.2)


def _lives(pid: int) -> bool:
    """Whether the process runs; one that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's, or a system without /proc
        return True
