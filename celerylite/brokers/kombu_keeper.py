"""The housekeeping of a worker on a kombu transport: the server itself returns what the dead have held.

On AMQP this happens the moment that a connection closes. So that a task that acknowledges late and has lost its process
can be failed rather than run again, the worker keeps a copy of each task process' socket: the connection outlives the
process, and what it ran is acknowledged or sent again over it before it is closed. Not possible with TLS, where what a
lost process ran is simply delivered again.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celerylite.brokers.amqp_frames import ack_frame
from celerylite.brokers.base import Keeper
from celerylite.brokers.envelope import decode, redelivered
from celerylite.brokers.values import DEATHS, Delivery
from celerylite.utils.polling import readable

if TYPE_CHECKING:
    from celerylite.brokers.kombu import KombuBroker

logger = logging.getLogger("celery.brokers.kombu")

#: Seconds that the server has to answer when a dead process' connection is closed.
GOODBYE = 2.0
#: AMQP's frames: type, channel, size of what follows, and the end mark.
_FRAME = struct.Struct(">BHI")
_END = b"\xce"
HEARTBEAT = _FRAME.pack(8, 0, 0) + _END
_CLOSE = struct.pack(">HHHBHH", 10, 50, 200, 0, 0, 0)
CLOSE = _FRAME.pack(1, 0, len(_CLOSE)) + _CLOSE + _END
CLOSED = _FRAME.pack(1, 0, 4) + struct.pack(">HH", 10, 51) + _END


class Lifeline:
    """The copy of the socket of a task process' connection."""

    def __init__(self, name: str, file: int) -> None:
        self.consumer_id, generation, channel = name.split(":")
        self.generation, self.channel = int(generation), int(channel)
        self.sock = socket.socket(fileno=file)

    def send(self, frame: bytes) -> bool:
        """Write a small frame; False where the connection is broken. Never blocks, and never makes the process' own
        socket block or not: they share that.
        """
        try:
            return self.sock.send(frame, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) == len(frame)
        except OSError:
            return False

    @property
    def is_cut(self) -> bool:
        """Whether the server has closed the connection, or is gone."""
        poll = select.poll()
        try:
            poll.register(self.sock, select.POLLRDHUP)
        except ValueError:
            return True  # closed meanwhile
        return bool(poll.poll(0))

    def hang_up(self) -> None:
        """Close the connection in order, so that the server reads all that was sent before."""
        deadline = time.monotonic() + GOODBYE
        with suppress(OSError):
            if self.send(CLOSE):
                answer = b""
                while readable((self.sock,), deadline - time.monotonic()):
                    data = self.sock.recv(65536, socket.MSG_DONTWAIT)
                    answer = answer[-len(CLOSED) :] + data
                    if not data or CLOSED in answer:
                        break
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class KombuKeeper(Keeper):
    """Leases are connections here, and due messages come by themselves."""

    def __init__(self, broker: KombuBroker) -> None:
        self.broker = broker
        self._wakened = threading.Event()
        #: By consumer; the control process' main thread adds and removes them.
        self._lines: dict[str, Lifeline] = {}
        self._lock = threading.Lock()

    def adopt(self, name: str, file: int) -> None:
        """Keep the copy of a consumer's socket."""
        if not self.broker.is_amqp:
            os.close(file)
            return
        line = Lifeline(name, file)
        with self._lock:
            old = self._lines.get(line.consumer_id)
            self._lines[line.consumer_id] = line
        if old is not None:
            old.sock.close()

    def disown(self, name: str) -> None:
        """The consumer has ended, or has another connection."""
        consumer_id, generation, _ = name.split(":")
        with self._lock:
            line = self._lines.get(consumer_id)
            if line is None or line.generation != int(generation):
                return
            del self._lines[consumer_id]
        line.hang_up()

    def connected(self) -> bool:
        """Whether any task process' connection is open; without copies of them (TLS) nobody can tell."""
        with self._lock:
            lines = list(self._lines.values())
        return not lines or not all(line.is_cut for line in lines)

    def renew(self, consumer_ids: Iterable[str]) -> None:
        """Send heartbeats for consumers whose process cannot: a task may hold the interpreter's lock for minutes."""
        with self._lock:
            for line in self._lines.values():
                line.send(HEARTBEAT)

    def promote(self) -> float | None:
        """The server does."""
        return None

    def reclaim(self, limit: int | None, on_buried: Callable[[bytes, str], None]) -> float:
        """The server does."""
        return 3600.0

    def abandon(self, consumer_id: str, running: Iterable[Any]) -> list[Delivery]:
        """What it had not started is back when its connection closes, which is now if nothing is left to decide."""
        with self._lock:
            line = self._lines.get(consumer_id)
        if line is None:
            return []
        held = []
        for tag in running:
            number, generation, _, queue = tag.split(b"\0", 3)
            # Only those that acknowledge late are marked as running.
            if number.endswith(b"r") and int(generation) == line.generation:
                held.append(Delivery(tag, b"", queue.decode("utf-8", "replace")))
        if not held:
            self._hang_up(consumer_id)
        return held

    def _hang_up(self, consumer_id: str) -> None:
        with self._lock:
            line = self._lines.pop(consumer_id, None)
        if line is not None:
            line.hang_up()

    def give_back(
        self,
        consumer_id: str,
        delivery: Delivery,
        *,
        count: bool = False,
        limit: int | None = None,
        on_buried: Callable[[bytes, str], None] = lambda raw, reason: None,
    ) -> None:
        """Without `count` the server returns it when the connection closes; else a copy that counts takes its place."""
        if not count or not delivery.raw:
            return
        raw, deliveries = redelivered(delivery.raw, count=True, header=DEATHS)
        if limit is not None and deliveries >= limit:
            reason = f"delivered {deliveries} times, and its worker died each time"
            self.broker.bury(Delivery(delivery.tag, raw, delivery.queue), reason)
            on_buried(raw, reason)
        else:
            message = decode(raw)
            message.exchange, message.routing_key = "", delivery.queue
            message.queue = self.broker.find_queue(delivery.queue)
            self.broker.publish_back(message)
        self.discard(consumer_id, delivery)

    def discard(self, consumer_id: str, delivery: Delivery) -> bool:
        """Acknowledge a message of a dead consumer over its own connection."""
        with self._lock:
            line = self._lines.get(consumer_id)
        return line is not None and line.send(ack_frame(line.channel, int(delivery.tag.split(b"\0", 3)[2])))

    def spare(self, consumer_id: str, running: Any, upto: int) -> int:
        """Task processes give back by themselves what waits behind a long task."""
        return 0

    def wait(self, timeout: float, blocked: Callable[[], Iterable[int]]) -> bool:
        """Sleep."""
        self._wakened.wait(timeout)
        self._wakened.clear()
        return False

    def drop(self) -> None:
        """Nothing of our own is open."""

    def wake(self) -> None:
        """Make a waiting `wait` return."""
        self._wakened.set()

    def close(self) -> None:
        """Hang up on behalf of those that are left."""
        with self._lock:
            lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            line.sock.close()
