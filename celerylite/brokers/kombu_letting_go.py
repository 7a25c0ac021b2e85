"""Every way in which a consumer of a kombu transport lets go of a message, and what it holds until then."""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any

from celerylite.brokers.declaring import arguments_of
from celerylite.brokers.values import Delivery, Settlement
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.brokers.amqp_inbox import Inbox
    from celerylite.brokers.amqp_window import Window
    from celerylite.brokers.kombu import KombuBroker
    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.kombu")

#: Seconds before its time at which a message may be taken and kept until then; the server delays in whole seconds.
SOON = 1.5
#: How many messages are kept that long; with more of them, they wait a second in the server, and may be late.
SOON_MOST = 200
#: The same for transports that cannot delay, where a message is kept until its time, however long.
LATER_MOST = 1000


@dataclass(slots=True, eq=False)
class Held(Delivery):
    """A message that this consumer holds; `tag` is for the board, `delivery_tag` the server's."""

    message: Message
    delivery_tag: Any
    #: Which connection it came over; on another one its tag means nothing.
    generation: int
    #: False where the queue is consumed without acknowledgements.
    acks: bool


class LettingGo:
    """See `kombu_consumer.KombuConsumer`."""

    broker: KombuBroker
    #: Whoever uses the connection holds it.
    _lock: RLock
    _channel: Any
    _inbox: Inbox | None
    _window: Window | None
    _numbers: count[int]
    _lose: Callable[[BaseException], None]
    #: Since when a task runs; 0 while none does.
    _busy_since: float
    #: Everything that was delivered and not let go, what was not yet given to the process, what waits for its time.
    _held: dict[bytes, Held]
    _ready: deque[Held]
    _later: list[tuple[float, int, Held]]
    #: Handed out and not started, in order.
    _waiting: dict[bytes, Held]

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
        if self._inbox is None:
            return self._tell(partial(self._channel.basic_ack, held.delivery_tag))
        try:
            self._inbox.ack(held.delivery_tag)
        except self.broker.errors as exc:
            self._lose(exc)
            return False
        return True

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

    def defer(self, delivery: Delivery, due: float, headers: Mapping[str, Any] | None = None) -> None:
        """Let a message wait: in the server, or here for the last second."""
        assert isinstance(delivery, Held)
        delivery.message.headers.update(headers or {})
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
            self._give_back((*deliveries, *self._ready))

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        if self._window is not None:
            # Or the first would come back at once, before the others are there.
            self._tell(partial(self._window.pause, surely=True))
        gone = {delivery.tag for delivery in deliveries}
        self._ready = deque(held for held in self._ready if held.tag not in gone)
        for delivery in deliveries:
            self._waiting.pop(delivery.tag, None)
            self._reject(delivery, requeue=True)

    def flush(self) -> None:
        """Acknowledgements are not confirmed by the server; closing in order makes it read them all."""


def _warn_late(delivery: Delivery) -> None:
    logger.warning(
        "A task finished after the connection on which it had come was lost; its message is delivered again.",
        extra={"action": "lease_lost", "queue": delivery.queue},
    )
