"""Where things stand on a Redis Cluster: all that belongs to one queue in one slot, so that a script may touch it.

    {celery}celery  {celery}celery\\x06\\x163 …  {celery}celerylite.held.<consumer>  {celery}celerylite.delayed …
    {celerylite}.queues  {celerylite}.notebook.<name>  {celerylite}.outbox          what belongs to no queue
    _kombu.binding.<exchange>                                                        a key alone
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from celerylite.brokers.redis_layout import FANOUT, Layout
from celerylite.exceptions import ImproperlyConfigured

SLOTS = 16384
#: Our own keys begin so; those that belong to no queue stand in one slot.
OWN = "celerylite"
#: Set: the names of the queues that were used.
QUEUES = "celerylite.queues"
#: Hash: what was sent together with a note and is not in its queue yet. Field: its name, in order of time; value:
#: `<list>\0<due, '' at once>\0<message>`.
OUTBOX = "celerylite.outbox"
#: A key that lives for an hour, in the slot of the queue: this entry of the outbox was delivered.
DELIVERED = "celerylite.delivered."


@dataclass(frozen=True, slots=True)
class QueueLayout(Layout):
    """The layout within the slot of one queue."""

    queue: str = ""

    def key(self, name: str) -> bytes:
        """A key that belongs to the queue."""
        return f"{self.global_keyprefix}{{{self.queue}}}{name}".encode("utf-8", "surrogateescape")

    def queue_of(self, list_key: bytes) -> str:
        """There is only one."""
        return self.queue

    def topic(self, exchange: str, routing_key: str, db: int) -> bytes:
        """Channels belong to no slot."""
        return ClusterLayout(**_fields(self)).topic(exchange, routing_key, db)


@dataclass(frozen=True, slots=True)
class ClusterLayout(Layout):
    """The layout of the whole cluster."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ClusterLayout:
        """What an app's transport options say, as for a single server."""
        return cls(**_fields(Layout.from_options(options)))

    def of(self, queue: str) -> QueueLayout:
        """The layout within the slot of a queue."""
        if not queue or queue.startswith("}"):
            raise ImproperlyConfigured(f"On a Redis Cluster a queue cannot be called {queue!r}")
        # Celery's workers, whose messages would have to be restored, cannot be here.
        return QueueLayout(**{**_fields(self), "ack_emulation": False}, queue=queue)

    def key(self, name: str) -> bytes:
        """A key that belongs to no queue."""
        if name.startswith(OWN):
            name = f"{{{OWN}}}{name[len(OWN) :]}"
        return (self.global_keyprefix + name).encode("utf-8", "surrogateescape")

    def list_key(self, queue: str, priority: int | None = 0) -> bytes:
        """The list in which messages of this priority wait."""
        return self.of(queue).list_key(queue, priority)

    def queue_of(self, list_key: bytes) -> str:
        """The queue whose list it is."""
        words = list_key.decode("utf-8", "surrogateescape")[len(self.global_keyprefix) :].split(self.sep)
        # {queue}queue: the name stands there twice, and may have braces of its own.
        private = len(words) > 1 and f"}}{FANOUT}" in words[0]
        return words[1] if private else words[0][1 : len(words[0]) // 2]


def _fields(layout: Layout) -> dict[str, Any]:
    return {name: getattr(layout, name) for name in Layout.__dataclass_fields__}


def slot_of(key: bytes) -> int:
    """The slot of a key: what stands in its first braces counts, if anything does."""
    opening = key.find(b"{")
    if opening >= 0:
        closing = key.find(b"}", opening + 1)
        if closing > opening + 1:
            key = key[opening + 1 : closing]
    return crc_hqx(key, 0) % SLOTS


#: Commands that may go to any node.
_KEYLESS = frozenset((b"PUBLISH", b"TIME", b"PING", b"INFO", b"MULTI", b"EXEC", b"COMMAND", b"CLIENT", b"SCRIPT"))


def key_of(command: bytes) -> bytes | None:
    """The first key of a packed command; None where it names none."""
    words = _words(command)
    name = next(words)
    if name in _KEYLESS:
        return None
    if name == b"EVALSHA":
        next(words)
        return next(words, None) if next(words) != b"0" else None
    return next(words, None)


def _words(command: bytes) -> Iterator[bytes]:
    at = command.index(b"\r\n") + 2
    while at < len(command):
        end = command.index(b"\r\n", at)
        size = int(command[at + 1 : end])
        yield command[end + 2 : end + 2 + size]
        at = end + 4 + size
