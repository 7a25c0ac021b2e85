"""How many messages of which queue are where on Redis, and delayed ones back into their queues."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.redis_link import pack
from celerylite.brokers.redis_lua import Script
from celerylite.brokers.values import QueueStats, Waiting
from celerylite.message import json_loads

if TYPE_CHECKING:
    from celerylite.brokers.redis_looking_after import LookingAfter

#: Entries that are looked at or moved in one step, so that the server is not kept from its other work.
STEP = 1000
#: Delayed messages that are looked at for those of some queues.
LOOK_MOST = 10_000


def queue_stats(broker: LookingAfter, queues: Iterable[str]) -> list[QueueStats]:
    """Of these queues, and of all others of which something is delayed, held or set aside."""
    queue_of = broker.layout.queue_of
    delayed, held = Counter[str](), Counter[str]()
    for list_key, count in _delayed(broker):
        delayed[queue_of(list_key)] += count
    held.update(map(queue_of, _held(broker)))
    held.update(_held_by_celery(broker))
    dead = Counter(json.loads(record)["queue"] for record in broker._dead_records(0))
    wanted = list(dict.fromkeys(queues))
    others = {*delayed, *held, *dead}.difference(wanted)
    return [
        QueueStats(name, broker.queue_length(name), delayed[name], held[name], dead[name])
        for name in (*wanted, *sorted(others))
    ]


def live_consumers(broker: LookingAfter) -> int:
    """How many task processes of celerylite's live on this database."""
    return _ask(broker, b"ZCOUNT", broker.key(scripts.LEASES), b"(%f" % time.time(), b"+inf")


def delayed(broker: LookingAfter, queues: Iterable[str], limit: int) -> list[Waiting]:
    """The delayed messages of these queues among the first ones of the set."""
    wanted, found = set(queues), list[Waiting]()
    for start in range(0, LOOK_MOST, STEP):
        end = start + STEP - 1
        entries = _ask(broker, b"ZRANGE", broker.key(scripts.DELAYED), b"%d" % start, b"%d" % end, b"WITHSCORES")
        for member, due in zip(entries[::2], entries[1::2], strict=True):
            list_key, raw = member.split(b"\0", 1)
            queue = broker.layout.queue_of(list_key)
            if queue in wanted:
                found.append(Waiting(queue, raw, float(due)))
                if len(found) == limit:
                    return found
        if len(entries) < 2 * STEP:
            break
    return found


def held(broker: LookingAfter, consumer_ids: Iterable[str]) -> dict[str, list[Waiting]]:
    """What consumers hold: the fields of their hashes, `<number>[r]`, NUL, list."""
    found: dict[str, list[Waiting]] = {}
    for ident in consumer_ids:
        key = ident.encode("utf-8", "surrogateescape")
        fields = _ask(broker, b"HGETALL", broker.key(scripts.HELD) + key)
        messages = []
        for tag, raw in zip(fields[::2], fields[1::2], strict=True):
            number, list_key = tag.split(b"\0", 1)
            messages.append(Waiting(broker.layout.queue_of(list_key), raw, number=int(number.rstrip(b"r"))))
        found[ident] = sorted(messages, key=lambda message: message.number)
    return found


def release_delayed(broker: LookingAfter) -> int:
    """Move all delayed messages to the ends of their queues, the earliest first; returns how many."""
    released = 0
    while moved := _script(broker, scripts.UNDELAY, scripts.DELAYED, STEP):
        released += moved
    return released


def _delayed(broker: LookingAfter) -> Iterator[tuple[bytes, int]]:
    start, seen = 0, STEP
    while seen == STEP:
        seen, *counts = _script(broker, scripts.COUNT_DELAYED, scripts.DELAYED, start, STEP)
        yield from zip(counts[::2], counts[1::2], strict=True)
        start += STEP


def _held(broker: LookingAfter) -> Iterator[bytes]:
    """The lists of all messages that consumers of ours have in hand."""
    for ident in _ask(broker, b"ZRANGE", broker.key(scripts.LEASES), b"0", b"-1"):
        for field in _ask(broker, b"HKEYS", broker.key(scripts.HELD) + ident):
            yield field.split(b"\0", 1)[1]
        for _ in range(_ask(broker, b"LLEN", broker.key(scripts.INBOX) + ident)):
            yield ident.split(b"@", 1)[1]


def _held_by_celery(broker: LookingAfter) -> Iterator[str]:
    """The queues, as far as their routing keys say, of what Celery's workers have noted down."""
    key, cursor = broker.key(broker.layout.unacked_key), b"start"
    while cursor != b"0":
        cursor, found = _ask(broker, b"HSCAN", key, b"0" if cursor == b"start" else cursor, b"COUNT", b"100")
        for note in found[1::2]:
            yield str(json_loads(note)[2])


def _script(broker: LookingAfter, script: Script, key: str, *args: int) -> Any:
    return _ask(broker, b"EVALSHA", script.sha, b"1", broker.key(key), *(b"%d" % arg for arg in args))


def _ask(broker: LookingAfter, *words: bytes) -> Any:
    return broker._call([pack(*words)])[0]
