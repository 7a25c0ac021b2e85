"""What comes over a socket in any pieces is read as it was sent, beside py-amqp on the same connection."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import ConnectionForced, PreconditionFailed
from amqp.serialization import dumps
from amqp.transport import TCPTransport

from celerylite.brokers import amqp_frames as frames
from celerylite.brokers.amqp_inbox import Inbox
from celerylite.brokers.envelope import decode, redelivered
from celerylite.message import Message

CHANNEL = 1
HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"


class Line:
    """The server's end of a connection, and an inbox at the other."""

    def __init__(self) -> None:
        self.server, client = socket.socketpair()
        transport = TCPTransport("nowhere")
        transport.sock = client
        transport._setup_transport()
        self.transport: Any = transport
        #: What was left to py-amqp, and which messages came.
        self.others: list[tuple[int, int, bytes]] = []
        self.came: list[tuple[str, int, Message, bytes]] = []
        amqp = SimpleNamespace(transport=transport, bytes_recv=0, bytes_sent=0, on_inbound_frame=self.others.append)
        self.inbox = Inbox(amqp, CHANNEL, lambda *message: self.came.append(message))

    def close(self) -> None:
        self.server.close()
        self.transport.sock.close()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


def frame(payload: bytes, kind: int = frames.METHOD, channel: int = CHANNEL) -> bytes:
    return frames.HEAD.pack(kind, channel, len(payload)) + payload + frames.END


def delivered(number: int, body: bytes, most: int = 4096) -> bytes:
    """A message as the server pushes it."""
    content = frames.publish_frames(CHANNEL, "ex", "key", False, {"headers": {"id": f"{number}"}}, body, most)
    size = struct.unpack_from(">I", content, 3)[0] + 8
    return frame(frames.DELIVER + dumps("sLbss", ("5.0", number, False, "ex", "key"))) + content[size:]


def close(kind: bytes, code: int) -> bytes:
    return kind + struct.pack(">H", code) + b"\x03why" + struct.pack(">HH", 60, 80)


def test_pieces_of_any_size(line: Line) -> None:
    chance = random.Random(3)
    bodies = [chance.randbytes(chance.choice((0, 1, 300, 20_000))) for _ in range(30)]
    data = b"".join(delivered(n, body) + HEARTBEAT * (n % 3 == 0) for n, body in enumerate(bodies))
    while data:
        size = chance.choice((1, 3, 7, 8, 100, 5000))
        line.server.sendall(data[:size])
        data = data[size:]
        line.inbox.read()
    assert [(tag, number, message.body) for tag, number, message, _ in line.came] == [
        ("5.0", number, body) for number, body in enumerate(bodies)
    ]
    assert line.others == [(8, 0, b"")] * 10


def test_what_py_amqp_has_read_too_much(line: Line) -> None:
    """It waits for an answer, and gets with it messages that came behind."""
    line.server.sendall(HEARTBEAT + delivered(1, b"one") + delivered(2, b"two"))
    assert line.transport.read_frame() == (8, 0, b"")
    line.inbox.read()
    assert [message.body for _, _, message, _ in line.came] == [b"one", b"two"]


@pytest.mark.parametrize(
    "kind,code,error",
    [(frames.CLOSES[0], 406, PreconditionFailed), (frames.CLOSES[1], 320, ConnectionForced)],
)
def test_closing_is_never_lost(line: Line, kind: bytes, code: int, error: type[Exception]) -> None:
    line.server.sendall(delivered(1, b"before") + frame(close(kind, code)))
    with pytest.raises(error, match="why"):
        line.inbox.read()
    assert len(line.came) == 1


def test_the_end_of_the_connection(line: Line) -> None:
    line.server.close()
    with pytest.raises(OSError, match="closed"):
        line.inbox.read()


def test_a_message_is_kept_as_it_came(line: Line) -> None:
    line.server.sendall(delivered(7, b"\0body"))
    line.inbox.read()
    ((_, _, message, header),) = line.came
    raw = frames.keep(header, message.body, "other", "käy")
    kept = decode(raw)
    assert (kept.body, kept.headers, kept.exchange, kept.routing_key) == (b"\0body", {"id": "7"}, "other", "käy")
    again, count = redelivered(raw, count=True)
    assert count == 1 and decode(again).headers == {"id": "7", "redelivered": True, "x-delivery-count": 1}
