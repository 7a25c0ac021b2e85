"""Reads what RabbitMQ pushes: many frames in one go, messages by our own hands, all else by py-amqp's; and
acknowledges.
"""

from __future__ import annotations

from collections.abc import Callable
from ssl import SSLWantReadError, SSLWantWriteError
from typing import Any

from amqp.exceptions import ChannelError, ConnectionError, error_for_code

from celerylite.brokers import amqp_frames as frames
from celerylite.message import Message

#: Bytes of one read; what is left over is copied at each frame, so that more costs more than it saves.
CHUNK = 16384


class Inbox:
    """What comes in on one connection with one channel; `delivered(consumer tag, delivery tag, message)` is called."""

    def __init__(self, amqp: Any, channel: int, delivered: Callable[[str, int, Message], None]) -> None:
        self._amqp = amqp
        self._channel = channel
        self._delivered = delivered
        #: The frames so far of the message that is coming in.
        self._frames: list[tuple[int, int, bytes]] = []
        self._missing = 0
        self._properties: dict[str, Any] = {}
        self._body: list[bytes] = []
        transport = amqp.transport
        if hasattr(transport, "_quick_recv"):
            recv = transport.sock.recv

            def read(_: int) -> bytes:
                """py-amqp asks for the very bytes of each piece; it keeps what it gets beyond."""
                try:
                    return recv(CHUNK)
                except (BlockingIOError, SSLWantReadError, SSLWantWriteError):
                    raise TimeoutError from None

            transport._quick_recv = read

    def read(self) -> None:
        """Read until nothing more is there. Raises py-amqp's errors; of no use afterwards."""
        transport = self._amqp.transport
        try:
            with transport.having_timeout(0):
                while True:
                    self._take(*transport.read_frame())
        except TimeoutError:
            return

    def _take(self, kind: int, channel: int, payload: bytes) -> None:
        self._amqp.bytes_recv += 1
        if kind == frames.METHOD and channel == self._channel and payload.startswith(frames.DELIVER):
            self._frames = [(kind, channel, payload)]
        elif kind == frames.METHOD and payload.startswith(frames.CLOSES):
            raise self._closed(channel, payload)
        elif self._frames and channel == self._channel:
            self._go_on(kind, channel, payload)
        else:
            self._amqp.on_inbound_frame((kind, channel, payload))

    def _go_on(self, kind: int, channel: int, payload: bytes) -> None:
        self._frames.append((kind, channel, payload))
        if kind == frames.HEADER:
            try:
                self._missing, self._properties = frames.read_header(payload)
            except (frames.Strange, UnicodeDecodeError, IndexError):
                self.hand_over()
                return
            self._body = []
        else:
            self._body.append(payload)
            self._missing -= len(payload)
        if self._missing <= 0:
            deliver = self._frames[0][2]
            self._frames = []
            self._finish(deliver)

    def _closed(self, channel: int, payload: bytes) -> Exception:
        """The server has closed the connection, or the channel.

        Not left to py-amqp: it would open the channel again, and wait in vain on a socket that must not wait, or close
        the socket, which cannot be put back into its mode then. Either way the error would be lost.
        """
        code, text, method = frames.read_close(payload)
        if payload.startswith(frames.CHANNEL_CLOSE):
            default: type[Exception] = ChannelError
        else:
            default = ConnectionError
            self._amqp.transport.write(frames.CLOSE_OK)
        error: Exception = error_for_code(code, text, method, default)
        return error

    def ack(self, delivery_tag: int) -> None:
        """Acknowledge one message."""
        self._amqp.transport.write(frames.ack_frame(self._channel, delivery_tag))
        self._amqp.bytes_sent += 1

    def hand_over(self) -> None:
        """Give py-amqp what has come of a message: we cannot read it, or py-amqp is about to read itself."""
        beginning, self._frames = self._frames, []
        for frame in beginning:
            self._amqp.on_inbound_frame(frame)

    def _finish(self, deliver: bytes) -> None:
        tag, delivery_tag, redelivered, exchange, routing_key = frames.read_deliver(deliver)
        properties = self._properties
        headers = properties.pop("headers", None) or {}
        content_type = properties.pop("content_type", None) or "application/data"
        encoding = properties.pop("content_encoding", None) or "binary"
        properties["delivery_info"] = {
            "exchange": exchange, "routing_key": routing_key, "redelivered": redelivered,
        }  # fmt: skip
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        message = Message(headers, body, content_type, encoding, properties, exchange, routing_key)
        self._delivered(tag, delivery_tag, message)
