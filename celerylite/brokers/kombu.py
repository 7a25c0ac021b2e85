"""Any kombu transport as a broker: RabbitMQ first, then filesystem, SQS, MongoDB, Pub/Sub, Kafka …

    amqp://USER:PASSWORD@HOST[:PORT]/VHOST    filesystem://    sqs://…    mongodb://…

Options (`broker_transport_options`) are kombu's. On AMQP each publish is confirmed by the server (`confirm_publish`,
true unless set otherwise; `confirm_timeout`, 30 s), and messages with an ETA wait in the server (`kombu_delays`).
This file is the sending side; `kombu_consumer` takes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celerylite.brokers.base import Broker, Consumer, Keeper
from celerylite.brokers.envelope import decode, encode
from celerylite.brokers.kombu_delays import Delays
from celerylite.brokers.kombu_port import Port
from celerylite.brokers.values import DEATHS, DeadLetter, Delivery, Unreadable
from celerylite.utils import uuid
from celerylite.utils.forks import after_fork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kombu.connection import Connection
    from kombu.entity import Queue

    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.kombu")

#: The queue of messages that were set aside.
DEAD = "celerylite.dead"
#: Where a set-aside message says why, where it came from, when and by whom.
DEAD_HEADER = "celerylite-dead"
#: Seconds after which an idle connection is looked at before it is used.
IDLE_CHECK = 1.0


class KombuBroker(Broker):
    """The sending side. Threads each borrow a port (a connection with one channel); a forked child starts with none.

    `find_queue` gives the queue that the app's settings describe under a name.
    """

    def __init__(
        self,
        connection: Connection,
        find_queue: Callable[[str], Queue],
        *,
        worker: str = "",
        dead_limit: int = 10_000,
        delay_queue_type: str = "quorum",
        eta_limit: int | None = None,
    ) -> None:
        self.connection = connection
        self.find_queue = find_queue
        self.worker = worker
        self.dead_limit = dead_limit
        #: How many messages that are not due a consumer may hold, where the server cannot delay them.
        self.eta_limit = eta_limit
        self.connection_errors = tuple(connection.connection_errors)
        #: Whatever may be raised by a channel or connection that is of no use afterwards.
        self.errors = (*self.connection_errors, *connection.channel_errors)
        self.is_amqp = connection.transport.driver_type == "amqp"
        self.delays = Delays(delay_queue_type) if self.is_amqp else None
        self._idle: list[tuple[float, Port]] = []
        #: By their `id`, as on Redis.
        self._declared: dict[int, Queue] = {}
        after_fork(self._after_fork)

    # -- ports

    def new_connection(self, heartbeat: float = 0) -> Connection:
        """A connection of its own, open; each of the URLs is tried once."""
        connection = self.connection.clone()
        connection.heartbeat = heartbeat
        tries = max(1, len(connection.alt or ()))
        connection._ensure_connection(
            max_retries=tries, interval_start=0, interval_step=0, interval_max=0, reraise_as_library_errors=False
        )
        return connection

    @contextmanager
    def port(self) -> Iterator[Port]:
        """A port for this thread; one on which something went wrong is not used again."""
        port = self._borrow()
        try:
            yield port
        except BaseException:
            port.drop()
            raise
        self._idle.append((time.monotonic(), port))

    def _borrow(self) -> Port:
        while True:
            try:
                since, port = self._idle.pop()
            except IndexError:
                return Port(self)
            if time.monotonic() - since < IDLE_CHECK or not port.is_stale():
                return port
            port.drop()

    def distrust(self) -> None:
        """A connection to the same server broke: do not wait for those that lie idle to find out, too."""
        idle, self._idle = self._idle, []
        for _, port in idle:
            port.drop()

    # -- sending

    def _send(self, messages: Sequence[Message]) -> None:
        with self.port() as port:
            for message in messages:
                queue = message.queue
                if queue is not None and id(queue) not in self._declared:
                    self.declare_with(port, queue)
                if message.due is not None and self.delays is not None:
                    self.delays.prepare(port, queue)
            port.publish(messages)

    def publish_back(self, message: Message) -> None:
        """Send what came from this broker's own queues; `publish` may go to another server (`broker_write_url`)."""
        error = self._try_again((message,), self.connection_errors[0](), {"max_retries": 3})
        if error is not None:
            raise error

    def route(self, message: Message) -> tuple[str, str]:
        """Exchange and routing key of a message, by way of the delays where it has time."""
        if message.due is None or self.delays is None:
            return message.exchange, message.routing_key
        return self.delays.route(message.exchange, message.routing_key, message.due)

    def declare(self, queues: Iterable[Queue], *, again: bool = False) -> None:
        """Make queues and their bindings known to the server; with `again`, also those that were declared before."""
        wanted = [queue for queue in queues if again or id(queue) not in self._declared]
        if wanted:
            with self.port() as port:
                for queue in wanted:
                    self.declare_with(port, queue)
                    if self.delays is not None:
                        self.delays.prepare(port, queue, again=again)

    def declare_with(self, port: Port, queue: Queue) -> None:
        """Declare one queue."""
        port.declare(queue)
        self._declared[id(queue)] = queue

    # -- looking after queues

    def purge(self, queues: Iterable[str]) -> int:
        """Delete the messages that wait in these queues; returns how many."""
        with self.port() as port:
            return sum(port.purge(queue) for queue in queues)

    def queue_length(self, queue: str) -> int:
        """How many messages wait in the queue; none where it does not exist."""
        with self.port() as port:
            return port.length(queue)

    # -- messages that were set aside

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Set a copy of a message aside."""
        from celerylite.message import Message

        try:
            message = decode(delivery.raw)
        except Unreadable:
            message = Message({}, delivery.raw, "application/octet-stream", "binary", {})
        note = {"id": uuid(), "reason": reason, "queue": delivery.queue, "time": time.time(), "worker": self.worker}
        headers = {**message.headers, DEAD_HEADER: note}
        properties = {"delivery_mode": 2}
        for name in ("correlation_id", "reply_to", "priority"):
            if message.properties.get(name):
                properties[name] = message.properties[name]
        copy = Message(
            headers, message.body, message.content_type, message.content_encoding, properties, "", DEAD,
            queue=self._dead_queue(),
        )  # fmt: skip
        try:
            self.publish_back(copy)
        except self.connection_errors:
            raise
        except Exception as exc:  # a border: the server may refuse us that queue in as many ways as there are servers
            logger.error(
                "A message cannot be set aside in queue %r (%s) and is dropped, as Celery does it: %s. Make that "
                "queue, or name it where the broker wants queues named (predefined_queues). The message: %r",
                DEAD, exc, reason, delivery.raw, extra={"action": "dropped"},
            )  # fmt: skip

    def _dead_queue(self) -> Queue:
        queue = getattr(self, "_dead", None)
        if queue is None:
            from kombu.entity import Queue

            arguments = {"x-max-length": self.dead_limit} if self.is_amqp else None
            queue = self._dead = Queue(DEAD, routing_key=DEAD, durable=True, queue_arguments=arguments)
        return queue

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """The messages that were set aside, newest first."""
        letters = [letter for letter, _ in self._look_through(lambda letter: False)]
        return letters[::-1][: limit or None]

    def retry_dead(self, ids: Iterable[str] | None = None) -> int:
        """Put set-aside messages back at the end of their queues, unchanged."""
        wanted = None if ids is None else set(ids)
        found = self._look_through(lambda letter: wanted is None or bool({letter.id, letter.task_id} & wanted), True)
        return sum(taken for _, taken in found)

    def purge_dead(self) -> int:
        """Delete all messages that were set aside; returns how many."""
        return self.purge([DEAD])

    def _look_through(self, take: Callable[[DeadLetter], bool], revive: bool = False) -> list[tuple[DeadLetter, bool]]:
        """Look at all that was set aside, oldest first; what `take` says goes back to its queue, the rest stays."""
        found: list[tuple[DeadLetter, bool]] = []
        self.declare([self._dead_queue()])
        with self.port() as port:
            kept = []
            for tag, message in port.get_all(DEAD):
                letter = _letter(message)
                taken = revive and take(letter)
                if taken:
                    message.headers.pop(DEATHS, None)
                    message.exchange, message.routing_key = "", letter.queue
                    port.publish([message])
                    port.channel.basic_ack(tag)
                else:
                    kept.append(tag)
                found.append((letter, taken))
            for tag in reversed(kept):
                port.channel.basic_reject(tag, requeue=True)
            port.length(DEAD)  # the answer comes when the messages are back
        return found

    # -- the other sides

    def preload(self) -> None:
        """Import what the processes of a worker will use, before they are forked."""
        # Lazy: those who only send need none of it.
        from celerylite.brokers import kombu_consumer, kombu_keeper, kombu_mailbox  # noqa: F401

        if self.is_amqp:
            from celerylite.brokers import amqp_inbox, amqp_window  # noqa: F401

    def consumer(self, queues: Sequence[str], *, serial: bool, lease: float, **options: Any) -> Consumer:
        """Start to consume these queues."""
        from celerylite.brokers.kombu_consumer import KombuConsumer

        return KombuConsumer(self, queues, serial=serial, **options)

    def keeper(self, queues: Sequence[str], *, lease: float) -> Keeper:
        """The housekeeping of one worker that consumes `queues`."""
        from celerylite.brokers.kombu_keeper import KombuKeeper

        return KombuKeeper(self)

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        idle, self._idle = self._idle, []
        for _, port in idle:
            port.close()
        self._declared = {}

    def _after_fork(self) -> None:
        """The parent's sockets are not ours: forget them without a word to the server."""
        for _, port in self._idle:
            port.forget()
        self._idle = []
        self._declared = {}
        self.connection = self.connection.clone()
        if self.delays is not None:
            self.delays.forget()


def _letter(message: Message) -> DeadLetter:
    note = message.headers.get(DEAD_HEADER) or {}
    headers = {name: value for name, value in message.headers.items() if name != DEAD_HEADER}
    message.headers = headers
    message.properties.pop("delivery_info", None)
    task_id, task_name = (value if isinstance(value, str) else None for value in map(headers.get, ("id", "task")))
    return DeadLetter(
        str(note.get("id") or ""), str(note.get("reason") or ""), str(note.get("queue") or ""),
        float(note.get("time") or 0.0), str(note.get("worker") or ""), encode(message), task_id, task_name,
    )  # fmt: skip


