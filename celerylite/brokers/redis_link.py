"""One connection to Redis for the task plane: commands go out in order, replies are read when someone needs them.

Who makes the connection (`redis_socket`, or redis-py for TLS and sentinels) hands the socket over. What travels on it
is written and read here, because a task process sends several commands a task and must not wait for each reply, nor
lose one when the connection breaks.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import hiredis

logger = logging.getLogger("celery.brokers.redis")

#: Errors of a server that is not itself just now (starting, failing over, full, scripts flushed): reconnect and
#: send again.
PASSING_ERRORS = (
    b"LOADING", b"READONLY", b"MASTERDOWN", b"CLUSTERDOWN", b"TRYAGAIN", b"NOSCRIPT", b"OOM", b"MISCONF", b"BUSY ",
    b"UNBLOCKED", b"NOREPLICAS",
)  # fmt: skip

#: Seconds that a reply may take before the connection is taken for dead (a network that swallows everything).
REPLY_TIMEOUT = 5.0

#: Bytes to ask the socket for. From 128 KB on the memory comes fresh from the system each time: 20 to 30 µs a reply.
RECEIVE = 65536

OnReply = Callable[[Any], None]

#: A connected socket, and what closes it. The latter keeps its owner alive: redis-py closes sockets that it collects.
Opened = tuple[socket.socket, Callable[[], Any]]


class LinkError(ConnectionError):
    """The connection to Redis is broken, or the server cannot serve just now."""


class Silence(LinkError):
    """Redis lets us wait in vain."""


class ReplyError(Exception):
    """Redis refused a command."""


def pack(*args: bytes) -> bytes:
    """A command in Redis' protocol."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(parts)


class Reader:
    """Turns the bytes that come in into replies (RESP 2); the work is hiredis'.

    Measured with 20 messages of 1 KB a reply: 4 µs against 32 in Python, and a reply that comes in pieces is not read
    from its start again.
    """

    def __init__(self) -> None:
        self._parser = hiredis.Reader(protocolError=_not_redis, replyError=ReplyError, errors="replace")
        #: Add what the socket gave.
        self.feed = self._parser.feed

    def replies(self) -> list[Any]:
        """Every whole reply that has come in; errors are `ReplyError` values, not raised."""
        found: list[Any] = []
        reply = self._parser.gets()
        while reply is not False:
            found.append(reply)
            reply = self._parser.gets()
        return found


def _not_redis(text: str) -> LinkError:
    return LinkError(f"not a Redis server: {text}")


class Link:
    """A connection. One thread uses it at a time; commands posted and not answered survive a reconnect."""

    def __init__(self, connect: Callable[[], Opened], *, timeout: float = REPLY_TIMEOUT) -> None:
        self._connect = connect
        self._disconnect: Callable[[], Any] | None = None
        self.timeout = timeout
        self._sock: socket.socket | None = None
        self._reader = Reader()
        self._on_message: OnReply | None = None
        #: Posted commands that go out with the next one, and who is told when they do.
        self._held: list[bytes] = []
        self.on_sent: Callable[[], None] = lambda: None
        #: Counts the connections: what was asked on an earlier one is not answered any more.
        self.epoch = 0
        #: What is unanswered, in order: (packed command to send again after a reconnect or None, reply handler).
        self._unanswered: deque[tuple[bytes | None, OnReply | None]] = deque()

    @property
    def connected(self) -> bool:
        """Whether there is a socket; it may be dead all the same."""
        return self._sock is not None

    def fileno(self) -> int:
        """The socket's file number, for `select`."""
        return self.open().fileno()

    def open(self) -> socket.socket:
        """Connect if need be, and send again what was posted and never answered."""
        if self._sock is None:
            sock, self._disconnect = self._connect()
            _set_timeout(sock, self.timeout)
            self._reader = Reader()
            self._sock = sock
            self.epoch += 1
            kept = [entry for entry in self._unanswered if entry[0] is not None]
            self._unanswered.clear()
            self._unanswered.extend(kept)
            if kept:
                self._write(b"".join(command for command, _ in kept if command is not None))
            return sock
        return self._sock

    def post(self, command: bytes, on_reply: OnReply | None = None, *, hold: bool = False) -> None:
        """Send without waiting; it is sent again after a reconnect until its reply was seen, so it must be guarded.

        With `hold` it goes out together with the next command, or with `push`.
        """
        sock_open = self._sock is not None
        self._unanswered.append((command, on_reply))
        if sock_open and hold:
            self._held.append(command)
        elif sock_open:
            self._write(command)
        else:
            self.open()  # which sends it

    def push(self) -> None:
        """Send what was held back."""
        if self._held:
            self._write(b"")

    @property
    def holding(self) -> bool:
        """Whether something waits for the next command."""
        return bool(self._held)

    def send(self, command: bytes, on_reply: OnReply | None = None) -> None:
        """Send without waiting; forgotten when the connection breaks."""
        self.open()
        self._unanswered.append((None, on_reply))
        self._write(command)

    def send_many(self, commands: Iterable[tuple[bytes, OnReply]]) -> None:
        """As `send`, in one write."""
        self.open()
        data = []
        for command, on_reply in commands:
            self._unanswered.append((None, on_reply))
            data.append(command)
        self._write(b"".join(data))

    def call(self, command: bytes) -> Any:
        """Send and wait for the reply; raises `ReplyError` for a refusal, `LinkError` when the connection breaks."""
        return self.call_many((command,))[0]

    def call_many(self, commands: Iterable[bytes]) -> list[Any]:
        """Send commands in one write and wait for all their replies."""
        got: list[Any] = []
        commands = tuple(commands)
        self.open()
        self._unanswered.extend([(None, got.append)] * len(commands))
        self._write(commands[0] if len(commands) == 1 else b"".join(commands))
        while len(got) < len(commands):
            self.read()
        for reply in got:
            if type(reply) is ReplyError:
                raise reply
        return got

    def read(self) -> int:
        """Wait for bytes, hand out every whole reply; returns how many. A silent server is a broken connection."""
        sock = self.open()
        self.push()
        try:
            data = sock.recv(RECEIVE)
        except (BlockingIOError, TimeoutError) as exc:  # the first is how the kernel says that the time was up
            self.drop()
            raise Silence(f"Redis did not answer within {self.timeout:g} s") from exc
        except OSError as exc:
            self.drop()
            raise LinkError(f"Redis does not answer: {exc}") from exc
        if not data:
            self.drop()
            raise LinkError("Redis closed the connection")
        self._reader.feed(data)
        replies = self._reader.replies()
        for reply in replies:
            self._hand_out(reply)
        return len(replies)

    def readable(self, timeout: float, *others: int) -> bool:
        """Wait until the socket has bytes or one of the file numbers in `others` has; True where the socket has."""
        sock = self.open()
        if getattr(sock, "pending", int)():  # TLS keeps decrypted bytes that poll cannot see
            return True
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        for fd in others:
            poll.register(fd, select.POLLIN)
        number = sock.fileno()
        return any(fd == number for fd, _ in poll.poll(max(0, timeout) * 1000))

    def flush(self) -> None:
        """Wait until everything sent was answered."""
        if self._unanswered:
            self.open()
        while self._unanswered:
            self.read()

    def expect(self, on_message: OnReply) -> None:
        """Hand what comes in unasked (published messages) to `on_message` from now on."""
        self._on_message = on_message

    @property
    def unanswered(self) -> int:
        """How many commands wait for their reply."""
        return len(self._unanswered)

    def drop(self) -> None:
        """Close the socket; posted commands stay and are sent again by the next `open`."""
        disconnect, self._disconnect, self._sock = self._disconnect, None, None
        if disconnect is not None:
            disconnect()
        if self._held:
            self._held.clear()  # they are among the unanswered, and sent again with those
            self.on_sent()

    def __del__(self) -> None:
        # An app that nobody closed: without a word, where Python would warn of the socket.
        self.drop()

    def close(self) -> None:
        """Close for good, forgetting what was not answered."""
        self._unanswered.clear()
        self.drop()

    def _write(self, data: bytes) -> None:
        sock = self._sock
        assert sock is not None
        held = self._held
        try:
            sock.sendall(b"".join((*held, data)) if held else data)
        except OSError as exc:
            self.drop()
            raise LinkError(f"cannot send to Redis: {exc}") from exc
        if held:
            held.clear()
            self.on_sent()

    def _passing(self, error: ReplyError) -> LinkError | None:
        """What to raise for an error that will not come again on another connection; None for others."""
        return LinkError(str(error)) if is_passing(error) else None

    def _hand_out(self, reply: Any) -> None:
        if not self._unanswered:
            if self._on_message is not None:
                self._on_message(reply)
                return
            self.drop()
            raise LinkError("Redis sent a reply that nobody asked for")
        command, on_reply = self._unanswered[0]
        if type(reply) is ReplyError and (trouble := self._passing(reply)) is not None:
            # The entry stays first in line if it was posted: it is sent again after the reconnect.
            self.drop()
            raise trouble
        self._unanswered.popleft()
        if on_reply is not None:
            on_reply(reply)
        elif type(reply) is ReplyError:
            logger.error("Redis refused a command: %s", reply, extra={"action": "refused"})


def _set_timeout(sock: socket.socket, seconds: float) -> None:
    """Have the kernel keep the time: Python's own timeouts cost a `poll` before each send and each receive."""
    if hasattr(sock, "pending"):  # TLS reads and writes more than once for one of ours
        sock.settimeout(seconds)
        return
    sock.settimeout(None)
    value = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def is_passing(error: ReplyError) -> bool:
    """Whether the server will accept the same command later."""
    return str(error).encode().startswith(PASSING_ERRORS)


def is_refusal(error: BaseException) -> bool:
    """Whether Redis said that our user may not do this."""
    text = str(error)
    return text.startswith("NOPERM") or "user executing the script" in text or "ACL failure" in text
