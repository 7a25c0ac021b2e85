"""The worker as its control process sees it: what it runs, what it was told, and the roads to its parent.

Remote control, revokes, rate limits and events are built on it. In a worker within one process there is no parent;
`LocalParent` stands in for it.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from celerylite.brokers.envelope import decode
from celerylite.exceptions import CeleryError
from celerylite.utils.clock import uptime
from celerylite.worker.board import RAW_SIZE
from celerylite.worker.consumed import add_queue, declare_queues
from celerylite.worker.reloading import reload_modules
from celerylite.worker.request import Request

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers import Broker
    from celerylite.worker.autoscale import Autoscaler
    from celerylite.worker.board import Board, Running
    from celerylite.worker.children import Line
    from celerylite.worker.directives import Directives
    from celerylite.worker.news import News
    from celerylite.worker.options import WorkerOptions

logger = logging.getLogger("celery.worker.control")

#: Seconds that the parent has to answer. It does nothing but wait, fork and signal.
PATIENCE = 10.0


class Refused(CeleryError):
    """The worker's parent cannot do what it was asked to; the message says why."""


class ParentRoad(Protocol):
    """How a node reaches the process that starts and ends the others."""

    def post(self, directive: dict[str, Any]) -> None:
        """Hand a directive to all task processes: tasks that start from now on start under it."""

    def ask(self, kind: str, timeout: float, fields: dict[str, Any]) -> Any:
        """Have the parent do something; its answer, or `Refused` with its reason."""


class Node:
    """What commands of remote control act on. Any thread may use it but the one that reads the parent's line."""

    def __init__(
        self,
        app: Celery,
        options: WorkerOptions,
        board: Board,
        broker: Broker,
        directives: Directives,
        road: ParentRoad,
        parent_pid: int | None = None,
    ) -> None:
        self.app = app
        self.options = options
        self.board = board
        self.broker = broker
        self.directives = directives
        self.road = road
        self.hostname = options.hostname
        #: Tells the world of the worker (heartbeats, events); None in one that does not.
        self.news: News | None = None
        #: While autoscale is on.
        self.autoscaler: Autoscaler | None = None
        #: The pid of the worker's main process, which its users know it by.
        self.pid = parent_pid or os.getpid()

    @property
    def started(self) -> float:
        """When (`uptime`) the worker started; the same however often its control process was replaced."""
        return self.board.born()

    def pids(self) -> list[int]:
        """The task processes that live."""
        return self.board.pids()

    def post(self, kind: str, **fields: Any) -> None:
        """Tell all processes of the worker something; the kinds are in `Directives`.

        On return it is on its way to each of them, and they look for it before they start another task.
        """
        directive = {"directive": kind, **fields}
        self.directives.apply(directive)
        self.road.post(directive)

    def ask_parent(self, kind: str, timeout: float = PATIENCE, **fields: Any) -> Any:
        """Have the parent do something, and wait for its answer.

        `pool_grow` (n), `pool_shrink` (n), `pool_restart`, `shutdown`, `terminate` (id, signal). Raises `Refused` with
        the parent's reason, or when it does not answer within `timeout` seconds.
        """
        return self.road.ask(kind, timeout, fields)

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        **options: Any,
    ) -> bool:
        """Consume from a queue too; False where that is done already.

        One that the app does not know gets an exchange of the same name and the type direct, unless they are given;
        `options` are those of kombu's `Queue.from_dict`. It is declared on the server.
        """
        if queue in self.directives.queues:
            return False
        definition = {"exchange": exchange, "exchange_type": exchange_type, "routing_key": routing_key, **options}
        definition = {key: value for key, value in definition.items() if value is not None}
        add_queue(self.app, queue, definition)
        declare_queues(self.app, [queue])
        self.post("add_consumer", queue=queue, **definition)
        return True

    def cancel_consumer(self, queue: str) -> bool:
        """Consume no more from a queue; False where that was so. What has not started goes back."""
        if queue not in self.directives.queues:
            return False
        self.app.amqp.queues.deselect([queue])
        self.post("cancel_consumer", queue=queue)
        return True

    def pool_restart(self, modules: list[str] | None = None, reload: bool = False, timeout: float = PATIENCE) -> None:
        """Import `modules` (with `reload`, anew), then replace the task processes one after the other.

        Raises `Refused` unless `worker_pool_restarts` is on, and where a module cannot be imported.
        """
        if not self.app.conf.worker_pool_restarts:
            raise Refused("Pool restarts not enabled (worker_pool_restarts)")
        self.ask_parent("pool_restart", timeout, modules=modules, reload=reload)
        if isinstance(self.road, LineRoad):  # the parent and its new children have them; this process is an older one
            reload_modules(self.app, modules, reload)

    def running(self) -> list[Running]:
        """What runs now, as the board says; works however stuck the task processes are."""
        board = self.board
        found = (board.read(slot) for slot in range(board.used()) if board.busy(slot))
        return [running for running in found if running.busy and running.pid > 0]

    def request_info(self, running: Running) -> dict[str, Any]:
        """A running task as `inspect active` shows it."""
        request = self.read_request(running)
        if request is not None:
            info = request.info()
        else:
            info = {"id": running.task_id, "name": running.name, "type": running.name, "delivery_info": {}}
            info["args"] = info["kwargs"] = UNKEPT
        info.update(
            hostname=self.hostname,
            time_start=_clock_time(running.since),
            acknowledged=running.acked,
            worker_pid=abs(running.pid),
        )
        return info

    def read_request(self, running: Running) -> Request | None:
        """The request that a slot of the board holds; None where its message was too large to be kept there, or cannot
        be read any more because the task ended meanwhile.
        """
        if not running.whole:
            return None
        try:
            request = Request.from_message(None, decode(running.raw), self.options.accept, self.hostname)
        except Exception as exc:  # a border: the task process may be writing the next message just now
            logger.debug("Not readable on the board: %r", exc)
            return None
        request.time_start = _clock_time(running.since)
        return request


def _clock_time(since: float) -> float:
    """A moment of `uptime` as one of `time.time`."""
    return time.time() - (uptime() - since)


#: In the place of arguments that are not on the board.
UNKEPT = f"(the message is larger than {RAW_SIZE // 1024} KB)"


class LineRoad:
    """To the parent over a line. The thread that reads the line hands on what is an answer (`hear`)."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Answer] = {}

    def post(self, directive: dict[str, Any]) -> None:
        """Hand a directive to the parent, which tells the others; wait until it has."""
        if threading.current_thread() is threading.main_thread():  # it reads the line, and cannot wait for an answer
            self.line.send(directive=directive)
            return
        try:
            self.ask("pass_on", PATIENCE, {"directive": directive})
        except Refused as exc:
            logger.warning("%s may not be known to all processes: %s", directive["directive"], exc)

    def ask(self, kind: str, timeout: float, fields: dict[str, Any]) -> Any:
        """Have the parent do something, and wait for its answer."""
        number, answer = next(self._numbers), _Answer()
        self._waiting[number] = answer
        try:
            if not self.line.send(ask={"number": number, "kind": kind, **fields}):
                raise Refused("the worker's main process is gone")
            if not answer.there.wait(timeout):
                raise Refused(f"the worker's main process has not answered within {timeout} s")
        finally:
            self._waiting.pop(number, None)
        if answer.error is not None:
            raise Refused(answer.error)
        return answer.value

    def hear(self, message: dict[str, Any]) -> None:
        """The parent's answer to a question."""
        answer = self._waiting.get(message["number"])
        if answer is not None:
            answer.value, answer.error = message.get("value"), message.get("error")
            answer.there.set()


class _Answer:
    def __init__(self) -> None:
        self.there = threading.Event()
        self.value: Any = None
        self.error: str | None = None


class LocalRoad:
    """In a worker within one process: directives are applied already, so the loop is only woken to look at them."""

    def __init__(self, wake: Callable[[], None], do: Callable[[str, dict[str, Any]], Any]) -> None:
        self._wake = wake
        self._do = do

    def post(self, directive: dict[str, Any]) -> None:
        """The node and the loop share their directives."""
        self._wake()

    def ask(self, kind: str, timeout: float, fields: dict[str, Any]) -> Any:
        """Done by the caller's thread."""
        return self._do(kind, fields)
