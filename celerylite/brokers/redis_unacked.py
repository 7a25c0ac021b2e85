"""What dead Celery workers left on Redis: kombu notes each message that a consumer of its own holds, until it is acked.

A message that has stood there for longer than the visibility timeout goes back to the front of its queue, as a living
Celery worker would do it. Whoever deletes the note moves the message, so that several may look at once.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.envelope import decode, redelivered
from celerylite.brokers.redis_link import Link, pack
from celerylite.message import json_dumps, json_loads

if TYPE_CHECKING:
    from celerylite.brokers.redis import RedisBroker

logger = logging.getLogger("celery.brokers.redis")

#: Seconds between two looks.
LOOK_EVERY = 10.0
#: Most messages that are fetched at once.
BATCH = 100


class Unacked:
    """The notes of kombu's consumers in one database."""

    def __init__(self, broker: RedisBroker, link: Link) -> None:
        self.broker = broker
        self.link = link
        layout = broker.layout
        self._on = layout.ack_emulation
        self._notes = layout.key(layout.unacked_key)
        self._index = layout.key(layout.unacked_index_key)
        self._patience = b"%f" % layout.visibility_timeout
        self._next_look = 0.0

    def restore(self) -> None:
        """Return what is overdue, if it is time to look again."""
        if not self._on or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_EVERY
        moved, full = 0, True
        while full:
            found = self._overdue()
            full = len(found) == BATCH
            moved += sum(self._restore_one(tag, note) for tag, note in found)
        if moved:
            logger.warning(
                "Restored %d message(s) that a Celery worker left unacknowledged", moved, extra={"action": "restored"}
            )

    def _overdue(self) -> list[tuple[bytes, bytes]]:
        """Tags and notes, the latest first: each goes to the front, so the oldest ends up first in line."""
        command = pack(b"EVALSHA", scripts.OVERDUE.sha, b"2", self._notes, self._index, self._patience, b"%d" % BATCH)
        found = self.link.call(command)
        return list(zip(found[::2], found[1::2], strict=True))

    def _restore_one(self, tag: bytes, note: bytes) -> int:
        raw, lists, reason = self._destination(note)
        push = b"RPUSH"
        if reason:
            raw = self.broker.dead_record(raw, lists[0], reason)
            push, lists = b"LPUSH", [self.broker.key(scripts.DEAD)]
        keys = (self._notes, self._index, *lists)
        args = (tag, self._patience, push, raw)
        return self.link.call(pack(b"EVALSHA", scripts.RESTORE.sha, b"%d" % len(keys), *keys, *args))

    def _destination(self, note: bytes) -> tuple[bytes, list[bytes], str]:
        """The message, marked as redelivered, the lists it belongs to, and why it cannot go there, if so.

        The note does not say from which queue it came, so it goes to all that its exchange sends it to, as in kombu.
        """
        try:
            raw, _ = redelivered(json_dumps(json_loads(note)[0]).encode(), count=False)
            message = decode(raw)
        except (ValueError, TypeError, LookupError, RecursionError):
            return note, [b""], "left unacknowledged by a Celery worker, and not readable"
        priority = message.properties.get("priority")
        try:
            lists = [self.broker.list_key(queue, priority) for queue in self.broker.queues_for(message)]
        except LookupError:  # a copy of a fan-out, for a worker that is gone
            lists = []
        if lists:
            return raw, lists, ""
        reason = f"left unacknowledged by a Celery worker, and exchange {message.exchange!r} leads to no queue by now"
        return raw, [self.broker.list_key(message.routing_key, priority)], reason
