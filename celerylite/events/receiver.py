"""`EventReceiver` listens to events and hands each to its handlers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from kombu.connection import maybe_channel
from kombu.entity import Queue
from kombu.mixins import ConsumerMixin

from celerylite import _state
from celerylite.events.event import get_exchange
from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.time import adjust_timestamp
from celerylite.utils.uuids import uuid

__all__ = ("EventReceiver",)

logger = logging.getLogger("celery.events")

#: Clients keep no clock: an event of theirs is put right before what the workers tell next.
CLIENT_CLOCK_SKEW = -1


class EventReceiver(ConsumerMixin):
    """Listens on a queue of its own.

    `handlers` are functions of one event by type; the one under `*` gets every event that has none. `routing_key`
    chooses (`task.#`); `node_id` names the queue (a new one each time by default). The other options override the
    settings `event_queue_prefix`, `accept_content`, `event_queue_ttl`, `…_expires`, `…_exclusive` and `…_durable`.
    ImproperlyConfigured where the queue would be both exclusive and durable.
    """

    app: Any = None

    def __init__(
        self,
        channel: Any,
        handlers: Mapping[str, Callable[[dict[str, Any]], Any]] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: Any = None,
        queue_prefix: str | None = None,
        accept: Any = None,
        queue_ttl: float | None = None,
        queue_expires: float | None = None,
        queue_exclusive: bool | None = None,
        queue_durable: bool | None = None,
    ) -> None:
        self.app = _state.app_or_default(app or self.app)
        conf = self.app.conf
        self.channel = maybe_channel(channel)
        self.handlers: Mapping[str, Callable[[dict[str, Any]], Any]] = {} if handlers is None else handlers
        self.routing_key = routing_key
        self.node_id = node_id or uuid()
        self.queue_prefix = conf.event_queue_prefix if queue_prefix is None else queue_prefix
        self.exchange = get_exchange(self.connection or self.app.connection_for_write(), name=conf.event_exchange)
        exclusive = conf.event_queue_exclusive if queue_exclusive is None else queue_exclusive
        durable = conf.event_queue_durable if queue_durable is None else queue_durable
        if exclusive and durable:
            raise ImproperlyConfigured(
                "The queue of an event receiver cannot be both exclusive and durable: set event_queue_exclusive "
                "or event_queue_durable to False."
            )
        self.accept = {conf.event_serializer, "json"} if accept is None else accept
        self.queue = Queue(
            ".".join((self.queue_prefix, self.node_id)),
            exchange=self.exchange,
            routing_key=routing_key,
            auto_delete=not durable,
            durable=durable,
            exclusive=exclusive,
            message_ttl=conf.event_queue_ttl if queue_ttl is None else queue_ttl,
            expires=conf.event_queue_expires if queue_expires is None else queue_expires,
        )
        self.clock = self.app.clock
        self.adjust_clock, self.forward_clock = self.clock.adjust, self.clock.forward

    @property
    def connection(self) -> Any:
        """kombu's connection, as long as there is a channel."""
        return self.channel.connection.client if self.channel else None

    # -- listening

    def get_consumers(self, Consumer: Any, channel: Any) -> list[Any]:  # noqa: N803 (kombu's name)
        """What kombu's mixin consumes."""
        return [Consumer(queues=[self.queue], callbacks=[self._receive], no_ack=True, accept=self.accept)]

    def on_consume_ready(
        self, connection: Any, channel: Any, consumers: Any, wakeup: bool = True, **kwargs: Any
    ) -> None:
        """Called by kombu's mixin as soon as events arrive."""
        if wakeup:
            self.wakeup_workers(channel=channel)

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[Any]:
        """Listen as `capture` does, and yield after each message."""
        return self.consume(limit=limit, timeout=timeout, wakeup=wakeup)

    def capture(self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True) -> None:
        """Listen until `limit` messages have come (None: for ever).

        Raises `socket.timeout` when none has come for `timeout` seconds. With `wakeup` the workers are asked for a
        heartbeat at once, so that they are known from the start.
        """
        for _ in self.itercapture(limit=limit, timeout=timeout, wakeup=wakeup):
            pass

    def wakeup_workers(self, channel: Any = None) -> None:
        """Ask all workers for a heartbeat."""
        self.app.control.broadcast("heartbeat", connection=self.connection, channel=channel)

    # -- events

    def process(self, type: str, event: dict[str, Any]) -> None:
        """Hand an event to the handler of its type, or else to the one of all types."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler:
            handler(event)

    def event_from_message(
        self,
        body: dict[str, Any],
        localize: bool = True,
        now: Callable[[], float] = time.time,
        tzfields: Callable[[Any], Any] = itemgetter("utcoffset", "timestamp"),
        adjust_timestamp: Callable[[float, float], float] = adjust_timestamp,
        CLIENT_CLOCK_SKEW: int = CLIENT_CLOCK_SKEW,  # noqa: N803 (Celery's name)
    ) -> tuple[str, dict[str, Any]]:
        """The type and the event of a message's body: its clock keeps ours up, its time is put in our time zone, and
        `local_received` says when it came.
        """
        kind = body["type"]
        if kind == "task-sent":
            body["clock"] = (self.clock.value or 1) + CLIENT_CLOCK_SKEW
            self.adjust_clock(body["clock"])
        elif body.get("clock") is None:
            body["clock"] = self.forward_clock()
        else:
            self.adjust_clock(body["clock"])
        if localize:
            try:
                offset, timestamp = tzfields(body)
            except KeyError:
                pass  # it does not say where it comes from
            else:
                body["timestamp"] = adjust_timestamp(timestamp, offset)
        body["local_received"] = now()
        return kind, body

    def _receive(self, body: Any, message: Any) -> None:
        for event in body if isinstance(body, list) else (body,):
            if isinstance(event, dict) and isinstance(event.get("type"), str):
                self.process(*self.event_from_message(event))
            else:  # anybody may publish there, and a monitor must not end of it
                logger.warning("Not an event: %.200r", event, extra={"action": "not_an_event"})
