"""Taking over a kombu transport: what one task process holds, and every way in which it lets go of a message.

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

from celerylite.brokers.amqp_inbox import Inbox
from celerylite.brokers.base import Consumer, Delivery, Settlement
from celerylite.brokers.envelope import encode
from celerylite.brokers.kombu_delays import original_key
from celerylite.brokers.kombu_minder import HEARTBEAT, Held, Minder
from celerylite.brokers.kombu_port import as_message
from celerylite.utils.clock import uptime
from celerylite.utils.polling import readable

if TYPE_CHECKING:
    from kombu.entity import Queue

    from celerylite.brokers.kombu import KombuBroker
    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.kombu")

#: Seconds that a process which is ending waits for a server that is gone.
PATIENCE = 8.0
#: Seconds before its time at which a message may be taken and kept until then; the server delays in whole seconds.
SOON = 1.5
#: How many messages are kept that long; with more of them, they wait a second in the server, and may be late.
SOON_MOST = 200
#: The same for transports that cannot delay, where a message is kept until its time, however long.
LATER_MOST = 1000
#: Seconds between looks at transports that push nothing and name no interval.
POLLING = 1.0
#: AMQP's code for what a server cannot do.
NOT_IMPLEMENTED = 540



class KombuConsumer(Consumer):
    """See the module."""

    def __init__(
        self, broker: KombuBroker, queues: Sequence[str], *, serial: bool, sure: float = 0.05,
        alarm: int | None = None, **options: Any,
    ) -> None:  # fmt: skip
        self.broker = broker
        self.serial = serial
        self.queues = list(queues)
        self.id = f"k{os.urandom(8).hex()}"
        self._alarms = () if alarm is None else (alarm,)
        self.long_task = 2 * sure
        self._lock = threading.RLock()
        self._connection: Any = None
        self._channel: Any = None
        self._generation = 0
        self._numbers = count(1)
        #: Everything that was delivered and not let go, what was not yet given to the process, what waits for its time.
        self._held: dict[bytes, Held] = {}
        self._ready: deque[Held] = deque()
        self._later: list[tuple[float, int, Held]] = []
        #: Handed out and not started, in order; and since when a task runs.
        self._waiting: dict[bytes, Held] = {}
        self._busy_since = 0.0
        #: Whether a thread is within `fetch`; then it reads, and nobody else must.
        self._fetching = False
        self._bound: list[Queue] = []
        self._tags: list[str] = []
        #: By consumer tag, of this connection: the queue, and whether it is acknowledged.
        self._consumers: dict[str, tuple[str, bool]] = {}
        self._inbox: Inbox | None = None
        self._shared_qos = True
        self._prefetch = 0
        self._consuming = False
        self._pause = 0.0
        self._ends: float | None = None
        self._awake = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._minder: Minder | None = None

    # -- connecting

    def open(self, given_up: Callable[[], bool]) -> bool:
        """Connect, trying until it works or `given_up` says so; returns whether it did."""
        while not given_up():
            try:
                with self._lock:
                    self._connect()
            except self.broker.errors as exc:
                self._complain(exc)
                self._sleep(self._pause)
                if self._alarmed():
                    return False
            else:
                self._pause = 0.0
                return True
        return False

    def _connect(self) -> None:
        queues = [self.broker.find_queue(name) for name in self.queues]
        self.broker.declare(queues, again=True)
        heartbeat = float(self.broker.connection.heartbeat or HEARTBEAT)
        quorum = any(arguments_of(queue).get("x-queue-type") in ("quorum", "stream") for queue in queues)
        self._shared_qos = self._shared_qos and not quorum
        self._connection = self.broker.new_connection(heartbeat)
        self._channel = self._connection.channel()
        self._bound = [queue.bind(self._channel) for queue in queues]
        self._consuming, self._prefetch = False, 0
        self._consumers = {}
        if self.broker.is_amqp and self._connection.transport.driver_name == "py-amqp":
            self._inbox = Inbox(self._connection.connection, self._channel.channel_id, self._delivered)
        if not self.broker.is_amqp:
            self._consume()
            return
        if self.on_connected is not None and not self._connection.ssl:
            name = f"{self.id}:{self._generation}:{self._channel.channel_id}"
            self.on_connected(name, self._connection.connection.sock.fileno())
        if self._minder is None:
            self._minder = Minder(self)
            self._minder.start()

    def _consume(self) -> None:
        self._tags = [str(next(self._numbers)) for _ in self._bound]  # one that is used again confuses quorum queues
        for tag, queue in zip(self._tags, self._bound, strict=True):
            arrived = partial(self._arrived, queue.name, not queue.no_ack)
            self._consumers[tag] = (queue.name, not queue.no_ack)
            queue.consume(tag, arrived, no_ack=bool(queue.no_ack), nowait=self.broker.is_amqp)
        self._consuming = True

    def _lose(self, exc: BaseException) -> None:
        """The connection is gone, and with it all that was held: the server gives it to somebody else."""
        if getattr(exc, "reply_code", None) == NOT_IMPLEMENTED and self._shared_qos:
            self._shared_qos = False  # quorum queues have no window that several consumers share
        else:
            self._complain(exc)
        with self._lock:
            connection, self._connection, self._channel = self._connection, None, None
            self._generation += 1
            self._inbox = None
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
        self._busy_since = 0.0
        if not self.queues:
            self._sleep(wait)
            return []
        self._fetching = True
        try:
            with self._lock:
                if self._connection is None:
                    self._connect()
            taken = self._fetch(most, wait)
        except self.broker.errors as exc:
            self._lose(exc)
            self._sleep(min(self._pause, wait))
            return []
        finally:
            self._fetching = False
        if self._pause:
            logger.warning("Connected to %s again", self._connection.as_uri(), extra={"action": "reconnected"})
            self._pause = 0.0
        return taken

    def _fetch(self, most: int, wait: float) -> list[Delivery]:
        deadline = uptime() + wait
        # One at a time, or as many as there are free threads: then no more may come behind them.
        exact = most == 1 or not self.serial
        while True:
            with self._lock:
                if exact and not self._shared_qos and len(self._bound) > 1 and not self._ready:
                    self._pull(most)
                if not self._ready:
                    self._ask(most)
                self._drain(most)
                taken = self._hand_out(most)
                if taken and exact:
                    self._ask_no_more()
            if taken or self._awake:
                self._awake = False
                if self._minder is not None and (self._waiting or self._ready):
                    self._minder.look()
                return taken
            if uptime() >= deadline or self._alarmed():
                return []
            self._wait(deadline)

    def _pull(self, most: int) -> None:
        """Take from several queues without asking all of them to push: only one is wanted, and each would send one."""
        self._hand_over()
        for queue in self._bound:
            while len(self._ready) < most:
                got = self._channel.basic_get(queue.name)
                if got is None:
                    break
                self._arrived(queue.name, True, got)
        self._bound.append(self._bound.pop(0))

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

    def _ask(self, most: int) -> None:
        """Let the server push up to `most` messages."""
        if not self.broker.is_amqp:
            return
        # Twice as many as are run in one go, so that the next are here by then; and what waits for its time here uses
        # up the window.
        wanted = (2 * most if self.serial and most > 2 else most) + len(self._later)
        if self._consuming:
            if wanted <= self._prefetch <= 2 * wanted:
                return
            self._ask_no_more()
        if wanted != self._prefetch:
            self._prefetch = wanted
            self._hand_over()
            each = wanted if self._shared_qos else max(1, wanted // len(self._bound))
            self._channel.basic_qos(0, min(each, 65535), self._shared_qos and len(self._bound) > 1)
        self._consume()

    def _ask_no_more(self, *, surely: bool = False) -> None:
        """Nothing is pushed any more; what is on its way still comes, and with `surely` has come on return."""
        if self.broker.is_amqp and self._consuming:
            from amqp import spec  # lazy: only where there is AMQP

            self._consuming = False
            self._hand_over()
            for tag in self._tags:
                # Not `basic_cancel`: it would refuse what is on its way.
                self._channel.send_method(
                    spec.Basic.Cancel, "sb", (tag, not surely), wait=spec.Basic.CancelOk if surely else None
                )

    def _hand_over(self) -> None:
        """Before py-amqp waits for an answer."""
        if self._inbox is not None:
            self._inbox.hand_over()

    def _drain(self, most: int) -> None:
        """Read what is there, without waiting."""
        if self._inbox is not None:
            self._inbox.read()
            return
        while len(self._ready) < most or self.broker.is_amqp:
            try:
                self._connection.drain_events(timeout=0)
            except TimeoutError:
                return

    def _arrived(self, queue: str, acks: bool, raw: Any) -> None:
        got = raw if hasattr(raw, "content_type") else self._channel.message_to_python(raw)
        self._took(queue, acks, got.delivery_tag, as_message(got))

    def _delivered(self, tag: str, delivery_tag: int, message: Message) -> None:
        """The inbox has read a message itself."""
        queue, acks = self._consumers[tag]
        self._took(queue, acks, delivery_tag, message)

    def _took(self, queue: str, acks: bool, delivery_tag: Any, message: Message) -> None:
        key = original_key(message.exchange, message.routing_key)
        if key is not None:
            # As it was sent: a retry must find the same way.
            message.exchange, message.routing_key = "", queue
            message.properties["delivery_info"].update(exchange="", routing_key=queue)
        tag = b"%d\0%d\0%b\0%b" % (
            next(self._numbers), self._generation, str(delivery_tag).encode(), queue.encode(),
        )  # fmt: skip
        held = Held(tag, encode(message), queue, message, delivery_tag, self._generation, acks)
        self._held[tag] = held
        self._ready.append(held)

    def _wait(self, deadline: float) -> None:
        """Wait until something may have come, a kept message is due, or somebody wakes us."""
        until = deadline
        if self._later:
            until = min(until, uptime() + max(0.0, self._later[0][0] - time.time()))
        sources: list[Any] = [self._wake_read, *self._alarms]
        if self.broker.is_amqp:
            sources.append(self._connection.connection.sock)
        else:
            until = min(until, uptime() + float(self._connection.transport.polling_interval or POLLING))
        if self._wake_read in readable(sources, until - uptime()):
            self._drain_wake()

    def read(self, delivery: Delivery) -> Message:
        """The message in a delivery."""
        assert isinstance(delivery, Held)
        return delivery.message

    def fresh(self, delivery: Delivery) -> bool:
        """Whether the message was not given back meanwhile."""
        return delivery.tag in self._held

    # -- letting go

    def begin(self, delivery: Delivery, *, ack: bool) -> bool:
        """The task is about to start: acknowledge it if asked."""
        assert isinstance(delivery, Held)
        with self._lock:
            if self._held.get(delivery.tag) is not delivery:
                return False
            self._waiting.pop(delivery.tag, None)
            self._busy_since = uptime()
            if ack:
                return self._ack(delivery)
            # So marked, the keeper knows that it is running and not acknowledged.
            del self._held[delivery.tag]
            delivery.tag = delivery.tag.replace(b"\0", b"r\0", 1)
            self._held[delivery.tag] = delivery
            return True

    def ack(self, delivery: Delivery) -> None:
        """The message is done with."""
        assert isinstance(delivery, Held)
        with self._lock:
            if self._held.get(delivery.tag) is delivery:
                self._ack(delivery)
            else:
                _warn_late(delivery)

    def _ack(self, held: Held) -> bool:
        del self._held[held.tag]
        if not held.acks:
            return True
        acknowledge = self._channel.basic_ack if self._inbox is None else self._inbox.ack
        return self._tell(partial(acknowledge, held.delivery_tag))

    def _tell(self, send: Callable[[], None]) -> bool:
        """Write to the channel; False where it is gone, and the server gives the message to somebody else."""
        try:
            send()
        except self.broker.errors as exc:
            self._lose(exc)
            return False
        return True

    def settle(self, delivery: Delivery, settlement: Settlement, *, acked: bool, last: bool = False) -> bool:
        """There is no transaction with a result store."""
        raise NotImplementedError("a kombu transport is no result store")

    def requeue(self, delivery: Delivery) -> None:
        """Give a message back; an AMQP server puts it where it was and marks it as redelivered."""
        assert isinstance(delivery, Held)
        if self.broker.is_amqp:
            self._reject(delivery, requeue=True)
        else:
            delivery.message.headers["redelivered"] = True
            self._send_again(delivery, None)

    def _reject(self, delivery: Delivery, *, requeue: bool) -> None:
        assert isinstance(delivery, Held)
        with self._lock:
            if self._held.pop(delivery.tag, None) is not None and delivery.acks:
                self._tell(lambda: self._channel.basic_reject(delivery.delivery_tag, requeue=requeue))

    def defer(self, delivery: Delivery, due: float) -> None:
        """Let a message wait: in the server, or here for the last second."""
        assert isinstance(delivery, Held)
        native = self.broker.delays is not None
        near = due - time.time() < SOON if native else True
        most = SOON_MOST if native else self.broker.eta_limit or LATER_MOST
        with self._lock:
            if delivery.tag not in self._held:
                return
            self._waiting.pop(delivery.tag, None)
            if near and len(self._later) < most:
                heapq.heappush(self._later, (due, next(self._numbers), delivery))
                return
        self._send_again(delivery, max(due, time.time() + 1.01) if native else None)

    def _send_again(self, delivery: Held, due: float | None) -> None:
        """Publish a copy, then let the message go: dying in between doubles it, and loses nothing."""
        message = delivery.message
        message.due = due
        message.queue = self.broker.find_queue(delivery.queue)
        message.exchange, message.routing_key = "", delivery.queue
        self.broker.publish_back(message)
        self.ack(delivery)

    rejects = True

    def reject(self, delivery: Delivery) -> None:
        """To the queue's dead-letter exchange, or nowhere."""
        self._reject(delivery, requeue=False)

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Set a message aside: by the queue's own dead-letter exchange where it has one."""
        if "x-dead-letter-exchange" in arguments_of(self.broker.find_queue(delivery.queue)):
            self._reject(delivery, requeue=False)
            return
        self.broker.bury(delivery, reason)
        self.ack(delivery)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give messages that were not started back; the server puts them where they were."""
        with self._lock:
            if self._connection is not None:
                # Or the first would come back at once, before the others are there.
                self._tell(partial(self._ask_no_more, surely=True))
            behind = list(self._ready)
            self._ready.clear()
            for delivery in (*deliveries, *behind):
                self._reject(delivery, requeue=True)

    def flush(self) -> None:
        """Acknowledgements are not confirmed by the server; closing in order makes it read them all."""

    # -- keeping the connection alive

    def mind(self) -> bool:
        """Called by the minder: give back what waits behind a long task, keep up the heartbeats; True while there may
        be something to give back.
        """
        with self._lock:
            if self._connection is None:
                return False
            try:
                if not self._fetching:
                    self._drain(0)
                    if self._busy_since and uptime() - self._busy_since > self.long_task:
                        self._give_back_waiting()
                self._connection.heartbeat_check(rate=3)
            except self.broker.errors as exc:
                self._lose(exc)
                return False
            return bool(self._busy_since and (self._waiting or self._ready or self._consuming))

    def heartbeat(self) -> float:
        """Seconds between heartbeats, as agreed with the server."""
        return float(self._connection.get_heartbeat_interval() or HEARTBEAT)

    def _give_back_waiting(self) -> None:
        waiting = list(self._waiting.values())
        self._waiting.clear()
        self.release(waiting)

    # -- waiting, waking, ending

    def end(self) -> None:
        """Nothing is fetched any more: from now on a server that is gone is waited for only so long."""
        if self._ends is None:
            self._ends = uptime() + PATIENCE
        self.wake()

    def wake(self) -> None:
        """Make a waiting `fetch` return."""
        self._awake = True
        try:
            os.write(self._wake_write, b"w")
        except (BlockingIOError, OSError):
            pass  # full of wake-ups already, or closed

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass  # somebody else has read it

    def _alarmed(self) -> bool:
        return bool(self._alarms and readable(self._alarms, 0))

    def _sleep(self, seconds: float) -> None:
        if readable([self._wake_read, *self._alarms], seconds):
            self._drain_wake()

    def _complain(self, exc: BaseException) -> None:
        """Log the first failure of an outage, and wait longer from time to time."""
        if not self._pause:
            logger.error("Connection to broker lost: %s. Trying again…", exc, extra={"action": "connection_lost"})
        self._pause = min(2.0, self._pause * 2 or 0.1)

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
        os.close(self._wake_read)
        os.close(self._wake_write)


def arguments_of(queue: Any) -> dict[str, Any]:
    """The arguments with which a queue is declared."""
    return queue.queue_arguments or {}


def _warn_late(delivery: Delivery) -> None:
    logger.warning(
        "A task finished after the connection on which it had come was lost; its message is delivered again.",
        extra={"action": "lease_lost", "queue": delivery.queue},
    )
