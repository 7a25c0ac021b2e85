"""One connection with one channel, for everything that is not consuming: publish with confirms, declare, look around.

A port is used by one thread at a time. On AMQP the server confirms each message when it has it safe.
"""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celerylite.brokers.amqp_frames import Strange, publish_frames
from celerylite.brokers.values import DELIVERY_COUNT
from celerylite.message import Message
from celerylite.utils.polling import readable

if TYPE_CHECKING:
    from kombu.entity import Queue

    from celerylite.brokers.kombu import KombuBroker

logger = logging.getLogger("celery.brokers.kombu")

CONFIRM_TIMEOUT = 30.0
#: What RabbitMQ writes into the headers of a message that passed a dead-letter exchange, or came back to a quorum
#: queue. A message that is sent again must not carry it: the server takes it for one that goes in circles, and drops
#: it; and it counts anew.
TRAVEL_HEADERS = frozenset((
    "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason", "x-last-death-exchange",
    "x-last-death-queue", "x-last-death-reason", "x-acquired-count", DELIVERY_COUNT,
))  # fmt: skip
#: Properties that kombu writes itself.
OWN_PROPERTIES = frozenset(("delivery_info", "delivery_tag", "body_encoding", "priority"))


#: The same for frames that we write, where the priority is a property as any other.
ALIEN_PROPERTIES = OWN_PROPERTIES - {"priority"}
#: Unconfirmed messages between two looks at what the server says.
LOOK_EVERY = 64


class NotConfirmed(OSError):
    """The broker did not confirm in time, or refused a message."""


class NoQueue(OSError):
    """The queue that a message was sent to does not exist."""


class Port:
    """See the module."""

    def __init__(self, broker: KombuBroker) -> None:
        self.broker = broker
        self.connection = broker.new_connection()
        options = broker.connection.transport_options or {}
        self._timeout = float(options.get("confirm_timeout") or CONFIRM_TIMEOUT)
        self._confirms = broker.is_amqp and options.get("confirm_publish", True)
        self._swift = broker.is_amqp and self.connection.transport.driver_name == "py-amqp"
        if self._swift:
            limit_waits(self.connection, self._timeout)
        self.open_channel()

    def open_channel(self) -> None:
        """A new channel, in place of one that the server has closed."""
        self.channel: Any = self.connection.channel()
        if self.connection.transport.driver_name == "filesystem":
            from celerylite.brokers.kombu_files import write_whole  # lazy: nobody needs it where there are no files

            write_whole(self.channel)
        #: Number of the last message that was sent on this channel, and those that were not confirmed.
        self._sent = 0
        self._waiting: set[int] = set()
        self._refused: set[int] = set()
        self._returned: list[str] = []
        if self._confirms:
            self.channel.confirm_select()
            events = self.channel.events
            events["basic_ack"].add(self._on_ack)
            events["basic_nack"].add(self._on_nack)
            events["basic_return"].add(self._on_return)

    # -- publishing

    def publish(self, messages: Sequence[Message]) -> None:
        """Send the messages and return when the server has them."""
        try:
            for message in messages:
                self._publish(message)
        except BlockingIOError as exc:
            raise NotConfirmed(
                f"the broker did not read for {self._timeout:g} s; is it short of memory or disk?"
            ) from exc
        self._confirm()
        missing, self._returned = self._returned, []
        if missing:
            self._send_returned([message for message in messages if message.routing_key in missing])

    def _publish(self, message: Message) -> None:
        exchange, routing_key = self.broker.route(message)
        if self._swift and self._publish_swiftly(message, exchange, routing_key):
            return
        content = self._prepare(message)
        self._sent += 1
        if self._confirms:
            self._waiting.add(self._sent)
            # Without confirms nobody would read what the server returns; and replies may find their caller gone.
            mandatory = not exchange and message.queue is not None
            self.channel._basic_publish(content, exchange, routing_key, mandatory)
        else:
            self.channel.basic_publish(content, exchange=exchange, routing_key=routing_key)

    def _publish_swiftly(self, message: Message, exchange: str, routing_key: str) -> bool:
        """Write the frames by hand; False for a message that has something unusual about it."""
        headers, properties = message.headers, message.properties
        if not TRAVEL_HEADERS.isdisjoint(headers):
            return False
        out = {name: value for name, value in properties.items() if name not in ALIEN_PROPERTIES}
        out["content_type"], out["content_encoding"] = message.content_type, message.content_encoding
        out["headers"] = headers
        amqp = self.connection.connection
        mandatory = bool(self._confirms and not exchange and message.queue is not None)
        try:
            frames = publish_frames(
                self.channel.channel_id, exchange, routing_key, mandatory, out, message.body, amqp.frame_max
            )
        except (Strange, TypeError, AttributeError):
            return False
        self._sent += 1
        if self._confirms:
            self._waiting.add(self._sent)
        elif self._sent % LOOK_EVERY == 0:
            self._look()
        amqp.transport.write(frames)
        amqp.bytes_sent += 1
        return True

    def _look(self) -> None:
        """Without confirms nobody reads; what the server has to say (that the channel is closed) must not be missed."""
        with suppress(TimeoutError):
            self.connection.drain_events(timeout=0)

    def _prepare(self, message: Message) -> Any:
        headers, properties = message.headers, message.properties
        if not TRAVEL_HEADERS.isdisjoint(headers):
            headers = {name: value for name, value in headers.items() if name not in TRAVEL_HEADERS}
        return self.channel.prepare_message(
            message.body,
            priority=properties.get("priority"),
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=headers,
            properties={name: value for name, value in properties.items() if name not in OWN_PROPERTIES},
        )

    def _send_returned(self, messages: Sequence[Message]) -> None:
        """Send once more what went to a queue that is gone: declare it first, or say that nobody knows it."""
        for message in messages:
            assert message.queue is not None
            self.broker.declare_with(self, message.queue)
            self._publish(message)
        self._confirm()
        if self._returned:
            raise NoQueue(f"the broker has no queue {self._returned[0]!r}")

    def _confirm(self) -> None:
        if not self._confirms:
            return
        deadline = time.monotonic() + self._timeout
        while self._waiting:
            left = deadline - time.monotonic()
            try:
                self.connection.drain_events(timeout=max(0.001, left))
            except TimeoutError:
                raise NotConfirmed(
                    f"the broker did not confirm {len(self._waiting)} message(s) within {self._timeout:g} s; "
                    "is it short of memory or disk?"
                ) from None
        if self._refused:
            count = len(self._refused)
            self._refused.clear()
            raise NotConfirmed(f"the broker refused {count} message(s); is the queue full?")

    def _on_ack(self, number: int, multiple: bool) -> None:
        if multiple:
            self._waiting = {waiting for waiting in self._waiting if waiting > number}
        else:
            self._waiting.discard(number)

    def _on_nack(self, number: int, multiple: bool) -> None:
        refused = {waiting for waiting in self._waiting if waiting == number or (multiple and waiting < number)}
        self._refused |= refused
        self._waiting -= refused

    def _on_return(self, exc: Exception, exchange: str, routing_key: str, message: Any) -> None:
        self._returned.append(routing_key)

    # -- declaring, looking

    def declare(self, queue: Queue) -> None:
        """Declare a queue with its exchange and bindings; one that exists with other arguments is used as it is."""
        try:
            queue.bind(self.channel).declare()
        except self.connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) != 406:
                raise
            logger.warning(
                "Queue or exchange of %r exists with other arguments and is used as it is: %s", queue.name, exc,
                extra={"action": "declare_mismatch"},
            )  # fmt: skip
            self.open_channel()

    def length(self, queue: str) -> int:
        """Messages that wait in a queue; 0 for one that does not exist."""
        try:
            return self.channel.queue_declare(queue, passive=True).message_count
        except self.connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) != 404:
                raise
            self.open_channel()
            return 0

    def purge(self, queue: str) -> int:
        """Delete what waits in a queue; 0 for one that does not exist."""
        if self.connection.transport.driver_type == "sqs":
            return self._purge_sqs(queue)
        try:
            return self.channel.queue_purge(queue) or 0
        except self.connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) != 404:
                raise
            self.open_channel()
            return 0

    def _purge_sqs(self, queue: str) -> int:
        """SQS does it once a minute; in between each message is taken. kombu counts the same messages ten times."""
        waiting = self.length(queue)
        try:
            return min(waiting, self.channel.queue_purge(queue) or 0)
        except Exception as exc:  # boto3 makes its classes as it goes
            if type(exc).__name__ != "PurgeQueueInProgress":
                raise
        taken = [tag for tag, _ in self.get_all(queue)]
        for tag in taken:
            self.channel.basic_ack(tag)
        return len(taken)

    def get_all(self, queue: str) -> Iterator[tuple[Any, Message]]:
        """Take what waits in a queue, one after the other: (delivery tag, message), not acknowledged."""
        for _ in range(self.length(queue)):
            got = self.channel.basic_get(queue)
            if got is None:
                return
            yield got.delivery_tag, as_message(self.channel.message_to_python(got))

    # -- the end

    def is_stale(self) -> bool:
        """Whether the server has hung up while the port lay idle."""
        if not self.broker.is_amqp:
            return False
        sock = self.connection.connection.sock
        return sock is None or bool(readable((sock,), 0))

    def drop(self) -> None:
        """Close without a word: something is wrong with the connection, or it belongs to another process."""
        with suppress(Exception):  # a border: a broken connection may raise anything on the way out
            self.connection.collect(socket_timeout=0.1)

    def forget(self) -> None:
        """In a forked child: let go of the parent's socket, which must stay open for the parent."""
        forget_socket(self.connection)

    def close(self) -> None:
        """Close in order."""
        with suppress(*self.broker.errors):
            self.connection.release()


def forget_socket(connection: Any) -> None:
    """Close the socket of a kombu connection in this process only: py-amqp's own ways shut the connection down."""
    transport: Any = getattr(connection._connection, "transport", None)
    sock = getattr(transport, "sock", None)
    if sock is not None:
        sock.close()
        transport.sock = None
        transport.connected = False


def limit_waits(connection: Any, seconds: float) -> None:
    """No read and no write of py-amqp waits longer for a network that swallows everything, or a server that hangs."""
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.connection.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", max(1, int(seconds)), 0))


def as_message(got: Any) -> Message:
    """A message of kombu as ours."""
    properties = dict(got.properties or {})
    headers = properties.pop("application_headers", None) or got.headers or {}
    properties.pop("content_type", None)
    properties.pop("content_encoding", None)
    info = got.delivery_info or {}
    exchange, routing_key = info.get("exchange") or "", info.get("routing_key") or ""
    properties["delivery_info"] = {
        "exchange": exchange, "routing_key": routing_key, "redelivered": bool(info.get("redelivered")),
    }  # fmt: skip
    body = got.body
    return Message(
        dict(headers),
        body.encode("utf-8") if isinstance(body, str) else bytes(body or b""),
        got.content_type or "application/data",
        got.content_encoding or "binary",
        properties,
        exchange,
        routing_key,
    )
