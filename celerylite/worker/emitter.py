"""What a process tells about its tasks while events are on. It writes into the pipe to the control process, and never
waits.
"""

from __future__ import annotations

import json
import os
import threading
from time import time
from typing import TYPE_CHECKING, Any

from celerylite import states
from celerylite.app.publishing import anonymous_name, sent_event
from celerylite.execution import safe_repr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celerylite.execution import Outcome
    from celerylite.message import Message
    from celerylite.worker.event_pipe import EventPipe
    from celerylite.worker.request import Request


class Emitter:
    """One for each process. Events wait for `flush`, or with `at_once` for nothing."""

    def __init__(self, pipe: EventPipe, *, at_once: bool = False) -> None:
        self.pipe = pipe
        self._at_once = at_once
        self._writer = os.getpid()
        self._events: list[dict[str, Any]] = []
        #: What the pipe had no room for; the control process hears of it with the next packet.
        self._dropped = 0
        self._lock = threading.Lock()

    def tell(self, type_: str, **fields: Any) -> None:
        """Add an event of any type; any thread may call."""
        event = {**fields, "timestamp": time(), "type": type_}
        with self._lock:
            self._events.append(event)
        if self._at_once:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._events:
            return
        with self._lock:
            events, self._events = self._events, []
            if self._dropped:
                events.append({"type": "dropped", "count": self._dropped})
            # Fields of a user's own events may be anything; the serializer of events would refuse them later.
            packet = json.dumps(events, default=safe_repr).encode()
            if self.pipe.write(self._writer, packet):
                self._dropped = 0
            else:
                self._dropped += len(events) - bool(self._dropped)

    # -- the life of a task

    def sent(self, messages: Iterable[Message]) -> None:
        """What follows a task is on its way. These calls are told whether events are on or not, as a client's are."""
        for message in messages:
            if "id" in message.headers:
                queue = getattr(message.queue, "name", None) or (None if message.exchange else message.routing_key)
                place = {"queue": queue, "exchange": message.exchange, "routing_key": message.routing_key}
                self.tell("task-sent", hostname=anonymous_name(), **sent_event(message.headers), **place)

    def received(self, request: Request) -> None:
        """A worker has the task."""
        if not request.task.send_events:
            return
        headers = request.headers
        self.tell(
            "task-received",
            uuid=request.id,
            name=request.name,
            args=headers.get("argsrepr"),
            kwargs=headers.get("kwargsrepr"),
            root_id=headers.get("root_id"),
            parent_id=headers.get("parent_id"),
            retries=headers.get("retries") or 0,
            eta=headers.get("eta"),
            expires=headers.get("expires"),
        )

    def started(self, request: Request) -> None:
        """Its function is about to be called: monitors must see that now, for it may run for hours."""
        if request.task.send_events:
            self.tell("task-started", uuid=request.id)
            self.flush()

    def ended(self, request: Request, outcome: Outcome) -> None:
        """Its outcome is settled."""
        if not request.task.send_events:
            return
        state, value = outcome.state, outcome.value
        if state == states.SUCCESS:
            result = safe_repr(value, request.task.resultrepr_maxsize)
            self.tell("task-succeeded", uuid=request.id, result=result, runtime=outcome.runtime)
        elif state == states.RETRY:
            exc = safe_repr(value.exc)
            self.tell("task-retried", uuid=request.id, exception=exc, traceback=outcome.traceback)
        elif state == states.REJECTED:
            if not value.requeue:  # its record says FAILURE
                self.failed(request, value, outcome.traceback)
            self.tell("task-rejected", uuid=request.id, requeue=value.requeue)
        elif state == states.FAILURE:
            self.failed(request, value, outcome.traceback)

    def failed(self, request: Request, exc: BaseException, traceback: str | None) -> None:
        """It has failed, or was lost with its process."""
        if request.task.send_events:
            self.tell("task-failed", uuid=request.id, exception=safe_repr(exc), traceback=traceback)

    def revoked(self, request: Request, *, terminated: bool, signum: int | None, expired: bool) -> None:
        """It does not run any more: revoked, expired, or ended by a signal."""
        if request.task.send_events:
            self.tell("task-revoked", uuid=request.id, terminated=terminated, signum=signum, expired=expired)
