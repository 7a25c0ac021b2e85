"""The voice of a worker: a thread of its control process that sends heartbeats, and the events of the task processes in
batches.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections import deque
from time import time
from typing import TYPE_CHECKING, Any

import celerylite
from celerylite import signals
from celerylite.events.outlet import Outlet, Parcel
from celerylite.utils.clock import uptime
from celerylite.utils.polling import readable
from celerylite.utils.time import utcoffset
from celerylite.worker.emitter import Emitter
from celerylite.worker.event_pipe import EventPipe

if TYPE_CHECKING:
    from celerylite.worker.node import Node

logger = logging.getLogger("celery.worker.control")

#: Seconds between two sendings of what the tasks tell.
PAUSE = 0.05
#: Seconds after which a broker that took nothing is tried again.
RETRY = 1.0
#: Most events in one message.
BATCH = 100
#: Most events that wait for a broker that is away; the oldest go first.
WAITING = 10_000
#: Seconds between heartbeats where nobody says otherwise, as in Celery; and while nobody listens, as far as the broker
#: can tell (a monitor that begins to listen asks for one at once).
INTERVAL = 2.0
QUIET_INTERVAL = 10.0
#: Seconds that the end of a worker waits for its last events.
PATIENCE = 3.0

#: The events that travel in batches, as `task.multi`; those that a project has made up go alone, as Celery's do.
OWN = frozenset(
    f"task-{what}"
    for what in ("received", "started", "succeeded", "failed", "rejected", "revoked", "retried")
)  # fmt: skip


class News:
    """Runs from `start` to `stop`. Whoever has `state.consumer.event_dispatcher` in a remote command has this."""

    def __init__(self, node: Node, pipe: EventPipe) -> None:
        self.node = node
        self.pipe = pipe
        #: Whether the worker speaks of itself.
        self.beats = node.options.heartbeats
        self.emitter = Emitter(pipe, at_once=True)
        self._outlet = Outlet(node.app, node.hostname, node.pid)
        self._waiting: deque[dict[str, Any]] = deque(maxlen=WAITING)
        self._send_at = self._beat_at = 0.0
        self._beat_wanted = False
        self._stopping = False
        self._wake_read, self._wake_write = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    @property
    def enabled(self) -> bool:
        """Always: heartbeats are sent even while task events are not."""
        return True

    @property
    def groups(self) -> set[str]:
        """The groups of events that are sent."""
        return {"worker", "task"} if self.node.directives.events else {"worker"}

    @property
    def interval(self) -> float:
        """Seconds between heartbeats, which say so."""
        return self.node.options.heartbeat_interval or (INTERVAL if self._outlet.heard else QUIET_INTERVAL)

    @property
    def events(self) -> Emitter | None:
        """For the control process' own words about tasks, while task events are on."""
        return self.emitter if self.node.directives.events else None

    def start(self) -> None:
        """Say that the worker is there, and go on from there in a thread."""
        self.pipe.empty()
        self._thread.start()

    def stop(self) -> None:
        """Send what has come so far, and that the worker is gone."""
        self._stopping = True
        self._wake()
        self._thread.join(PATIENCE)
        if not self._thread.is_alive():
            self._wake_read.close()
            self._wake_write.close()

    def send(self, type: str, **fields: Any) -> None:
        """Send an event in the worker's name, if its group is wanted; any thread may call."""
        group = type.partition("-")[0]
        if group != "task" or self.node.directives.events:
            self.emitter.tell(type, **fields)

    def beat(self) -> None:
        """Send a heartbeat now; any thread may call."""
        self._beat_wanted = True
        self._wake()

    def vitals(self) -> dict[str, Any]:
        """What the events about the worker say."""
        board = self.node.board
        return {
            "freq": self.interval,
            "active": sum(board.busy(slot) for slot in range(board.used())),
            "processed": board.processed(),
            "loadavg": [round(load, 2) for load in os.getloadavg()],
            "sw_ident": "py-celery",
            "sw_ver": celerylite.__version__,
            "sw_sys": self.node.app.SYSTEM,
        }

    # -- the thread

    def _wake(self) -> None:
        try:
            self._wake_write.send(b"!")
        except OSError:
            pass  # it has ended

    def _run(self) -> None:
        if self.beats:
            self._tell("worker-online")
            self._beat_at = uptime() + self.interval
        while not self._stopping:
            try:
                self._round()
            except Exception:  # a border: the worker must not fall silent
                logger.exception("Events failed; going on", extra={"action": "events_failed"})
                threading.Event().wait(RETRY)
        self._collect()
        self._ship()
        if self.beats:
            self._tell("worker-offline")
        self._outlet.close()

    def _round(self) -> None:
        now = uptime()
        if self._beat_wanted or (self.beats and now >= self._beat_at):
            self._beat_wanted = False
            self._tell("worker-heartbeat")
            self._beat_at = now + self.interval
            signals.heartbeat_sent.send(sender=self)
        if self._waiting and now >= self._send_at:
            self._ship()
        self._wait()
        self._collect()

    def _wait(self) -> None:
        """Until there is something to do."""
        until = self._beat_at if self.beats else float("inf")
        if self._waiting:
            until = min(until, self._send_at)
        left = min(max(0.0, until - uptime()), 60.0)
        # While a batch waits its time, what comes in may wait too: one look for many events.
        if self._waiting and left:
            readable([self._wake_read], left)
        for ready in readable([self.pipe, self._wake_read], 0 if self._waiting else left):
            if ready == self._wake_read:
                self._wake_read.recv(4096)

    def _collect(self) -> None:
        """Take in what the task processes have told."""
        offset = utcoffset()
        while packets := self.pipe.read():
            for packet in packets:
                for event in json.loads(packet):
                    if event["type"] == "dropped":
                        logger.warning("%d events were dropped", event["count"], extra={"action": "events_dropped"})
                    else:
                        self._waiting.append(self._outlet.stamp(event, offset))
            if len(self._waiting) > BATCH:
                return

    def _ship(self) -> None:
        """Send what waits; it goes on waiting where the broker is away."""
        events = list(self._waiting)
        sent = not events or self._outlet.send(_parcels(events), self._broker)
        if sent:
            self._waiting.clear()
        self._send_at = uptime() + (PAUSE if sent else RETRY)

    def _tell(self, type_: str) -> None:
        """Send an event about the worker."""
        event = self._outlet.stamp({**self.vitals(), "timestamp": time(), "type": type_})
        self._outlet.send([(event, type_.replace("-", "."))], self._broker)

    @property
    def _broker(self) -> Any:
        return self.node.broker.outlet or self.node.broker


def _parcels(events: list[dict[str, Any]]) -> list[Parcel]:
    """Batches of task events, and each other event alone, in order."""
    parcels: list[Parcel] = []
    batch: list[dict[str, Any]] = []
    for event in events:
        if event["type"] in OWN:
            if not batch or len(batch) >= BATCH:
                batch = []
                parcels.append((batch, "task.multi"))
            batch.append(event)
        else:
            batch = []
            parcels.append((event, event["type"].replace("-", ".", 1)))
    return parcels
