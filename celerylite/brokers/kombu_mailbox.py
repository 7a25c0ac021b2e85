"""The mailbox on every other broker: kombu's consumer and producer on a connection of their own."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from kombu.entity import Exchange
from kombu.messaging import Consumer, Producer

from celerylite.brokers import as_uri
from celerylite.brokers.kombu_files import write_whole
from celerylite.brokers.kombu_port import as_message
from celerylite.brokers.mailbox import Address, Mailbox, NoFanout
from celerylite.brokers.waking import Waking
from celerylite.message import publish_with
from celerylite.utils.polling import readable

if TYPE_CHECKING:
    from celerylite.message import Message

#: Seconds between looks for requests where kombu can only poll, and within one process.
LOOK, LOOK_OFTEN = 1.0, 0.02


class KombuMailbox(Waking, Mailbox):
    """See the module."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: Any = address.connect()
        self.errors = (*self._connection.connection_errors, *self._connection.channel_errors, OSError)
        self._came: deque[Message] = deque()
        self._channel: Any = None
        #: Ends a wait of the transport itself, where it has such a thing.
        self._waker: Any = None
        self._interval = LOOK
        self._open_wake()

    @property
    def uri(self) -> str:
        """The server, with the password masked."""
        return as_uri(self._connection)

    def open(self) -> None:
        """Declare our queue and consume it."""
        connection = self._connection
        if "fanout" not in connection.transport.implements.exchange_type:
            raise NoFanout(f"{self.uri} has no fan-out")
        self._drop()
        connection.connect()
        transport = connection.transport
        self._waker = getattr(transport, "wake", None)
        polling = getattr(transport, "polling_interval", None) or LOOK
        self._interval = LOOK_OFTEN if transport.driver_type == "memory" else polling
        self._channel = connection.channel()
        write_whole(self._channel)
        consumer = Consumer(self._channel, [self.address.queue()], no_ack=True, on_message=self._hear)
        consumer.consume()

    def _hear(self, message: Any) -> None:
        self._came.append(as_message(message))

    def receive(self, wait: float) -> list[Message]:
        """What was broadcast."""
        if not self._came:
            self._wait(wait)
        messages = list(self._came)
        self._came.clear()
        return messages

    def _wait(self, wait: float) -> None:
        """Wait on the socket and on our pipe; a transport without one is asked again and again, or can be woken."""
        sock = getattr(self._connection.connection, "sock", None)
        if self._waker is not None:
            self._drain(wait)
        elif sock is None:
            if not self._drain(0):
                readable([self._wake_read], min(wait, self._interval))
        elif getattr(sock, "pending", int)() or sock in readable([sock, self._wake_read], wait):
            self._drain(0.001)
        self._drain_wake()

    def _drain(self, wait: float) -> bool:
        try:
            self._connection.drain_events(timeout=wait)
        except TimeoutError:
            return False  # nobody has said anything
        return True

    def wake(self) -> None:
        """End a wait."""
        super().wake()
        if self._waker is not None:
            self._waker()

    def reply(self, message: Message) -> None:
        """Publish the answer to the exchange for answers."""
        exchange = Exchange(message.exchange, type="direct", delivery_mode="transient", durable=False)
        publish_with(Producer(self._channel, auto_declare=False), message, declare=[exchange], retry=False)

    def _drop(self) -> None:
        self._came.clear()
        if self._channel is not None:
            self._channel = None
            self._connection.collect()

    def close(self) -> None:
        """Hear nothing any more; a queue that is ours alone goes with the connection."""
        self._came.clear()
        try:
            self._connection.release()
        except self.errors:
            self._connection.collect()  # it is broken: without a word
        self._channel = None
