"""Notebooks on a Redis Cluster, and what is published with a note though its queue is in another slot.

A claim writes the note and lays its messages into an outbox, in one script. Whoever made it delivers them, and any
worker's housekeeping those that were left there. Delivering is guarded by a key in the queue's own slot, so that
each message arrives once, however many deliver it and however often.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers.envelope import encode
from celerylite.brokers.redis_cluster_layout import DELIVERED, OUTBOX
from celerylite.brokers.redis_link import pack
from celerylite.brokers.redis_lua import Script
from celerylite.brokers.redis_notebook import call, key_of
from celerylite.brokers.redis_scripts import DELAYED
from celerylite.brokers.values import Claim
from celerylite.utils.uuids import uuid

if TYPE_CHECKING:
    from celerylite.brokers.redis_cluster_broker import ClusterBroker
    from celerylite.message import Message

#: Seconds for which it is remembered that an entry was delivered: longer than anybody may take between reading it and
#: delivering it.
REMEMBER = 3600

#: One claim. KEYS: notebook, outbox. ARGV: note, seen ('' none), value, then name and entry for each message. Returns
#: 1 where that is done, nothing where it was done before, else what the note says.
CLAIM_APART = Script("""
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if found == ARGV[3] then return false end
if found ~= ARGV[2] then return found end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
""")

#: Deliver an entry of the outbox. KEYS: what remembers it, list, delayed. ARGV: due ('' at once), message. Returns 1
#: where that was not done before.
DELIVER = Script(f"""
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', {REMEMBER}) then return 0 end
if ARGV[1] == '' then redis.call('LPUSH', KEYS[2], ARGV[2])
else redis.call('ZADD', KEYS[3], ARGV[1], KEYS[2] .. '\\0' .. ARGV[2]) end
return 1
""")


def publish_once(broker: ClusterBroker, claims: Sequence[Claim]) -> list[bytes | None]:
    """All claims in one trip; the messages of those that are won are on their way on return."""
    outbox = broker.key(OUTBOX)
    commands: list[bytes] = []
    entries: list[list[tuple[bytes, bytes]]] = []
    others: list[list[Message]] = []
    for claim in claims:
        mine, fan_out = _entries(broker, claim)
        words = [part for entry in mine for part in entry]
        note = (claim.field.encode("utf-8", "surrogateescape"), claim.seen or b"", claim.value)
        commands.append(
            pack(b"EVALSHA", CLAIM_APART.sha, b"2", key_of(broker, claim.book), outbox, *note, *words)
        )
        entries.append(mine)
        others.append(fan_out)
    answers = call(broker, commands)
    deliver(broker, [entry for answer, mine in zip(answers, entries, strict=True) if answer == 1 for entry in mine])
    if None in answers:
        deliver_rest(broker)  # of a claim whose answer was lost
    answers = [None if answer == 1 else answer for answer in answers]
    copies = [message for answer, some in zip(answers, others, strict=True) if answer is None for message in some]
    if copies:
        broker.publish_many(copies)
    return answers


def _entries(broker: ClusterBroker, claim: Claim) -> tuple[list[tuple[bytes, bytes]], list[Message]]:
    """What goes to the outbox, and the messages for fan-out exchanges, which are nobody's list."""
    entries: list[tuple[bytes, bytes]] = []
    fan_out: list[Message] = []
    for message in claim.messages:
        try:
            queues = broker.queues_for(message)
        except LookupError:
            fan_out.append(message)
            continue
        due = b"" if message.due is None else repr(message.due).encode()
        for queue in queues:
            list_key = broker.list_key(queue, message.properties.get("priority"))
            name = f"{time.time():.6f}-{len(entries):04}-{uuid()}".encode()
            entries.append((name, b"\0".join((list_key, due, encode(message)))))
    return entries, fan_out


def deliver(broker: ClusterBroker, entries: Sequence[tuple[bytes, bytes]]) -> int:
    """Deliver entries of the outbox, the oldest first; those of a node that is away stay there. Returns how many."""
    done = 0
    for name, entry in sorted(entries):
        list_key, due, raw = entry.split(b"\0", 2)
        layout = broker.layout.of(broker.layout.queue_of(list_key))
        keys = (layout.key(DELIVERED) + name, list_key, layout.key(DELAYED))
        try:
            broker.cluster.call_one(pack(b"EVALSHA", DELIVER.sha, b"3", *keys, due, raw))
            broker.cluster.call_one(pack(b"HDEL", broker.key(OUTBOX), name))
        except broker.connection_errors:
            continue  # whoever looks next will try again
        done += 1
    return done


def deliver_rest(broker: ClusterBroker) -> int:
    """Deliver what somebody has left in the outbox."""
    found: Any = broker.cluster.call_one(pack(b"HGETALL", broker.key(OUTBOX)))
    return deliver(broker, list(zip(found[::2], found[1::2], strict=True)))
