"""SQLite, the embedded default: no server, one file, any number of processes of one machine.

    sqlite:///celerylite.db    sqlite:////var/lib/app/celerylite.db?timeout=10

Messages are kombu's envelopes; priorities are 0 to 9, 0 the most urgent, as on Redis. What `publish` has returned for
is on the disk. This file is the sending side; `sqlite_consumer` takes, `sqlite_keeper` keeps house.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.base import Broker, Consumer, Keeper, Notebook
from celerylite.brokers.declaring import is_plain
from celerylite.brokers.envelope import decode, encode
from celerylite.brokers.sqlite_address import parse
from celerylite.brokers.sqlite_bells import DELAYED, queue_bell
from celerylite.brokers.sqlite_chords import do_commands, drop_chord
from celerylite.brokers.sqlite_file import ERRORS, Link, database
from celerylite.brokers.sqlite_notebook import SqliteNotebook, claim_one
from celerylite.brokers.sqlite_results import write_result
from celerylite.brokers.values import Claim, DeadLetter, EndedChord, QueueStats, Settlement, Unreadable, Waiting
from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.clock import uptime
from celerylite.utils.uuids import uuid, uuids

if TYPE_CHECKING:
    from kombu.connection import Connection

    from celerylite.brokers.revoked_book import RevokedBook
    from celerylite.message import Message

#: One row of the table of messages: queue, priority, due, message.
Row = tuple[str, int, "float | None", bytes]


class SqliteBroker(Broker):
    """The sending side."""

    connection_errors = ERRORS

    def __init__(self, connection: Connection, *, worker: str = "", dead_limit: int = 10_000) -> None:
        self.connection = connection
        self.worker = worker
        self.dead_limit = dead_limit
        self.address = parse(str(connection.hostname))
        self.database = database(self.address)
        self._declared: dict[int, Any] = {}
        self._kombu_lock = threading.Lock()

    # -- sending

    def _send(self, messages: Sequence[Message]) -> None:
        rows = self.rows(messages)
        self.database.run(lambda link: self._insert(link, rows))

    def _insert(self, link: Link, rows: Sequence[Row]) -> None:
        with link:
            send_rows(link, rows)
        link.sync()

    def rows(self, messages: Sequence[Message]) -> list[Row]:
        """What is to be inserted for these messages; declares their queues."""
        rows: list[Row] = []
        for message, tag in zip(messages, uuids(len(messages)), strict=True):
            if message.queue is not None and id(message.queue) not in self._declared:
                self.declare((message.queue,))
            raw, priority = encode(message, tag=tag), level(message.properties.get("priority"))
            rows += [(queue, priority, message.due, raw) for queue in self._queues_for(message)]
        return rows

    def _queues_for(self, message: Message) -> list[str]:
        if not message.exchange:
            return [message.routing_key]
        with self._kombu_lock:
            channel = self.connection.default_channel
            kind = channel.typeof(message.exchange)
            table = channel.get_table(message.exchange)
            return list(kind.lookup(table, message.exchange, message.routing_key, message.routing_key) or ())

    def announce(self, messages: Sequence[Message]) -> int | None:
        """Put events into the queues of those that listen; most of the time nobody does, which is one look."""
        exchanges = {message.exchange for message in messages}
        bound = [row for exchange in exchanges for row in self._read(schema.BOUND_TO, (exchange,))]
        rows = [
            (queue, level(None), None, encode(message))
            for message in messages
            for exchange, routing_key, pattern, queue in bound
            if exchange == message.exchange and _matches(message.routing_key, routing_key, pattern)
        ]
        if rows:
            self.database.run(lambda link: self._drop_in(link, rows))
        return len(bound)

    def _drop_in(self, link: Link, rows: Sequence[Row]) -> None:
        with link:
            send_rows(link, rows)

    def declare(self, queues: Iterable[Any]) -> None:
        """Note where the messages of these queues go; what was declared before is not declared again."""
        queues = [queue for queue in queues if id(queue) not in self._declared]
        if not queues:
            return
        bindings = [
            (queue.exchange.name, queue.routing_key or "", "", queue.name)
            for queue in queues
            if is_plain(queue) and not queue.no_declare and queue.exchange and queue.exchange.name
        ]
        if bindings:
            self.database.run(lambda link: self._bind(link, bindings))
        with self._kombu_lock:
            for queue in queues:
                if not is_plain(queue):
                    queue.bind(self.connection.default_channel).declare()
        self._declared.update((id(queue), queue) for queue in queues)

    def _bind(self, link: Link, bindings: Sequence[tuple[str, str, str, str]]) -> None:
        missing = [row for row in bindings if not link.read(schema.IS_BOUND, row)]
        if missing:
            with link:
                link.many(schema.BIND, missing)

    # -- looking after queues

    def purge(self, queues: Iterable[str]) -> int:
        """Delete the messages that wait in these queues; returns how many."""

        def work(link: Link) -> int:
            with link:
                statement = "DELETE FROM message WHERE queue = ? AND consumer IS NULL AND due IS NULL"
                return sum(link.execute(statement, (queue,)).rowcount for queue in set(queues))

        return self.database.run(work)

    def queue_length(self, queue: str) -> int:
        """How many messages wait in the queue, those with a due time not counted."""
        statement = "SELECT count(*) FROM message WHERE queue = ? AND consumer IS NULL AND due IS NULL"
        return self._read(statement, (queue,))[0][0]

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """The messages that were set aside, newest first."""
        statement = (
            "SELECT id, reason, queue, time, worker, raw, task_id, task_name FROM dead ORDER BY number DESC LIMIT ?"
        )
        return [DeadLetter(*row) for row in self._read(statement, (limit or -1,))]

    def retry_dead(self, ids: Iterable[str] | None = None) -> int:
        """Put set-aside messages back at the end of their queues, unchanged."""
        wanted = None if ids is None else set(ids)

        def work(link: Link) -> int:
            with link:
                found = link.read("SELECT number, id, task_id, queue, priority, raw FROM dead ORDER BY number")
                chosen = [row for row in found if wanted is None or row[1] in wanted or row[2] in wanted]
                link.many("DELETE FROM dead WHERE number = ?", [row[:1] for row in chosen])
                send_rows(link, [(queue, priority, None, raw) for *_, queue, priority, raw in chosen])
            link.sync()
            return len(chosen)

        return self.database.run(work)

    def queue_stats(self, queues: Iterable[str]) -> list[QueueStats]:
        """How many messages of these queues, and of all others in the file, are where."""
        counting = (
            "SELECT queue, sum(consumer IS NULL AND due IS NULL), sum(consumer IS NULL AND due IS NOT NULL), "
            "sum(consumer IS NOT NULL) FROM message GROUP BY queue"
        )
        messages = {name: (waiting, delayed, held) for name, waiting, delayed, held in self._read(counting, ())}
        dead = dict(self._read("SELECT queue, count(*) FROM dead GROUP BY queue", ()))
        wanted = list(dict.fromkeys(queues))
        others = {*messages, *dead}.difference(wanted)
        return [
            QueueStats(name, *messages.get(name, (0, 0, 0)), dead.get(name, 0)) for name in (*wanted, *sorted(others))
        ]

    def live_consumers(self) -> int:
        """How many consumers of ours have a lease."""
        return self._read("SELECT count(*) FROM consumer WHERE lease > ?", (uptime(),))[0][0]

    def delayed(self, queues: Iterable[str], limit: int = 1000) -> list[Waiting]:
        """The rows of these queues that are not due yet."""
        names = list(queues)
        marks = ",".join("?" * len(names))
        statement = f"SELECT queue, raw, due FROM message WHERE due IS NOT NULL AND queue IN ({marks})"
        rows = self._read(f"{statement} ORDER BY due, id LIMIT ?", (*names, limit))
        return [Waiting(queue, raw, due) for queue, raw, due in rows]

    def held(self, consumer_ids: Iterable[str]) -> dict[str, list[Waiting]]:
        """The rows that consumers hold; those that were run stay until the next ones are taken."""
        statement = "SELECT queue, raw, number FROM message WHERE consumer = ? ORDER BY number"
        return {
            name: [Waiting(queue, raw, number=number) for queue, raw, number in self._read(statement, (name,))]
            for name in consumer_ids
        }

    def release_delayed(self) -> int:
        """Let all delayed messages wait in their queues as if they were due."""

        def work(link: Link) -> int:
            with link:
                return link.execute("UPDATE message SET due = NULL WHERE due IS NOT NULL AND consumer IS NULL").rowcount

        return self.database.run(work)

    def purge_dead(self) -> int:
        """Delete all messages that were set aside; returns how many."""

        def work(link: Link) -> int:
            with link:
                return link.execute("DELETE FROM dead").rowcount

        return self.database.run(work)

    def _read(self, statement: str, arguments: Sequence[Any]) -> list[Any]:
        return self.database.run(lambda link: link.read(statement, arguments))

    # -- for beat

    def notebook(self, name: str) -> Notebook:
        """The notebook of this name."""
        return SqliteNotebook(self.database, name)

    def revoked_book(self) -> RevokedBook:
        """A table of the file."""
        from celerylite.brokers.sqlite_revoked import SqliteBook  # lazy: only for revokes and workers

        return SqliteBook(self.database)

    counts_rates = True

    def rate_wait(self, name: str, period: float, *, back: bool) -> float:
        """One transaction."""
        from celerylite.brokers import sqlite_rates  # lazy: only for limits that all workers share

        return sqlite_rates.wait(self.database, name, period, back=back)

    def forget_rate(self, name: str) -> None:
        """Begin a line anew."""
        from celerylite.brokers import sqlite_rates

        sqlite_rates.forget(self.database, name)

    def publish_once(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Each claim in a transaction of its own, in order."""
        try:
            return [self._claim(claim, self.rows(claim.messages)) for claim in claims]
        except ERRORS as exc:
            from kombu.exceptions import OperationalError  # lazy: only on the way down

            raise OperationalError(str(exc)) from exc

    def _claim(self, claim: Claim, rows: Sequence[Row]) -> bytes | None:
        def work(link: Link) -> bytes | None:
            with link:
                answer, won = claim_one(link, claim)
                if won:
                    send_rows(link, rows)
            if won:
                link.sync()
            return answer

        return self.database.run(work)

    # -- the other sides

    def preload(self) -> None:
        """Import what the processes of a worker will use, before they are forked."""
        # Lazy: those who only send need none of it.
        from celerylite.brokers import kombu_mailbox, sqlite_consumer, sqlite_keeper, sqlite_revoked  # noqa: F401

    def consumer(self, queues: Sequence[str], *, serial: bool, lease: float, **options: Any) -> Consumer:
        """Start to consume these queues."""
        from celerylite.brokers.sqlite_consumer import SqliteConsumer  # lazy: those who only send need none

        return SqliteConsumer(self, queues, serial=serial, lease=lease, **options)

    def keeper(self, queues: Sequence[str], *, lease: float) -> Keeper:
        """The housekeeping of one worker that consumes `queues`."""
        from celerylite.brokers.sqlite_keeper import SqliteKeeper  # lazy, as above

        return SqliteKeeper(self, queues, lease=lease)

    def same_server(self, backend: Any) -> bool:
        """Whether `backend` stores in this very file."""
        return getattr(backend, "sqlite_path", None) == self.address.path

    def finish_chord(self, chord: EndedChord, settlement: Settlement) -> list[Any]:
        """Send what the end of a chord sets off, unless somebody else has done so, and forget the chord."""
        rows = self.rows(settlement.messages)

        def work(link: Link) -> list[Any]:
            with link:
                ended = settle(link, settlement, rows) if drop_chord(link, chord) else []
            link.sync()
            return ended

        return self.database.run(work)

    def bury(self, link: Link, raw: bytes, queue: str, priority: int, reason: str) -> None:
        """Within a transaction: set a message aside."""
        try:
            headers = decode(raw).headers
        except Unreadable:
            headers = {}
        task_id, name = (value if isinstance(value, str) else None for value in map(headers.get, ("id", "task")))
        link.execute(
            schema.BURY, (uuid(), reason, queue, priority, time.time(), self.worker, raw, task_id, name)
        )
        link.execute(schema.TRIM_DEAD, (self.dead_limit,))

    def check(self) -> None:
        """Raise `ImproperlyConfigured` where the file cannot be opened; that another process uses it is no reason."""
        try:
            self.database.run(lambda link: link.version())
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) and "full" not in str(exc):
                raise ImproperlyConfigured(str(exc)) from exc

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        self.database.close()
        self.connection.release()


def send_rows(link: Link, rows: Sequence[Row]) -> None:
    """Within a transaction: insert messages, and have those woken who wait for them."""
    link.many(schema.SEND, rows)
    for queue, _, due, _ in rows:
        link.ring(queue_bell(queue) if due is None else DELAYED)


def settle(link: Link, settlement: Settlement, rows: Sequence[Row]) -> list[Any]:
    """Within a transaction: what a task leaves behind, `rows` being its messages; returns the chords that it ended."""
    store = settlement.store
    if store is not None:
        write_result(link, store.key, store.record, getattr(store.record, "state", ""), store.ttl)
    ended = do_commands(link, settlement.commands) if settlement.commands else []
    if rows:
        send_rows(link, rows)
    return ended


def _matches(sent: str, routing_key: str, pattern: str) -> bool:
    """Whether a binding of a topic exchange is meant; kombu keeps its routing key as a pattern too."""
    return sent == routing_key or bool(pattern and re.match(pattern, sent))


def level(priority: int | None) -> int:
    """A message's priority as it is sorted by."""
    return min(9, max(0, priority or 0))

