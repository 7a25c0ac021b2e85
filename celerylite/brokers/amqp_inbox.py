"""Reads what RabbitMQ pushes: many frames in one go, messages by our own hands, all else by py-amqp's; and
acknowledges.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import MSG_DONTWAIT
from ssl import SSLWantReadError, SSLWantWriteError
from typing import Any

from amqp.exceptions import ChannelError, ConnectionError, UnexpectedFrame, error_for_code

from celerylite.brokers import amqp_frames as frames
from celerylite.message import Message

#: Bytes of one read.
CHUNK = 65536


class Inbox:
    """What comes in on one connection with one channel; `delivered(consumer tag, delivery tag, message, header)` is
    called with each message and the frame of its header.
    """

    def __init__(self, amqp: Any, channel: int, delivered: Callable[[str, int, Message, bytes], None]) -> None:
        self._amqp = amqp
        self._channel = channel
        self._delivered = delivered
        #: The frames so far of the message that is coming in.
        self._frames: list[tuple[int, int, bytes]] = []
        self._missing = 0
        self._properties: dict[str, Any] = {}
        self._body: list[bytes] = []
        self._transport = amqp.transport
        sock = self._transport.sock
        self._recv = sock.recv
        self._is_plain = not hasattr(sock, "pending")
        if hasattr(self._transport, "_quick_recv"):
            self._transport._quick_recv = self._read_some

    def _read_some(self, _: int) -> bytes:
        """For py-amqp, which asks for the very bytes of each piece; it keeps what it gets beyond."""
        try:
            return self._recv(CHUNK)
        except (BlockingIOError, SSLWantReadError, SSLWantWriteError):
            raise TimeoutError from None

    def read(self) -> None:
        """Read until nothing more is there. Raises py-amqp's errors; of no use afterwards."""
        if self._is_plain:
            while self._read_plain():
                pass
            return
        try:
            with self._transport.having_timeout(0):
                while True:
                    self._take(*self._transport.read_frame())
        except TimeoutError:
            return

    def _read_plain(self) -> bool:
        """Take what one look at the socket brings, without py-amqp: 8 µs a message. Whether there may be more."""
        data = b""
        try:
            data = self._recv(CHUNK, MSG_DONTWAIT)
            if not data:
                raise OSError("Server unexpectedly closed connection")
        except BlockingIOError:
            pass  # py-amqp may have read more than it needed
        transport = self._transport
        full = len(data) == CHUNK
        if transport._read_buffer:
            data = transport._read_buffer + data
        if data:
            self._take_all(data)
        return full

    def _take_all(self, data: bytes) -> None:
        """Take all whole frames; the rest goes where py-amqp keeps it."""
        transport = self._transport
        at, size = 0, len(data)
        while size - at >= frames.SMALLEST:
            kind, channel, length = frames.HEAD.unpack_from(data, at)
            start = at + 7
            end = start + length
            if end >= size:
                break
            if data[end] != 206:
                raise UnexpectedFrame(f"frame end {data[end]:#04x}")
            at = end + 1
            if kind == frames.METHOD and not data.startswith(frames.DELIVER, start):
                # py-amqp may read on by itself.
                transport._read_buffer = data[at:]
                self._take(kind, channel, data[start:end])
                data, at = transport._read_buffer, 0
                size = len(data)
            else:
                self._take(kind, channel, data[start:end])
        transport._read_buffer = data[at:]

    def _take(self, kind: int, channel: int, payload: bytes) -> None:
        self._amqp.bytes_recv += 1
        if channel == self._channel and kind != frames.METHOD and self._frames:
            self._go_on(kind, channel, payload)
        elif kind == frames.METHOD and channel == self._channel and payload.startswith(frames.DELIVER):
            self._frames = [(kind, channel, payload)]
        elif kind == frames.METHOD and payload.startswith(frames.CLOSES):
            raise self._closed(payload)
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
            deliver, header = self._frames[0][2], self._frames[1][2]
            self._frames = []
            self._finish(deliver, header)

    def _closed(self, payload: bytes) -> Exception:
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
        self._transport.write(frames.ack_frame(self._channel, delivery_tag))
        self._amqp.bytes_sent += 1

    def hand_over(self) -> None:
        """Give py-amqp what has come of a message: we cannot read it, or py-amqp is about to read itself."""
        beginning, self._frames = self._frames, []
        for frame in beginning:
            self._amqp.on_inbound_frame(frame)

    def _finish(self, deliver: bytes, header: bytes) -> None:
        tag, delivery_tag, redelivered, exchange, routing_key = frames.read_deliver(deliver)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        message = frames.message_of(self._properties, body, exchange, routing_key, redelivered)
        self._delivered(tag, delivery_tag, message, header)
