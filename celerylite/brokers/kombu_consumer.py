"""Taking over a kombu transport: what one task process holds, and how it comes to it.

On AMQP the server pushes; so that it never pushes more than is run soon, a process asks for one message at a time
(and for no more once it has come) while tasks are long, for a few while they are short, and gives back what waits
behind a task that turns out long. Other transports are asked when something is wanted. Everything that touches the
connection holds one lock: the thread that fetches waits for the socket without it, so that others can acknowledge
meanwhile.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from celerylite.brokers.amqp_frames import keep
from celerylite.brokers.base import Consumer
from celerylite.brokers.envelope import encode
from celerylite.brokers.kombu_delays import original_key
from celerylite.brokers.kombu_letting_go import Held
from celerylite.brokers.kombu_minder import HEARTBEAT, Minded, Minder
from celerylite.brokers.kombu_port import as_message, limit_waits
from celerylite.brokers.outage import Enduring
from celerylite.brokers.values import Delivery
from celerylite.utils.clock import uptime
from celerylite.utils.polling import readable

if TYPE_CHECKING:
    from kombu.entity import Queue

    from celerylite.brokers.amqp_inbox import Inbox
    from celerylite.brokers.amqp_window import Window
    from celerylite.brokers.kombu import KombuBroker
    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.kombu")

#: Seconds between looks at transports that push nothing and name no interval.
POLLING = 1.0
#: AMQP's code for what a server cannot do.
NOT_IMPLEMENTED = 540


class KombuConsumer(Enduring, Minded, Consumer):
    """See the module."""

    _logger = logger

    def __init__(
        self, broker: KombuBroker, queues: Sequence[str], *, serial: bool, sure: float = 0.05,
        alarm: int | None = None, **options: Any,
    ) -> None:  # fmt: skip
        self.broker = broker
        self.counts = broker.is_amqp
        self.serial = serial
        self.queues = list(queues)
        self.id = f"k{os.urandom(8).hex()}"
        self._open_wake(alarm)
        self.long_task = 2 * sure
        self._lock = threading.RLock()
        self._connection: Any = None
        self._channel: Any = None
        self._generation = 0
        self._numbers = count(1)
        self._held: dict[bytes, Held] = {}
        self._ready: deque[Held] = deque()
        self._later: list[tuple[float, int, Held]] = []
        self._waiting: dict[bytes, Held] = {}
        self._busy_since = 0.0
        self._fetching = False
        self._inbox: Inbox | None = None
        self._window: Window | None = None
        #: By queue: the tag of its consumer, where there is no window.
        self._tags: dict[str, str] = {}
        #: Whether several consumers may share one window; not with quorum queues.
        self._shares = True
        self._give_back_at, self._give_back_pause = 0.0, 0.0
        self._minder: Minder | None = None

    # -- connecting

    def open(self, given_up: Callable[[], bool]) -> bool:
        """Connect, trying until it works or `given_up` says so; returns whether it did."""
        return self._keep_trying(self._connect, self.broker.errors, given_up)

    def _connect(self) -> None:
        with self._lock:
            queues = [self.broker.find_queue(name) for name in self.queues]
            self.broker.declare(queues, again=True)
            heartbeat = float(self.broker.connection.heartbeat or HEARTBEAT)
            self._connection = self.broker.new_connection(heartbeat)
            self._channel = self._connection.channel()
            self._tags = {}
            if self.broker.is_amqp:
                self._open_window()
            self._consume(queues)

    def _open_window(self) -> None:
        from celerylite.brokers.amqp_inbox import Inbox  # lazy: only where there is AMQP
        from celerylite.brokers.amqp_window import Window

        if self._connection.transport.driver_name == "py-amqp":
            limit_waits(self._connection, 2 * self.heartbeat())
            self._inbox = Inbox(self._connection.connection, self._channel.channel_id, self._delivered)
        self._window = Window(self._channel, self._numbers, self._arrived, self._hand_over)
        if self.on_connected is not None and not self._connection.ssl:
            name = f"{self.id}:{self._generation}:{self._channel.channel_id}"
            self.on_connected(name, self._connection.connection.sock.fileno())
        if self._minder is None:
            self._minder = Minder(self)
            self._minder.start()

    def _consume(self, queues: Sequence[Queue]) -> None:
        bound = [queue.bind(self._channel) for queue in queues]
        if self._window is not None:
            self._window.set_queues(bound, shares=self._shares)
            return
        tags, self._tags = self._tags, {}
        for queue in bound:
            tag = tags.pop(queue.name, None)
            if tag is None:
                tag = str(next(self._numbers))
                arrived = partial(self._arrived, queue.name, not queue.no_ack)
                queue.consume(tag, arrived, no_ack=bool(queue.no_ack))
            self._tags[queue.name] = tag
        for tag in tags.values():
            self._channel.basic_cancel(tag)

    def set_queues(self, queues: Sequence[str]) -> None:
        """Consume these queues from now on; what is held of others is still run. Not while `fetch` is called."""
        self.queues = list(queues)
        try:
            with self._lock:
                if self._connection is not None:
                    found = [self.broker.find_queue(name) for name in self.queues]
                    self.broker.declare(found)
                    self._consume(found)
        except self.broker.errors as exc:
            self._lose(exc)

    def _lose(self, exc: BaseException) -> None:
        """The connection is gone, and with it all that was held: the server gives it to somebody else."""
        if getattr(exc, "reply_code", None) == NOT_IMPLEMENTED and self._shares:
            self._shares = False  # quorum queues have no window that several consumers share
        else:
            self._complain(exc)
            self.broker.distrust()
        self._forget_connection()

    def _forget_connection(self) -> None:
        with self._lock:
            connection, self._connection, self._channel = self._connection, None, None
            self._generation += 1
            self._inbox, self._window = None, None
            for kept in (self._held, self._ready, self._later, self._waiting):
                kept.clear()
            if connection is not None:
                try:
                    connection.collect(socket_timeout=0.1)
                except Exception as error:  # a border: a broken connection may raise anything on the way out
                    logger.debug("While dropping a broken connection: %r", error)

    # -- taking

    def fetch(self, most: int, wait: float) -> list[Delivery]:
        """Take up to `most` messages; with none there, wait up to `wait` seconds for the first."""
        self._busy_since = self._give_back_at = self._give_back_pause = 0.0
        if not self.queues:
            self._idle(wait)
            return []
        self._fetching = True
        try:
            if self._connection is None:
                self._connect()
                if self._pause:
                    self._relieved("Connected to %s again", self.broker.connection.as_uri())
            return self._fetch(most, wait)
        except self.broker.errors as exc:
            self._lose(exc)
            self._sleep(min(self._pause, wait))
            return []
        finally:
            self._fetching = False

    def _fetch(self, most: int, wait: float) -> list[Delivery]:
        deadline = uptime() + wait
        while True:
            with self._lock:
                if self._connection is None:  # a thread that acknowledged has found it broken
                    return []
                self._look(most)
                taken = self._hand_out(most)
                if taken and self._window is not None and (most == 1 or not self.serial):
                    self._window.pause()  # no more may come behind what is run now
            if taken:
                if self._minder is not None and self._may_wait():
                    self._minder.look()
                return taken
            if uptime() >= deadline or self._alarmed() or self._wait(deadline):
                return []

    def _look(self, most: int) -> None:
        """Have the server push, and take what is there, without waiting."""
        window = self._window
        if window is None:
            while len(self._ready) < most:
                try:
                    self._connection.drain_events(timeout=0)
                except TimeoutError:
                    return
            return
        if not self._ready and window.pulls and (most == 1 or not self.serial):
            pulled = window.pull()
            while len(self._ready) < most and next(pulled, self) is not self:
                pass
        if not self._ready:
            # Twice as many as are run in one go, so that the next are here by then; and what waits for its time here
            # uses up the window.
            running = len(self._held) - len(self._later)  # in threads, and not acknowledged yet
            window.open((2 * most if self.serial and most > 2 else most) + len(self._later), running)
        self._drain()

    def _hand_out(self, most: int) -> list[Delivery]:
        now = time.time()
        taken: list[Delivery] = []
        self._waiting.clear()
        while len(taken) < most:
            if self._later and self._later[0][0] <= now:
                held = heapq.heappop(self._later)[2]
            elif self._ready:
                held = self._ready.popleft()
            else:
                break
            taken.append(held)
            self._waiting[held.tag] = held
        return taken

    def _hand_over(self) -> None:
        """Before py-amqp waits for an answer."""
        if self._inbox is not None:
            self._inbox.hand_over()

    def _drain(self) -> None:
        """Read what AMQP's server has pushed, without waiting."""
        if self._inbox is not None:
            self._inbox.read()
            return
        while True:
            try:
                self._connection.drain_events(timeout=0)
            except TimeoutError:
                return

    def _arrived(self, queue: str, acks: bool, raw: Any) -> None:
        got = raw if hasattr(raw, "content_type") else self._channel.message_to_python(raw)
        self._took(queue, acks, got.delivery_tag, as_message(got), None)

    def _delivered(self, tag: str, delivery_tag: int, message: Message, header: bytes) -> None:
        """The inbox has read a message itself."""
        assert self._window is not None
        queue, acks = self._window.queue_of(tag)
        self._took(queue, acks, delivery_tag, message, header)

    def _took(self, queue: str, acks: bool, delivery_tag: Any, message: Message, header: bytes | None) -> None:
        key = original_key(message.exchange, message.routing_key)
        if key is not None:
            # As it was sent: a retry must find the same way.
            message.exchange, message.routing_key = "", queue
            message.properties["delivery_info"].update(exchange="", routing_key=queue)
        tag = f"{next(self._numbers)}\0{self._generation}\0{delivery_tag}\0{queue}".encode()
        if header is None:
            raw = encode(message)
        else:
            raw = keep(header, message.body, message.exchange, message.routing_key)
        held = Held(tag, raw, queue, message, delivery_tag, self._generation, acks)
        self._held[tag] = held
        self._ready.append(held)

    def _wait(self, deadline: float) -> bool:
        """Wait until something may have come or a kept message is due; True where somebody called `wake` meanwhile."""
        until = deadline
        if self._later:
            until = min(until, uptime() + max(0.0, self._later[0][0] - time.time()))
        sources: list[Any] = [self._wake_read, *self._alarms]
        if self.broker.is_amqp:
            sock = getattr(getattr(self._connection, "connection", None), "sock", None)
            if sock is None:  # lost a moment ago
                return False
            sources.append(sock)
        else:
            until = min(until, uptime() + float(self._connection.transport.polling_interval or POLLING))
        return self._wake_read in readable(sources, until - uptime()) and self._drain_wake()

    def read(self, delivery: Delivery) -> Message:
        """The message in a delivery."""
        assert isinstance(delivery, Held)
        return delivery.message

    def fresh(self, delivery: Delivery) -> bool:
        """Whether the message was not given back meanwhile."""
        return delivery.tag in self._held

    # -- the end

    def close(self) -> None:
        """Give back all that is held, disconnect."""
        self.end()
        if self._minder is not None:
            self._minder.stop()
        with self._lock:
            if self._connection is not None:
                self._ready.clear()
                self.release(list(self._held.values()))
                self._hand_over()
            connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.release()
            except self.broker.errors as exc:
                logger.error("Could not say goodbye to the broker: %s", exc, extra={"action": "given_up"})
        self._close_wake()
