"""`EventDispatcher` sends events through kombu: one by one, or those of a group in batches."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection
from typing import Any

from kombu.messaging import Producer

from celerylite import _state
from celerylite.events.event import Event, get_exchange, group_from
from celerylite.utils.nodenames import anon_nodename
from celerylite.utils.time import utcoffset

__all__ = ("EventDispatcher",)

MakeEvent = Callable[..., dict[str, Any]]


class EventDispatcher:
    """Sends events to whoever listens.

    `hostname` is the node's name. With `groups` only events of these groups are sent. Events of the groups in
    `buffer_group` wait until there are `buffer_limit` of them, and travel as one message. While the broker is away
    events are kept, unless `buffer_while_offline` is off; then its error is raised. `delivery_mode` 1 is transient.
    """

    #: Transports that cannot carry events.
    DISABLED_TRANSPORTS = {"sql"}

    app: Any = None
    #: Called when it is switched on or off.
    on_enabled: Any = None
    on_disabled: Any = None

    def __init__(
        self,
        connection: Any = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: Any = None,
        buffer_while_offline: bool = True,
        app: Any = None,
        serializer: str | None = None,
        groups: Collection[str] | None = None,
        delivery_mode: int = 1,
        buffer_group: Collection[str] | None = None,
        buffer_limit: int = 24,
        on_send_buffered: Callable[[], None] | None = None,
    ) -> None:
        self.app = _state.app_or_default(app or self.app)
        conf = self.app.conf
        self.connection = connection or (channel.connection.client if channel is not None else None)
        self.channel = channel
        self.hostname = hostname or anon_nodename()
        self.serializer = serializer or conf.event_serializer
        self.groups = set(groups or ())
        self.delivery_mode = delivery_mode
        self.buffer_while_offline = buffer_while_offline
        self.buffer_group = frozenset(buffer_group or ())
        self.buffer_limit = buffer_limit
        self.on_send_buffered = on_send_buffered
        self.on_enabled, self.on_disabled = set(), set()
        self.mutex = threading.Lock()
        self.clock, self.pid, self.tzoffset = self.app.clock, os.getpid(), [-time.timezone, -time.altzone]
        self.headers = {"hostname": self.hostname}
        self.producer: Any = None
        self.exchange: Any = None
        #: What the broker did not take: (event or list of events, routing key).
        self._outbound_buffer: deque[tuple[Any, str]] = deque()
        self._group_buffer: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.enabled = False
        if self.connection is not None:
            self.exchange = get_exchange(self.connection, name=conf.event_exchange)
            if enabled and self.connection.transport.driver_type not in self.DISABLED_TRANSPORTS:
                self.enable()

    def __enter__(self) -> EventDispatcher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def enable(self) -> None:
        """Send from now on."""
        self.producer = Producer(
            self.channel or self.connection, exchange=self.exchange, serializer=self.serializer, auto_declare=False
        )
        self.enabled = True
        for callback in self.on_enabled:
            callback()

    def disable(self) -> None:
        """Send nothing any more."""
        if not self.enabled:
            return
        self.enabled = False
        self.close()
        for callback in self.on_disabled:
            callback()

    # -- sending

    def send(
        self,
        type: str,
        blind: bool = False,
        utcoffset: Callable[[], float] = utcoffset,
        retry: bool = False,
        retry_policy: dict[str, Any] | None = None,
        Event: MakeEvent = Event,  # noqa: N803 (Celery's name)
        **fields: Any,
    ) -> None:
        """Send an event, if this is switched on and its group is wanted. A `blind` one leaves the clock alone."""
        group = group_from(type)
        if not self.enabled or (self.groups and group not in self.groups):
            return
        if group not in self.buffer_group:
            self.publish(type, fields, self.producer, blind=blind, Event=Event, retry=retry, retry_policy=retry_policy)
            return
        waiting = self._group_buffer[group]
        waiting.append(self._made(type, fields, blind, Event))
        if len(waiting) >= self.buffer_limit:
            self.flush()
        elif self.on_send_buffered is not None:
            self.on_send_buffered()

    def publish(
        self,
        type: str,
        fields: dict[str, Any],
        producer: Any,
        blind: bool = False,
        Event: MakeEvent = Event,  # noqa: N803 (Celery's name)
        **kwargs: Any,
    ) -> None:
        """Send an event with a producer, whether this is switched on or not; further options are `_publish`'s."""
        event = self._made(type, fields, blind, Event)
        with self.mutex:
            self._publish(event, producer, type.replace("-", ".", 1), **kwargs)

    def _made(self, type: str, fields: dict[str, Any], blind: bool, make: MakeEvent) -> dict[str, Any]:
        clock = None if blind else self.clock.forward()
        return make(type, hostname=self.hostname, utcoffset=utcoffset(), pid=self.pid, clock=clock, **fields)

    def _publish(
        self, event: Any, producer: Any, routing_key: str, retry: bool = False, retry_policy: Any = None
    ) -> None:
        try:
            producer.publish(
                event,
                routing_key=routing_key,
                exchange=self.exchange.name,
                retry=retry,
                retry_policy=retry_policy,
                declare=[self.exchange],
                serializer=self.serializer,
                headers=self.headers,
                delivery_mode=self.delivery_mode,
            )
        except Exception:  # a border: transports of any make raise what they like
            if not self.buffer_while_offline:
                raise
            self._outbound_buffer.append((event, routing_key))

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Send what waits: what the broker did not take (`errors`), and batches that are not full (`groups`)."""
        if errors:
            kept, self._outbound_buffer = self._outbound_buffer, deque()
            with self.mutex:
                for event, routing_key in kept:
                    self._publish(event, self.producer, routing_key)
        if groups:
            with self.mutex:
                for group, events in self._group_buffer.items():
                    if events:
                        self._publish(events, self.producer, f"{group}.multi")
                self._group_buffer.clear()

    def extend_buffer(self, other: EventDispatcher) -> None:
        """Take over what another dispatcher could not send."""
        self._outbound_buffer.extend(other._outbound_buffer)

    def close(self) -> None:
        """Let go of the producer."""
        self.producer = None

    @property
    def publisher(self) -> Any:
        """The producer, under its old name."""
        return self.producer

    @publisher.setter
    def publisher(self, producer: Any) -> None:
        self.producer = producer
