"""Redis Cluster: kombu's envelopes in lists that are tagged with their queue, so that each queue is one slot.

    redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][/]    rediss+cluster://…

Each queue is served as if it were alone on a single server (`QueueBroker`): takes, leases and delays stay within its
slot and are done by the same scripts. This file sends; consumers and keepers of many queues are beside it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers import redis_cluster_notes as notes
from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers import redis_stats
from celerylite.brokers.base import Consumer, Keeper, Stream
from celerylite.brokers.envelope import encode
from celerylite.brokers.redis import RedisBroker
from celerylite.brokers.redis_cluster import Cluster
from celerylite.brokers.redis_cluster_address import parse
from celerylite.brokers.redis_cluster_layout import QUEUES, ClusterLayout, slot_of
from celerylite.brokers.redis_connector import Connector
from celerylite.brokers.redis_link import Link, Opened, ReplyError, pack
from celerylite.brokers.values import Claim, QueueStats, Settlement, Waiting

if TYPE_CHECKING:
    from kombu.connection import Connection

    from celerylite.brokers.values import EndedChord
    from celerylite.message import Message


logger = logging.getLogger("celery.brokers.redis")

#: Seconds until what could not be noted is tried again.
NOTE_AGAIN = 10.0


class ClusterConnector(Connector):
    """kombu's side of a cluster, for what is not on the fast path (topic exchanges, queues that expire)."""

    failover = False
    db = 0

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        urls = [str(url) for url in connection.alt or ()] or [str(connection.hostname)]
        self.place = parse(";".join(urls), connection.ssl, connection.transport_options)

    @property
    def uri(self) -> str:
        """Some nodes, with the password masked."""
        return self.place.url

    @property
    def username(self) -> str | None:
        """Who we are to the nodes, where that is not their default user."""
        return self.place.username


class SlotConnector:
    """What a consumer or keeper of one queue knows of its server: the node that has the queue's slot."""

    failover = False
    db = 0

    def __init__(self, cluster: Cluster, slot: int) -> None:
        self.cluster = cluster
        self.slot = slot
        self.timeout = cluster.timeout
        self.uri = cluster.address.url
        self.username = cluster.address.username

    def open(self) -> Opened:
        """A connection to the node; raises `LinkError`."""
        return self.cluster.open_slot(self.slot)

    def close(self) -> None:
        """The links close themselves."""


class ClusterBroker(RedisBroker):
    """The sending side. Threads each borrow links; a forked child starts with none."""

    clustered = True
    connector: ClusterConnector
    layout: ClusterLayout

    def __init__(self, connection: Connection, *, worker: str = "", dead_limit: int = 10_000) -> None:
        super().__init__(connection, worker=worker, dead_limit=dead_limit)
        self.connector = ClusterConnector(connection)
        self.cluster = Cluster(self.connector.place, (*scripts.ALL, notes.CLAIM_APART, notes.DELIVER))
        self._lay_out(ClusterLayout.from_options(connection.transport_options or {}))
        #: Queues that are in the cluster's list of queues, by our own word.
        self._listed: set[str] = set()
        #: Commands that note what is not needed for sending, and when they may be tried again.
        self._notes: list[bytes] = []
        self._notes_at = 0.0

    # -- sending

    def publish_many(
        self, messages: Iterable[Message], *, retry: bool = True, policy: dict[str, Any] | None = None
    ) -> None:
        """Send messages, in one pipeline for each node: where one node is away, the others' are not sent twice."""
        batch = tuple(messages)
        if len(batch) < 2 or self.outlet is not None:
            return super().publish_many(batch, retry=retry, policy=policy)
        by_node: dict[Any, list[Message]] = {}
        for message in batch:
            by_node.setdefault(self._node_for(message), []).append(message)
        for some in by_node.values():
            super().publish_many(tuple(some), retry=retry, policy=policy)

    def _node_for(self, message: Message) -> Any:
        if message.exchange:
            return None
        try:
            return self.cluster.node_of(slot_of(self.list_key(message.routing_key)))
        except self.connection_errors:
            return None  # sending it will say so

    def _send(self, messages: Sequence[Message]) -> None:
        super()._send(messages)
        self.list_queues(message.routing_key for message in messages if not message.exchange)

    def _declaration(self, queue: Any) -> list[bytes]:
        """Nothing: what there is to note is on other nodes, and those need not be there for sending."""
        self._notes += super()._declaration(queue)
        return []

    def declare(self, queues: Iterable[Any]) -> None:
        """Tell producers of any kind where the messages of these queues go; what was declared before is not again."""
        super().declare(queues)
        self._write_notes()

    def list_queues(self, queues: Iterable[str]) -> None:
        """Have these queues in the cluster's list, for those who look after messages; later, if that is away."""
        fresh = set(queues) - self._listed
        if fresh:
            self._notes.append(pack(b"SADD", self.key(QUEUES), *map(_bytes, fresh)))
            self._listed |= fresh
        if self._notes and time.monotonic() >= self._notes_at:
            try:
                self._write_notes()
            except self.connection_errors:
                self._notes_at = time.monotonic() + NOTE_AGAIN
            except ReplyError as exc:  # our user may not
                logger.warning("Cannot list queues for `celerylite queue` and `dead`: %s", exc)
                self._notes = []

    def _write_notes(self) -> None:
        pending = list(self._notes)
        if pending:
            self._call(pending)
            del self._notes[: len(pending)]

    def listed_queues(self) -> list[str]:
        """All queues that were ever used."""
        return sorted(_text(name) for name in self.cluster.call_one(pack(b"SMEMBERS", self.key(QUEUES))))

    def command_for(self, message: Message, queue: str, *, later: bool = False) -> tuple[bytes, ...]:
        """The command that sends `message`; one for later waits for a worker of ours, as there are no others."""
        key, raw = self.list_key(queue, message.properties.get("priority")), encode(message)
        if message.due is None:
            return (b"LPUSH", key, raw)
        return (b"ZADD", self.layout.of(queue).key(scripts.DELAYED), repr(message.due).encode(), key + b"\0" + raw)

    def queues_for(self, message: Message) -> list[str]:
        """The queues to which the message goes."""
        queues = super().queues_for(message)
        self.list_queues(queues)
        return queues

    def _call(self, commands: Sequence[bytes]) -> list[Any]:
        return self.cluster.call(commands)

    def stream(self) -> Stream:
        """For sending many batches."""
        return Stream(self)

    def new_link(self) -> Link:
        """A connection for one thread, to any node: for what is published to channels."""
        return self.cluster.link(None)

    # -- notebooks

    def publish_once(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Each claim in one script; its messages are delivered from an outbox, each once."""
        return notes.publish_once(self, claims)

    # -- looking after queues

    def _everywhere(self, queues: Iterable[str] = ()) -> list[QueueBroker]:
        return [QueueBroker(self, name) for name in dict.fromkeys([*queues, *self.listed_queues()])]

    def purge(self, queues: Iterable[str]) -> int:
        """Delete the messages that wait in these queues; returns how many."""
        return sum(super(ClusterBroker, self).purge([queue]) for queue in queues)

    def _dead_records(self, limit: int) -> list[bytes]:
        found = [record for broker in self._everywhere() for record in broker._dead_records(limit)]
        found.sort(key=lambda record: json.loads(record)["time"], reverse=True)
        return found[:limit] if limit else found

    def _dead_key(self, record: bytes) -> bytes:
        return self.layout.of(json.loads(record)["queue"]).key(scripts.DEAD)

    def purge_dead(self) -> int:
        """Delete all messages that were set aside; returns how many."""
        return sum(broker.purge_dead() for broker in self._everywhere())

    def queue_stats(self, queues: Iterable[str]) -> list[QueueStats]:
        """How many messages of these queues, and of others with more than waiting ones, are where."""
        wanted = list(dict.fromkeys(queues))
        found = [redis_stats.queue_stats(broker, [broker.queue])[0] for broker in self._everywhere(wanted)]
        return [one for one in found if one.queue in wanted or one.delayed or one.held or one.dead]

    def live_consumers(self) -> int:
        """How many consumers of ours have a lease, in whichever queues."""
        names = set()
        for broker in self._everywhere():
            key = broker.key(scripts.LEASES)
            idents = self.cluster.call_one(pack(b"ZRANGEBYSCORE", key, b"(%f" % time.time(), b"+inf"))
            names |= {ident.partition(b"@")[0] for ident in idents}
        return len(names)

    def delayed(self, queues: Iterable[str], limit: int = 1000) -> list[Waiting]:
        """What waits in the delayed sets of these queues."""
        found = [one for broker in self._everywhere(queues) for one in redis_stats.delayed(broker, queues, limit)]
        return sorted(found, key=lambda one: one.due or 0.0)[:limit]

    def held(self, consumer_ids: Iterable[str]) -> dict[str, list[Waiting]]:
        """Not told: what one task process holds is spread over the slots of its queues."""
        return {}

    def release_delayed(self) -> int:
        """Put all delayed messages at the ends of their queues."""
        return sum(redis_stats.release_delayed(broker) for broker in self._everywhere())

    # -- the other sides

    def preload(self) -> None:
        """Import what the processes of a worker will use, before they are forked."""
        from celerylite.brokers import redis_cluster_consumer, redis_cluster_keeper  # noqa: F401

        super().preload()

    def consumer(self, queues: Sequence[str], *, serial: bool, lease: float, **options: Any) -> Consumer:
        """Start to consume these queues."""
        from celerylite.brokers.redis_cluster_consumer import ClusterConsumer

        return ClusterConsumer(self, queues, serial=serial, lease=lease, **options)

    def keeper(self, queues: Sequence[str], *, lease: float) -> Keeper:
        """The housekeeping of one worker that consumes `queues`."""
        from celerylite.brokers.redis_cluster_keeper import ClusterKeeper

        return ClusterKeeper(self, queues, lease=lease)

    def finish_chord(self, chord: EndedChord, settlement: Settlement) -> list[Any]:
        """Results are in other slots: never called."""
        raise NotImplementedError("A Redis Cluster keeps results and messages in different slots")

    def same_server(self, backend: Any) -> bool:
        """Never: a result has a slot of its own."""
        return False

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        super().close()
        self.cluster.close()

    def _after_fork(self) -> None:
        super()._after_fork()
        self._listed, self._notes = set(), []


class QueueBroker(RedisBroker):
    """One queue of a cluster, as its consumers and keepers see it: a broker on a single server."""

    clustered = True

    def __init__(self, cluster_broker: ClusterBroker, queue: str) -> None:
        whole = cluster_broker
        self.whole = whole
        self.queue = queue
        self.worker, self.dead_limit = whole.worker, whole.dead_limit
        self.fanouts = whole.fanouts
        self.results = ()
        self._lay_out(whole.layout.of(queue))
        slot = slot_of(self.key(""))
        self.connector: Any = SlotConnector(whole.cluster, slot)
        self._idle = []
        self._declared = {}
        self._kombu_lock = threading.Lock()

    def new_link(self) -> Link:
        """A connection for one thread, to the node that has the queue."""
        return self.whole.cluster.link(self.connector.slot)

    def _call(self, commands: Sequence[bytes]) -> list[Any]:
        return self.whole._call(commands)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
