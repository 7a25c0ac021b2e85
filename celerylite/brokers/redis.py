"""Redis, the fast path: kombu's queues and envelopes, with atomic takes, leases and a delayed set of our own.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]    rediss://…    redis+socket:///PATH    sentinel://HOST:PORT;sentinel://…

Options (`broker_transport_options`) are kombu's: `global_keyprefix`, `socket_timeout`, `socket_connect_timeout`, `master_name`, …
This file is the sending side; `redis_consumer` takes, `redis_keeper` looks after leases and due messages.
"""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from base64 import b64decode, b64encode
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.base import Broker, Consumer, DeadLetter, Keeper, Unreadable
from celerylite.brokers.envelope import decode, encode
from celerylite.brokers.redis_link import REPLY_TIMEOUT, Link, LinkError, ReplyError, pack
from celerylite.utils import uuid

if TYPE_CHECKING:
    from kombu import Connection

    from celerylite.message import Message

#: Seconds after which an idle connection is looked at before it is used.
IDLE_CHECK = 1.0
CONNECT_TIMEOUT = 4.0


def after_fork(method: Callable[[], None]) -> None:
    """Call a bound method in every forked child, as long as its object lives."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        bound = reference()
        if bound is not None:
            bound()

    os.register_at_fork(after_in_child=call)


class Connector:
    """Opens connections to the server that a kombu URL names, the next one of a failover list when one is down."""

    def __init__(self, connection: Connection) -> None:
        options = connection.transport_options
        self.timeout = options.setdefault("socket_timeout", None) or REPLY_TIMEOUT
        options["socket_timeout"] = self.timeout
        options.setdefault("socket_connect_timeout", CONNECT_TIMEOUT)
        # One try at a time: how often and when to try again is decided by who needs the connection.
        options.update(max_retries=1, interval_start=0, interval_step=0, interval_max=0)
        self.connection = connection
        self.prefix: str = options.get("global_keyprefix") or ""
        self._pool: Any = None
        self._lock = threading.Lock()

    @property
    def db(self) -> int:
        """The database's number."""
        host = self.connection.virtual_host
        return int(str(host).strip("/") or 0) if host else 0

    def channel(self) -> Any:
        """A kombu channel, for what is not on the fast path (declaring, fan-out)."""
        return self.connection.default_channel

    def open(self) -> Any:
        """A fresh, connected redis-py connection with the scripts loaded; raises `LinkError`."""
        from redis.exceptions import RedisError

        try:
            with self._lock:
                pool = self._pool = self._pool or self._make_pool()
            connection = pool.connection_class(**_plain(pool.connection_kwargs))
            connection.connect()
            for script in scripts.ALL:
                connection.send_command("SCRIPT", "LOAD", script.source)
            for _ in scripts.ALL:
                connection.read_response()
        except (OSError, RedisError, *self.connection.connection_errors) as exc:
            self._next_server()
            raise LinkError(f"cannot connect to {self.connection.as_uri()}: {exc}") from exc
        return connection

    def _make_pool(self) -> Any:
        return self.channel().pool

    def _next_server(self) -> None:
        with self._lock:
            self._pool = None
            self.connection.collect()
            self.connection.maybe_switch_next()

    def close(self) -> None:
        """Let go of kombu's connection; the links close themselves."""
        self.connection.close()


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options for a connection that speaks RESP 2: half the work for the reader, and what the oldest servers know."""
    return {**{name: value for name, value in options.items() if not name.startswith("maint_")}, "protocol": 2}


class RedisBroker(Broker):
    """The sending side on Redis. Threads each borrow a link; a forked child starts with none."""

    connection_errors = (LinkError, OSError)

    def __init__(self, connection: Connection, *, worker: str = "", dead_limit: int = 10_000) -> None:
        self.connector = Connector(connection)
        self.worker = worker
        self.dead_limit = dead_limit
        self._idle: list[tuple[float, Link]] = []
        self._declared: set[Any] = set()
        self._kombu_lock = threading.Lock()
        after_fork(self._after_fork)

    # -- keys

    def key(self, name: str) -> bytes:
        """A key's name on the server, with the global prefix."""
        return (self.connector.prefix + name).encode()

    def list_key(self, queue: str, priority: int | None = 0) -> bytes:
        """The list in which messages of this priority wait."""
        step = _step(priority)
        return self.key(f"{queue}{scripts.SEPARATOR}{step}" if step else queue)

    def list_keys(self, queue: str) -> list[bytes]:
        """All lists of a queue, the most urgent first."""
        return [self.list_key(queue, step) for step in scripts.PRIORITY_STEPS]

    # -- sending

    def _send(self, messages: Sequence[Message]) -> None:
        commands: list[bytes] = []
        for message in messages:
            queues = self._queues_for(message)
            if queues is None:
                self._send_by_kombu(message)
            else:
                commands.extend(pack(*self.command_for(message, queue)) for queue in queues)
        if commands:
            self._call(commands)

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

    def queues_for(self, message: Message) -> list[str]:
        """The queues to which the message goes; fan-out exchanges are not queues and raise `LookupError`."""
        queues = self._queues_for(message)
        if queues is None:
            raise LookupError(f"exchange {message.exchange!r} is a fan-out")
        return queues

    def _queues_for(self, message: Message) -> list[str] | None:
        if message.queue is not None and message.queue not in self._declared:
            self._declare(message.queue)
        if not message.exchange:
            return [message.routing_key]
        with self._kombu_lock, _kombu_errors(self.connector):
            channel = self.connector.channel()
            kind = channel.typeof(message.exchange)
            if kind.type == "fanout":
                return None
            table = channel.get_table(message.exchange)
            return kind.lookup(table, message.exchange, message.routing_key, message.routing_key) or []

    def _declare(self, queue: Any) -> None:
        with self._kombu_lock, _kombu_errors(self.connector):
            queue.bind(self.connector.channel()).declare()
        self._declared.add(queue)

    def _send_by_kombu(self, message: Message) -> None:
        with self._kombu_lock, _kombu_errors(self.connector):
            from kombu import Producer

            Producer(self.connector.channel(), auto_declare=False).publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers=message.headers,
                **{key: value for key, value in message.properties.items() if key != "delivery_info"},
            )

    def _call(self, commands: Sequence[bytes]) -> list[Any]:
        link = self._borrow()
        try:
            replies = link.call_many(commands)
        except ReplyError:
            self._idle.append((time.monotonic(), link))
            raise
        except BaseException:
            link.close()  # half an answer may be under way: nobody may use it again
            raise
        self._idle.append((time.monotonic(), link))
        return replies

    def _borrow(self) -> Link:
        try:
            since, link = self._idle.pop()
        except IndexError:
            return self.new_link()
        if time.monotonic() - since > IDLE_CHECK and link.readable(0):
            link.drop()  # nothing was asked, so this is the server's goodbye
        return link

    def new_link(self) -> Link:
        """A connection for one thread."""
        return Link(self.connector.open, timeout=self.connector.timeout)

    # -- looking after queues

    def purge(self, queues: Iterable[str]) -> int:
        """Delete the messages that wait in these queues; returns how many."""
        keys = [key for queue in queues for key in self.list_keys(queue)]
        if not keys:
            return 0
        lengths = self._call([pack(b"MULTI"), *(pack(b"LLEN", key) for key in keys), pack(b"DEL", *keys), pack(b"EXEC")])
        return sum(lengths[-1][:-1])

    def queue_length(self, queue: str) -> int:
        """How many messages wait in the queue, over all priorities."""
        return sum(self._call([pack(b"LLEN", key) for key in self.list_keys(queue)]))

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """The messages that were set aside, newest first."""
        return [_letter(record) for record in self._dead_records(limit)]

    def _dead_records(self, limit: int) -> list[bytes]:
        return self._call([pack(b"LRANGE", self.key(scripts.DEAD), b"0", b"%d" % (limit - 1))])[0]

    def retry_dead(self, ids: Iterable[str] | None = None) -> int:
        """Put set-aside messages back at the end of their queues, unchanged."""
        wanted = None if ids is None else set(ids)
        moved = 0
        for record in reversed(self._dead_records(0)):
            letter = _letter(record)
            if wanted is None or letter.id in wanted or letter.task_id in wanted:
                command = pack(
                    b"EVALSHA", scripts.REVIVE.sha, b"2", self.key(scripts.DEAD), _list_of(record), record, letter.raw
                )
                moved += self._call([command])[0]
        return moved

    def purge_dead(self) -> int:
        """Delete all messages that were set aside."""
        key = self.key(scripts.DEAD)
        return self._call([pack(b"MULTI"), pack(b"LLEN", key), pack(b"DEL", key), pack(b"EXEC")])[-1][0]

    # -- the other sides

    def consumer(self, queues: Sequence[str], *, serial: bool, lease: float, **options: Any) -> Consumer:
        """Start to consume these queues."""
        from celerylite.brokers.redis_consumer import RedisConsumer

        return RedisConsumer(self, queues, serial=serial, lease=lease, **options)

    def keeper(self, queues: Sequence[str], *, lease: float) -> Keeper:
        """The housekeeping of one worker that consumes `queues`."""
        from celerylite.brokers.redis_keeper import RedisKeeper

        return RedisKeeper(self, queues, lease=lease)

    def same_server(self, backend: Any) -> bool:
        """Whether `backend` stores on this very server (any database of it)."""
        here = self.connector.connection
        params = getattr(backend, "connparams", None)
        if not isinstance(params, dict) or here.alt and len(here.alt) > 1:
            return False
        return (params.get("host"), params.get("port")) == (here.hostname or "127.0.0.1", here.port or 6379)

    def dead_record(self, raw: bytes, list_key: bytes, reason: str) -> bytes:
        """What is kept of a message that is set aside."""
        try:
            headers = decode(raw).headers
        except Unreadable:
            headers = {}
        task_id, task_name = (value if isinstance(value, str) else None for value in map(headers.get, ("id", "task")))
        queue = list_key.decode("utf-8", "replace")[len(self.connector.prefix) :].split(scripts.SEPARATOR)[0]
        record = {
            "id": uuid(), "reason": reason, "queue": queue, "time": time.time(), "worker": self.worker,
            "list": list_key.decode("utf-8", "surrogateescape"), "raw": b64encode(raw).decode("ascii"),
            "task_id": task_id, "task_name": task_name,
        }  # fmt: skip
        return json.dumps(record).encode()

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        idle, self._idle = self._idle, []
        for _, link in idle:
            link.close()
        self.connector.close()

    def _after_fork(self) -> None:
        """The parent's sockets are not ours: forget them without a word to the server."""
        self._idle = []
        self._declared = set()
        self._kombu_lock = threading.Lock()
        self.connector = Connector(self.connector.connection.clone())


class _kombu_errors:
    """Turns what kombu raises for a broken connection into `LinkError`, and starts it anew."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, exc: BaseException | None, trace: Any) -> None:
        connection = self._connector.connection
        from kombu.exceptions import OperationalError

        errors = (OperationalError, *connection.connection_errors, *connection.channel_errors)
        if isinstance(exc, errors):
            connection.collect()
            raise LinkError(str(exc)) from exc


def _step(priority: int | None) -> int:
    if not priority:
        return 0
    return scripts.PRIORITY_STEPS[max(0, bisect(scripts.PRIORITY_STEPS, priority) - 1)]


def _letter(record: bytes) -> DeadLetter:
    fields = json.loads(record)
    fields["raw"] = b64decode(fields["raw"])
    fields.pop("list")
    return DeadLetter(**fields)


def _list_of(record: bytes) -> bytes:
    return json.loads(record)["list"].encode("utf-8", "surrogateescape")
