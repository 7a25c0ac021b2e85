"""Looking after the queues on Redis: how much waits where, what was set aside, and putting it back or away."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers import redis_stats
from celerylite.brokers.envelope import decode
from celerylite.brokers.redis_layout import Layout
from celerylite.brokers.redis_lending import Lending
from celerylite.brokers.redis_link import pack
from celerylite.brokers.values import DeadLetter, QueueStats, Unreadable, Waiting
from celerylite.utils.uuids import uuid


class LookingAfter(Lending):
    """See `redis.RedisBroker`."""

    layout: Layout
    #: The layout's.
    key: Callable[[str], bytes]
    list_keys: Callable[[str], list[bytes]]
    #: The worker whose broker it is; empty for clients.
    worker: str

    def purge(self, queues: Iterable[str]) -> int:
        """Delete the messages that wait in these queues; returns how many."""
        keys = [key for queue in queues for key in self.list_keys(queue)]
        if not keys:
            return 0
        counting = [pack(b"LLEN", key) for key in keys]
        lengths = self._call([pack(b"MULTI"), *counting, pack(b"DEL", *keys), pack(b"EXEC")])
        return sum(lengths[-1][:-1])

    def queue_length(self, queue: str) -> int:
        """How many messages wait in the queue, over all priorities."""
        return sum(self._call([pack(b"LLEN", key) for key in self.list_keys(queue)]))

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """The messages that were set aside, newest first."""
        return [_letter(record) for record in self._dead_records(limit)]

    def _dead_records(self, limit: int) -> list[bytes]:
        return self._call([pack(b"LRANGE", self.key(scripts.DEAD), b"0", b"%d" % (limit - 1))])[0]

    def _dead_key(self, record: bytes) -> bytes:
        return self.key(scripts.DEAD)

    def retry_dead(self, ids: Iterable[str] | None = None) -> int:
        """Put set-aside messages back at the end of their queues, unchanged."""
        wanted = None if ids is None else set(ids)
        moved = 0
        for record in reversed(self._dead_records(0)):
            letter = _letter(record)
            if wanted is None or letter.id in wanted or letter.task_id in wanted:
                keys = (self._dead_key(record), _list_of(record))
                command = pack(b"EVALSHA", scripts.REVIVE.sha, b"2", *keys, record, letter.raw)
                moved += self._call([command])[0]
        return moved

    def purge_dead(self) -> int:
        """Delete all messages that were set aside."""
        key = self.key(scripts.DEAD)
        return self._call([pack(b"MULTI"), pack(b"LLEN", key), pack(b"DEL", key), pack(b"EXEC")])[-1][0]

    def queue_stats(self, queues: Iterable[str]) -> list[QueueStats]:
        """How many messages of these queues, and of others with more than waiting ones, are where."""
        return redis_stats.queue_stats(self, queues)

    def live_consumers(self) -> int:
        """How many consumers of ours have a lease."""
        return redis_stats.live_consumers(self)

    def delayed(self, queues: Iterable[str], limit: int = 1000) -> list[Waiting]:
        """What waits in the delayed set for these queues."""
        return redis_stats.delayed(self, queues, limit)

    def held(self, consumer_ids: Iterable[str]) -> dict[str, list[Waiting]]:
        """What consumers have taken and not acknowledged."""
        return redis_stats.held(self, consumer_ids)

    def release_delayed(self) -> int:
        """Put all delayed messages at the ends of their queues."""
        return redis_stats.release_delayed(self)

    def dead_record(self, raw: bytes, list_key: bytes, reason: str) -> bytes:
        """What is kept of a message that is set aside."""
        try:
            headers = decode(raw).headers
        except Unreadable:
            headers = {}
        task_id, task_name = (value if isinstance(value, str) else None for value in map(headers.get, ("id", "task")))
        record = {
            "id": uuid(), "reason": reason, "queue": self.layout.queue_of(list_key),
            "time": time.time(), "worker": self.worker,
            "list": list_key.decode("utf-8", "surrogateescape"), "raw": b64encode(raw).decode("ascii"),
            "task_id": task_id, "task_name": task_name,
        }  # fmt: skip
        return json.dumps(record).encode()


def _letter(record: bytes) -> DeadLetter:
    fields = json.loads(record)
    fields["raw"] = b64decode(fields["raw"])
    fields.pop("list")
    return DeadLetter(**fields)


def _list_of(record: bytes) -> bytes:
    return json.loads(record)["list"].encode("utf-8", "surrogateescape")
