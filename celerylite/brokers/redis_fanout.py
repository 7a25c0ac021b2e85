"""Fan-out queues (`Broadcast`) on Redis: kombu publishes copies, and each worker has a list of its own for them.

The keeper listens, and pushes each copy into that list; from there on it is a message like any other. As with Celery, a
worker that is not connected gets none.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from celerylite.brokers.envelope import decode
from celerylite.brokers.redis_layout import FANOUT
from celerylite.brokers.redis_link import Link, pack
from celerylite.brokers.values import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celerylite.brokers.redis import RedisBroker

#: Seconds for which the list of a worker that is gone is kept: one of the same name goes on with it.
KEEP = 3600


class Fanout:
    """The subscriptions of one worker."""

    def __init__(self, broker: RedisBroker, queues: Iterable[str]) -> None:
        self.broker = broker
        #: Pattern → the queues that are bound to it.
        self.patterns: dict[bytes, list[str]] = {}
        for name in queues:
            queue = broker.fanouts.get(name)
            if queue is not None:
                self.patterns.setdefault(self._pattern(queue), []).append(name)
        #: What came in and is not in its list yet: the connection may be broken just then.
        self._copies: deque[tuple[str, bytes]] = deque()

    def take_over(self, before: Fanout) -> None:
        """What came in for the queues before and is not in its list yet."""
        self._copies.extend(before._copies)

    def _pattern(self, queue: Any) -> bytes:
        key = (queue.routing_key or "").replace("#", "*")
        return self.broker.layout.topic(queue.exchange.name, key, self.broker.connector.db)

    def listen(self, link: Link) -> None:
        """Subscribe; the answers, among which the first copies may be, go to `receive`."""
        for pattern in self.patterns:
            link.send(pack(b"PSUBSCRIBE", pattern), self.receive)

    def receive(self, message: Any) -> None:
        """Take what `link` brought, if it is a copy."""
        if isinstance(message, list) and message[0] == b"pmessage":
            self._copies += [(queue, message[3]) for queue in self.patterns.get(message[1], ())]

    def deliver(self, link: Link) -> None:
        """Push what was received into the lists."""
        while self._copies:
            name, raw = self._copies[0]
            link.call(pack(b"LPUSH", self.broker.list_key(name, _priority(raw)), raw))
            self._copies.popleft()

    def renew(self, link: Link) -> None:
        """Keep our lists for another while."""
        for key in self._lists():
            link.call(pack(b"EXPIRE", key, b"%d" % KEEP))

    def forget(self, link: Link) -> None:
        """We end in order: nobody wants our copies any more."""
        for key in self._lists():
            link.call(pack(b"DEL", key))

    def _lists(self) -> list[bytes]:
        names = [name for found in self.patterns.values() for name in found]
        return [key for name in names for key in self.broker.list_keys(name)]


def expire_if_private(broker: RedisBroker, link: Link, list_key: bytes) -> None:
    """A message went back into a list that is one worker's own, which may be gone with its worker."""
    if list_key.startswith(broker.key(FANOUT)):
        link.call(pack(b"EXPIRE", list_key, b"%d" % KEEP))


def _priority(raw: bytes) -> Any:
    try:
        return decode(raw).properties.get("priority")
    except Unreadable:
        return 0
