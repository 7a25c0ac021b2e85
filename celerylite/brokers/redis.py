"""Redis, the fast path: kombu's queues and envelopes, with atomic takes, leases and a delayed set of our own.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]    rediss://…    redis+socket:///PATH    sentinel://HOST:PORT;sentinel://…

Options (`broker_transport_options`) are kombu's: `global_keyprefix`, `socket_timeout`, `socket_connect_timeout`,
`master_name`, … This file is the sending side; `redis_looking_after` tells what is in the queues, `redis_consumer`
takes, `redis_keeper` looks after leases and due messages.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.base import Consumer, Keeper, Notebook, Stream
from celerylite.brokers.declaring import is_plain
from celerylite.brokers.envelope import encode
from celerylite.brokers.redis_connector import Connector
from celerylite.brokers.redis_layout import Layout
from celerylite.brokers.redis_link import LinkError, ReplyError, pack
from celerylite.brokers.redis_looking_after import LookingAfter
from celerylite.brokers.redis_settling import finish_command
from celerylite.brokers.values import Claim, EndedChord, Settlement
from celerylite.message import publish_with
from celerylite.utils.forks import after_fork
from celerylite.utils.uuids import uuids

if TYPE_CHECKING:
    from kombu.connection import Connection

    from celerylite.brokers.mailbox import Address, Mailbox
    from celerylite.brokers.revoked_book import RevokedBook
    from celerylite.message import Message

#: Where kombu notes which queues are bound to an exchange; the second set is for those that do not expire.
BINDINGS = ("_kombu.binding.", "_kombu.binding_permanent.")

#: How many names of keys and queues are kept; some projects make queues all the time.
KEYS = 4096


class RedisBroker(LookingAfter):
    """The sending side on Redis. Threads each borrow a link; a forked child starts with none."""

    connection_errors = (LinkError, OSError)
    #: Whether the servers are a Redis Cluster.
    clustered = False

    def __init__(self, connection: Connection, *, worker: str = "", dead_limit: int = 10_000) -> None:
        self.connector = Connector(connection)
        self._lay_out(Layout.from_options(connection.transport_options or {}))
        #: Fan-out queues that this worker subscribes to, by name.
        self.fanouts: dict[str, Any] = {}
        #: Fan-out exchange → the channels on which the app's queues listen to it.
        self._topics: dict[str, list[bytes]] | None = None
        self.worker = worker
        self.dead_limit = dead_limit
        #: Where results are stored, if on this server: prefixes of keys, which are channels too.
        self.results: tuple[bytes, ...] = ()
        self._idle = []
        #: By their `id`: hashing a kombu queue costs more than writing a message.
        self._declared: dict[int, Any] = {}
        self._kombu_lock = threading.Lock()
        after_fork(self._after_fork)

    def _lay_out(self, layout: Layout) -> None:
        self.layout = layout
        self.key = self.layout.key
        # Asked several times a task: 0.1 µs each instead of 2.
        self.list_key = lru_cache(KEYS)(self.layout.list_key)
        self.queue_of = lru_cache(KEYS)(self.layout.queue_of)
        self.list_keys = self.layout.list_keys

    def subscribe(self, queues: Iterable[Any]) -> None:
        """Of these queues (kombu's), have a list of our own for each that is bound to a fan-out exchange."""
        self.fanouts = {queue.name: queue for queue in queues if queue.exchange and queue.exchange.type == "fanout"}
        self._lay_out(replace(self.layout, private=frozenset(self.fanouts), owner=self.worker))

    # -- sending

    def _send(self, messages: Sequence[Message]) -> None:
        plain = self.push_commands(messages) if len(messages) == 1 else None
        if plain:
            self._call(plain)
            return
        declaring: list[bytes] = []
        commands: list[bytes] = []
        pushes: dict[bytes, list[bytes]] = {}
        for message, tag in zip(messages, uuids(len(messages)), strict=True):
            if message.queue is not None and id(message.queue) not in self._declared:
                declaring += self._declaration(message.queue)
            if topics := self.topics(message.exchange):
                raw = encode(message, tag=tag)
                commands += [pack(b"PUBLISH", topic, raw) for topic in topics]
                continue
            queues = self._queues_for(message)
            if queues is None:
                self._send_by_kombu(message)
            elif message.due is None:
                raw = encode(message, tag=tag)
                for queue in queues:
                    pushes.setdefault(self.list_key(queue, message.properties.get("priority")), []).append(raw)
            else:
                commands += [pack(*self.command_for(message, queue)) for queue in queues]
        commands += _pushing(pushes)
        if commands or declaring:
            try:
                self._call(declaring + commands)
            except ReplyError as exc:
                from celerylite.brokers.redis_access import refused_to_send  # lazy: only on the way down

                raise refused_to_send(exc, self, pushes) from exc
        for message in messages:
            if message.queue is not None:
                self._declared[id(message.queue)] = message.queue

    def push_commands(self, messages: Sequence[Message]) -> list[bytes]:
        """The commands that send the messages; none unless all go straight to queues that are declared, at once."""
        pushes: dict[bytes, list[bytes]] = {}
        declared = self._declared
        for message, tag in zip(messages, uuids(len(messages)), strict=True):
            queue = message.queue
            if message.exchange or message.due is not None or (queue is not None and id(queue) not in declared):
                return []
            key = self.list_key(message.routing_key, message.properties.get("priority"))
            raw = encode(message, tag=tag)
            if key in pushes:
                pushes[key].append(raw)
            else:
                pushes[key] = [raw]
        return _pushing(pushes)

    def stream(self) -> Stream:
        """For sending many batches."""
        from celerylite.brokers.redis_stream import RedisStream  # lazy: most processes send one by one

        return RedisStream(self)

    def command_for(self, message: Message, queue: str, *, later: bool = False) -> tuple[bytes, ...]:
        """The command that sends `message`; `later` is said by workers, which promote due messages themselves."""
        key = self.list_key(queue, message.properties.get("priority"))
        raw = encode(message)
        if message.due is None:
            return (b"LPUSH", key, raw)
        due = repr(message.due).encode()
        if later:
            return (b"ZADD", self.key(scripts.DELAYED), due, key + b"\0" + raw)
        keys = (self.key(scripts.LEASES), self.key(scripts.DELAYED), key)
        return (b"EVALSHA", scripts.SEND_LATER.sha, b"3", *keys, due, raw)

    def commands_for(self, message: Message) -> list[tuple[bytes, ...]]:
        """What a worker sends a message with, to wherever its exchange leads."""
        if topics := self.topics(message.exchange):
            raw = encode(message)
            return [(b"PUBLISH", topic, raw) for topic in topics]
        return [self.command_for(message, queue, later=True) for queue in self.queues_for(message)]

    def topics(self, exchange: str) -> list[bytes]:
        """The channels of a fan-out exchange to which queues of the app are bound; none for other exchanges.

        As with AMQP, the routing key of a message does not matter; kombu's does, so we speak for every binding.
        """
        if not exchange:
            return []
        if self._topics is None:
            self._topics = {}
            for queue in self.known_queues():
                if queue.exchange and queue.exchange.type == "fanout":
                    topic = self.layout.topic(queue.exchange.name, queue.routing_key or "", self.connector.db)
                    found = self._topics.setdefault(queue.exchange.name, [])
                    found += [] if topic in found else [topic]
        return self._topics.get(exchange, [])

    def queues_for(self, message: Message) -> list[str]:
        """The queues to which the message goes; fan-out exchanges are not queues and raise `LookupError`."""
        if message.queue is not None:
            self.declare((message.queue,))
        queues = self._queues_for(message)
        if queues is None:
            raise LookupError(f"exchange {message.exchange!r} is a fan-out")
        return queues

    def _queues_for(self, message: Message) -> list[str] | None:
        if not message.exchange:
            return [message.routing_key]
        with self._kombu_lock, self.connector.kombu_errors():
            channel = self.connector.channel()
            kind = channel.typeof(message.exchange)
            if kind.type == "fanout":
                return None
            table = channel.get_table(message.exchange)
            return kind.lookup(table, message.exchange, message.routing_key, message.routing_key) or []

    def declare(self, queues: Iterable[Any]) -> None:
        """Tell producers of any kind where the messages of these queues go; what was declared before is not again."""
        queues = [queue for queue in queues if id(queue) not in self._declared]
        commands = [command for queue in queues for command in self._declaration(queue)]
        if commands:
            self._call(commands)
        self._declared.update((id(queue), queue) for queue in queues)

    def _declaration(self, queue: Any) -> list[bytes]:
        """The commands that declare a queue; those that only kombu knows to declare are declared at once."""
        exchange = queue.exchange
        if not is_plain(queue):
            with self._kombu_lock, self.connector.kombu_errors():
                queue.bind(self.connector.channel()).declare()
            return []
        if queue.no_declare or not exchange or not exchange.name:
            return []
        member = self.layout.sep.join((queue.routing_key or "", "", queue.name)).encode()
        return [pack(b"SADD", self.key(name + exchange.name), member) for name in BINDINGS]

    def _send_by_kombu(self, message: Message) -> None:
        with self._kombu_lock, self.connector.kombu_errors():
            from kombu.messaging import Producer

            publish_with(Producer(self.connector.channel(), auto_declare=False), message)

    def announce(self, messages: Sequence[Message]) -> int | None:
        """Publish events where kombu's receivers listen."""
        topic, db = self.layout.topic, self.connector.db
        commands = [pack(b"PUBLISH", topic(each.exchange, each.routing_key, db), encode(each)) for each in messages]
        heard = max(self._call(commands), default=0)
        return max(1, heard) if self.clustered else heard  # a node of a cluster only counts its own clients

    # -- notebooks

    def notebook(self, name: str) -> Notebook:
        """The notebook of this name."""
        from celerylite.brokers.redis_notebook import RedisNotebook  # lazy: for beat, as the two below

        return RedisNotebook(self, name)

    def publish_once(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Each claim in one script, all of them in one trip."""
        from celerylite.brokers.redis_notebook import publish_once

        return publish_once(self, claims)

    def revoked_book(self) -> RevokedBook:
        """A sorted set."""
        from celerylite.brokers.redis_notebook import call  # lazy: only for revokes and workers
        from celerylite.brokers.redis_revoked import RedisBook

        # A worker's process reads it once: it must not keep a connection for that.
        after = self._hang_up if self.worker else None
        return RedisBook(lambda commands: call(self, commands), self.key(scripts.REVOKED), after)

    counts_rates = True

    def rate_wait(self, name: str, period: float, *, back: bool) -> float:
        """Asked of the server."""
        from celerylite.brokers import redis_rates  # lazy: only for limits that all workers share

        return redis_rates.wait(self, name, period, back=back)

    def forget_rate(self, name: str) -> None:
        """Begin a line anew."""
        from celerylite.brokers import redis_rates

        redis_rates.forget(self, name)

    def clock(self) -> float:
        """The server's time."""
        from celerylite.brokers.redis_notebook import clock

        return clock(self)

    # -- the other sides

    def preload(self) -> None:
        """Import what the processes of a worker will use, before they are forked."""
        from celerylite.brokers import (  # noqa: F401 (lazy: those who only send need none of it)
            redis_access,
            redis_consumer,
            redis_keeper,
            redis_mailbox,
            redis_notebook,
            redis_revoked,
        )

    def consumer(self, queues: Sequence[str], *, serial: bool, lease: float, **options: Any) -> Consumer:
        """Start to consume these queues."""
        from celerylite.brokers.redis_consumer import RedisConsumer

        return RedisConsumer(self, queues, serial=serial, lease=lease, **options)

    def keeper(self, queues: Sequence[str], *, lease: float) -> Keeper:
        """The housekeeping of one worker that consumes `queues`."""
        from celerylite.brokers.redis_keeper import RedisKeeper

        return RedisKeeper(self, queues, lease=lease)

    def mailbox(self, address: Address) -> Mailbox:
        """A channel of its own, without kombu."""
        from celerylite.brokers.redis_mailbox import RedisMailbox

        return RedisMailbox(self, address)

    def finish_chord(self, chord: EndedChord, settlement: Settlement) -> list[Any]:
        """Send a chord's body in one script, unless that was done before."""
        answer = self._call([finish_command(self, chord, settlement)])[0]
        return answer[1:] if isinstance(answer, list) else []

    def same_server(self, backend: Any) -> bool:
        """Whether `backend` stores on this very server (any database of it), as the same user."""
        here = self.connector.connection
        params = getattr(backend, "connparams", None)
        if not isinstance(params, dict) or self.connector.failover or self.outlet is not None:
            return False
        if (params.get("username") or None) != self.connector.username:
            return False
        address = self.connector.address
        if address is not None and address.path:
            same = params.get("path") == address.path
        else:
            same = (params.get("host"), params.get("port")) == (here.hostname or "127.0.0.1", here.port or 6379)
        if not same:
            return False
        self.results = (backend.task_keyprefix, backend.group_keyprefix)
        return True

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        self._hang_up()
        self.connector.close()

    def _after_fork(self) -> None:
        """The parent's sockets are not ours: forget them without a word to the server."""
        self._idle = []
        self._declared = {}
        self._kombu_lock = threading.Lock()
        self.connector = self.connector.for_child()


def _pushing(pushes: dict[bytes, list[bytes]]) -> list[bytes]:
    """One command a list: half the work for the server, and one reply to read instead of hundreds."""
    return [pack(b"LPUSH", key, *raws) for key, raws in pushes.items()]
