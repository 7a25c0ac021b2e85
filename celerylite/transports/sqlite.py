"""kombu on an SQLite file: remote control, events and kombu's own consumers, beside celerylite's task plane.

    sqlite:///celerylite.db    Connection("sqlite:////abs/file.db", transport="celerylite.transports.sqlite:Transport")

Features: direct, topic and fan-out exchanges, priorities (0 the most urgent), queues that expire, waiting without
polling. What kombu's consumers have not acknowledged is restored when their channel closes, and lost when their process
is killed, as with kombu's other virtual transports; celerylite's workers do not take tasks by this way.
"""

from __future__ import annotations

import socket
import sqlite3
import time
from queue import Empty
from typing import Any

from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.utils.json import dumps, loads

from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.sqlite import level, send_rows
from celerylite.brokers.sqlite_address import parse
from celerylite.brokers.sqlite_bells import POLL, SAFETY, Ear, queue_bell
from celerylite.brokers.sqlite_file import Database, Link, database
from celerylite.brokers.sqlite_upkeep import drop_queues

#: Seconds that a queue which ends with its consumer outlives a consumer that was killed.
LIFETIME = 60.0
#: Parts of a queue's lifetime between two signs that it is in use.
SIGNS = 3
TRANSIENT = 1


class Channel(virtual.Channel):
    """A channel: queues and bindings are rows of the file."""

    supports_fanout = True
    #: How many queues the last message to a fan-out exchange went to.
    fanned_out: int | None = None

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._sign_at = 0.0
        self._auto_delete: set[str] = set()

    @property
    def _file(self) -> Database:
        return self.connection.database

    # -- messages

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self._put_many((queue,), message)

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **kwargs: Any) -> None:
        queues = [queue for _, _, queue in self.get_table(exchange)]
        self.fanned_out = len(queues)
        self._put_many(queues, message, sync=False)

    def _put_many(self, queues: Any, message: dict[str, Any], *, sync: bool = True) -> None:
        properties = message.get("properties") or {}
        raw = dumps(message).encode("utf-8")
        priority = level(properties.get("priority"))
        durable = sync and properties.get("delivery_mode") != TRANSIENT

        def work(link: Link) -> None:
            with link:
                send_rows(link, [(queue, priority, None, raw) for queue in queues])
            if durable:
                link.sync()

        if queues:
            self._file.run(work)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        raw = self._file.run(lambda link: _take(link, queue))
        if raw is None:
            raise Empty
        return loads(raw)

    def _size(self, queue: str) -> int:
        statement = "SELECT count(*) FROM message WHERE queue = ? AND consumer IS NULL AND due IS NULL"
        return self._file.run(lambda link: link.read(statement, (queue,)))[0][0]

    def _purge(self, queue: str) -> int:
        def work(link: Link) -> int:
            with link:
                return link.execute(
                    "DELETE FROM message WHERE queue = ? AND consumer IS NULL AND due IS NULL", (queue,)
                ).rowcount

        return self._file.run(work)

    # -- queues and bindings

    def _new_queue(self, queue: str, auto_delete: bool = False, arguments: Any = None, **kwargs: Any) -> None:
        expires = (arguments or {}).get("x-expires")
        if auto_delete or kwargs.get("exclusive"):
            self._auto_delete.add(queue)
        if expires is None and not (auto_delete or kwargs.get("exclusive")):
            return
        lifetime = LIFETIME if expires is None else expires / 1000

        def work(link: Link) -> None:
            with link:
                link.execute(
                    "INSERT OR REPLACE INTO queue (name, expires, lifetime) VALUES (?, ?, ?)",
                    (queue, time.time() + lifetime, lifetime),
                )

        self._file.run(work)

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        """`expires` and the like become arguments, as on RabbitMQ."""
        return to_rabbitmq_queue_arguments(arguments, **kwargs)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        row = (exchange, routing_key or "", pattern or "", queue or "")

        def work(link: Link) -> None:
            if not link.read(schema.IS_BOUND, row):
                with link:
                    link.execute(schema.BIND, row)

        self._file.run(work)

    def queue_unbind(
        self, queue: str, exchange: str | None = None, routing_key: str = "", arguments: Any = None, **kwargs: Any
    ) -> None:
        """Undo `queue_bind`."""
        self.state.binding_delete(queue, exchange, routing_key)

        def work(link: Link) -> None:
            with link:
                link.execute(
                    "DELETE FROM binding WHERE exchange = ? AND routing_key = ? AND queue = ?",
                    (exchange, routing_key or "", queue),
                )

        self._file.run(work)

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """The bindings of an exchange: (routing key, pattern, queue)."""
        statement = "SELECT routing_key, pattern, queue FROM binding WHERE exchange = ?"
        return self._file.run(lambda link: link.read(statement, (exchange,)))

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> None:
        """Delete a queue, its messages and its bindings, whoever has made them."""
        if if_empty and self._size(queue):
            return

        def work(link: Link) -> None:
            with link:
                drop_queues(link, [queue])

        self._file.run(work)
        self._file.bells.remove(queue_bell(queue))
        self.state.queue_bindings_delete(queue)
        self._auto_delete.discard(queue)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        statement = (
            "SELECT 1 FROM queue WHERE name = ?1 UNION ALL SELECT 1 FROM binding WHERE queue = ?1 "
            "UNION ALL SELECT 1 FROM message WHERE queue = ?1 LIMIT 1"
        )
        return bool(self._file.run(lambda link: link.read(statement, (queue,))))

    def basic_cancel(self, consumer_tag: str) -> None:
        """Cancel a consumer; a queue that was made for it goes with it."""
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue in self._auto_delete and queue not in self._active_queues:
            self.queue_delete(queue)

    # -- waiting

    def active_queues(self) -> list[str]:
        """The queues that are consumed."""
        return self._active_queues

    def sign(self) -> None:
        """Say of the queues that expire that they are in use."""
        now = time.time()
        if now < self._sign_at or not self._active_queues:
            return

        def work(link: Link) -> float:
            marks = ",".join("?" * len(self._active_queues))
            shortest = link.read(
                f"SELECT min(lifetime) FROM queue WHERE name IN ({marks})", tuple(self._active_queues)
            )[0][0]
            if shortest is not None:
                with link:
                    link.execute(
                        f"UPDATE queue SET expires = ? + lifetime WHERE name IN ({marks})", (now, *self._active_queues)
                    )
            return shortest or LIFETIME

        self._sign_at = now + self._file.run(work) / SIGNS


def _take(link: Link, queue: str) -> bytes | None:
    """The next message of a queue, deleted."""
    if not link.read(schema.WAITING, (queue, 1)):
        return None
    with link:
        rows = link.read(schema.WAITING, (queue, 1))
        if not rows:
            return None
        link.execute("DELETE FROM message WHERE id = ?", (rows[0][1],))
        return rows[0][2]


class Transport(virtual.Transport):
    """The transport: its connections are the file."""

    Channel = Channel

    can_parse_url = True
    default_port = None
    driver_type = "sqlite"
    driver_name = "sqlite3"
    connection_errors: Any = (*virtual.Transport.connection_errors, sqlite3.OperationalError, OSError)
    implements = virtual.Transport.implements.extend(exchange_type=frozenset(("direct", "topic", "fanout")))

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.database = database(parse(str(client.hostname)))
        self._ear: Ear | None = None
        self._heard: list[str] = []
        self._woken = False

    def establish_connection(self) -> Any:
        """Open the file, so that what is wrong with it shows here."""
        self.database.run(lambda link: link.version())
        return super().establish_connection()

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Hand out one message; raises `socket.timeout` when none has come in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                self.cycle.get(self._deliver, timeout=timeout)  # type: ignore[union-attr]
                return
            except Empty:
                pass
            left = SAFETY if deadline is None else deadline - time.monotonic()
            if left <= 0 or self._woken:
                self._woken = False
                raise socket.timeout  # noqa: UP041 (kombu's callers know it by this name)
            for channel in self.channels:
                channel.sign()
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        """Wait for a message; the first time only listen, and let the caller look again."""
        queues = sorted({queue for channel in self.channels for queue in channel.active_queues()})
        if self._ear is None or queues != self._heard:
            self._deafen()
            self._ear, self._heard = Ear(self.database.bells, map(queue_bell, queues)), queues
            self._ear.hush()
            return
        self._ear.wait(min(seconds, POLL if self._ear.deaf else SAFETY))
        self._ear.hush()

    def wake(self) -> None:
        """Make a waiting `drain_events` return as if its time were up; any thread may call."""
        self._woken = True
        for queue in self._heard:
            self.database.bells.ring_once(queue_bell(queue))

    def _deafen(self) -> None:
        if self._ear is not None:
            self._ear.close()
            self._ear = None

    def close_connection(self, connection: Any) -> None:
        """Close the channels; the file stays open for the others of this process."""
        self._deafen()
        super().close_connection(connection)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL; there are no passwords."""
        return self.database.address.url

    def driver_version(self) -> str:
        """SQLite's."""
        return sqlite3.sqlite_version
