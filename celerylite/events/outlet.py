"""The short way out for events: the task plane's own connection where the broker has one for them, else kombu's.

An event that cannot be sent is dropped, and nobody waits for it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celerylite.message import Message, dumps
from celerylite.utils.clock import uptime
from celerylite.utils.forks import after_fork
from celerylite.utils.nodenames import anon_nodename
from celerylite.utils.time import utcoffset

if TYPE_CHECKING:
    from celerylite.brokers import Broker

logger = logging.getLogger("celery.events")

#: As RabbitMQ has it: not kept on disk.
TRANSIENT = 1
#: A connection that was closed meanwhile is opened again; a broker that is away is not waited for.
ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_max": 0}
#: Seconds between two words about a broker that takes no events.
QUIET = 60.0

#: An event, or several that travel as one message; and the key by which receivers choose (`task.multi`).
Parcel = tuple[Any, str]


class Outlet:
    """Sends events in the name of a node (`hostname`), or of this process."""

    def __init__(self, app: Any, hostname: str | None = None, pid: int | None = None) -> None:
        self.app = app
        self._given = hostname, pid
        self._complain_at = 0.0
        #: Whether anybody listened to what was sent last, as far as the broker can tell.
        self.heard = True
        self._begin()
        after_fork(self._begin)

    def _begin(self) -> None:
        """In a new process: another name, and no connection."""
        hostname, pid = self._given
        self.hostname, self.pid = hostname or anon_nodename(), pid or os.getpid()
        self._kombu: Any = None
        #: kombu's producers are not for two threads at a time.
        self._lock = threading.Lock()

    def stamp(self, event: dict[str, Any], offset: float | None = None) -> dict[str, Any]:
        """The event with its node, its place in time and our clock, in Celery's order of fields."""
        return {
            "hostname": self.hostname,
            "utcoffset": utcoffset() if offset is None else offset,
            "pid": self.pid,
            "clock": self.app.clock.forward(),
            **event,
        }

    def send(self, parcels: Sequence[Parcel], broker: Broker | None = None) -> bool:
        """Send; False where the broker is away, which is said once a minute."""
        broker = self.app.broker if broker is None else broker
        try:
            listeners = broker.announce([self._message(*parcel) for parcel in parcels])
            self.heard = listeners is None or listeners > 0
            if listeners is None:
                with self._lock:
                    self._send_by_kombu(parcels)
        except Exception as exc:  # a border: transports of any make raise what they like
            self._kombu = None
            if uptime() >= self._complain_at:
                self._complain_at = uptime() + QUIET
                logger.warning("Events cannot be sent: %r", exc, extra={"action": "events_lost"})
            return False
        return True

    def _message(self, body: Any, routing_key: str) -> Message:
        conf = self.app.conf
        content_type, encoding, raw, more = dumps(body, conf.event_serializer, None)
        headers = {"hostname": self.hostname, **(more or {})}
        exchange = conf.event_exchange
        return Message(headers, raw, content_type, encoding, {"delivery_mode": TRANSIENT}, exchange, routing_key)

    def _send_by_kombu(self, parcels: Sequence[Parcel]) -> None:
        if self._kombu is None:
            connection = self.app.connection_for_write()
            # A broker that is away is noticed at the next parcel; trying again here would hold up the caller.
            connection.ensure_connection(max_retries=1, timeout=self.app.conf.broker_connection_timeout)
            self._kombu = self.app.events.Dispatcher(connection, self.hostname, buffer_while_offline=False)
        for body, routing_key in parcels:
            self._kombu._publish(body, self._kombu.producer, routing_key, retry=True, retry_policy=ONCE_MORE)

    def close(self) -> None:
        """Let go of kombu's connection."""
        kombu, self._kombu = self._kombu, None
        if kombu is not None:
            kombu.connection.close()
