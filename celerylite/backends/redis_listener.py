"""One subscription for a whole process: whoever waits for results shares one connection to Redis.

Any number of threads may wait. One of them, the leader, reads the socket and hands out what comes in; when it
has what it waited for, the next one takes over. Channels are subscribed to only while somebody waits. After a
reconnect everything is subscribed to anew, and everybody reads again what may have been missed.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from celerylite.brokers.redis_link import RECEIVE, Opened, Reader, ReplyError, pack
from celerylite.utils.log import get_logger

logger = get_logger("celerylite.backends.redis")

#: Seconds of silence after which the server is asked whether it is there, and that it may take to answer.
PING_AFTER = 5.0

E_RETRY_LIMIT = """
Retry limit exceeded while trying to reconnect to the Celery result store
backend. The Celery application must be restarted.
"""


class Watch:
    """What one waiting thread wants to hear of."""

    __slots__ = ("channels", "unconfirmed", "news", "reread", "error", "wake")

    def __init__(self, channels: Iterable[bytes]) -> None:
        self.channels = set(channels)
        #: Channels that the server has not confirmed yet.
        self.unconfirmed: set[bytes] = set()
        #: (channel, payload) pairs that came in.
        self.news: deque[tuple[bytes, bytes]] = deque()
        #: All channels are confirmed: what was published before is to be read now.
        self.reread = False
        self.error: BaseException | None = None
        #: Set to wake the thread while another one leads.
        self.wake: threading.Event | None = None

    @property
    def stirred(self) -> bool:
        """Whether there is something for the thread to do."""
        return bool(self.news) or self.reread or self.error is not None


class Listener:
    """The subscription. `connect` opens a redis-py connection; the rest says how often to try."""

    def __init__(
        self, connect: Callable[[], Opened], errors: tuple[type[BaseException], ...], *,
        max_retries: int | None = 20, pause: Callable[[int], float] = lambda attempt: 1.0,
    ) -> None:  # fmt: skip
        self._connect = connect
        self._errors = errors
        self._max_retries = max_retries
        self._pause = pause
        self._reset()
        reference = weakref.WeakMethod(self._reset)

        def after_fork() -> None:
            reset = reference()
            if reset is not None:
                reset()

        os.register_at_fork(after_in_child=after_fork)

    def _reset(self) -> None:
        """Start anew, as a child must: the socket and the waiting threads are the parent's."""
        self._lock = threading.Lock()
        #: One thread at a time on the socket: TLS cannot be written and read at the same time.
        self._io = threading.Lock()
        self._watches: dict[bytes, list[Watch]] = {}
        #: How many confirmations are still to come, per channel.
        self._asked: dict[bytes, int] = {}
        self._leader: Watch | None = None
        self._followers: dict[Watch, None] = {}
        self._disconnect: Callable[[], Any] | None = None
        self._sock: Any = None
        self._reader = Reader()
        self._heard = 0.0
        self._pinged = False
        self._failures = 0

    # -- for those who wait

    def add(self, channels: Iterable[bytes]) -> Watch:
        """Listen; the watch stirs when all channels are confirmed, and when something is published."""
        watch = Watch(channels)
        with self._lock:
            fresh = [channel for channel in watch.channels if channel not in self._watches]
            for channel in watch.channels:
                self._watches.setdefault(channel, []).append(watch)
            if fresh and self._sock is not None:
                self._subscribe(fresh)
            watch.unconfirmed = {
                channel for channel in watch.channels if self._sock is None or self._asked.get(channel)
            }
            watch.reread = not watch.unconfirmed
        return watch

    def remove(self, watch: Watch) -> None:
        """Stop listening."""
        with self._lock:
            gone = []
            for channel in watch.channels:
                watches = self._watches.get(channel)
                if watches is not None and watch in watches:
                    watches.remove(watch)
                    if not watches:
                        del self._watches[channel]
                        gone.append(channel)
            if gone and self._sock is not None:
                self._send(pack(b"UNSUBSCRIBE", *gone))

    def wait(self, watch: Watch, deadline: float | None = None) -> None:
        """Return when the watch has stirred, or at the deadline (on the monotonic clock)."""
        try:
            while not watch.stirred:
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    return
                if self._take_lead(watch):
                    self._lead(watch, deadline)
                    return
                wake = watch.wake
                assert wake is not None
                wake.wait(remaining)
                wake.clear()
        finally:
            self._step_back(watch)

    def close(self) -> None:
        """Drop the connection; the next wait opens it again."""
        with self._lock:
            self._drop()

    # -- leading

    def _take_lead(self, watch: Watch) -> bool:
        with self._lock:
            if self._leader is None:
                self._leader = watch
                self._followers.pop(watch, None)
                return True
            if watch.wake is None:
                watch.wake = threading.Event()
            if watch.stirred:  # it stirred before there was anything to wake
                watch.wake.set()
            self._followers[watch] = None
            return False

    def _step_back(self, watch: Watch) -> None:
        """Neither lead nor follow any more; if nobody leads now, wake somebody to do it."""
        with self._lock:
            self._followers.pop(watch, None)
            if self._leader is watch:
                self._leader = None
            if self._leader is None:
                for follower in self._followers:
                    assert follower.wake is not None
                    follower.wake.set()
                    break

    def _lead(self, watch: Watch, deadline: float | None) -> None:
        """Read for everybody until this watch stirs or its time is up."""
        try:
            while not watch.stirred:
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    return
                if self._sock is None and not self._open(deadline):
                    continue
                self._read(PING_AFTER if deadline is None else min(PING_AFTER, deadline - now))
        except BaseException:
            # A signal handler raised in the middle of a read: nobody knows where in the stream we are.
            self.close()
            raise

    def _read(self, timeout: float) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            if not self._readable(sock, timeout):
                self._mind_silence()
                return
            with self._io:
                data = sock.recv(RECEIVE)
            if not data:
                raise ConnectionError("Redis closed the connection")
            self._heard, self._pinged, self._failures = time.monotonic(), False, 0
            self._reader.feed(data)
            replies = self._reader.replies()
        except OSError as exc:
            logger.info("Connection to Redis lost: %s", exc, extra={"action": "reconnect"})
            self.close()
            return
        with self._lock:
            for reply in replies:
                self._hand_out(reply)

    def _readable(self, sock: Any, timeout: float) -> bool:
        if getattr(sock, "pending", int)():  # TLS keeps decrypted bytes that poll cannot see
            return True
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout) * 1000))

    def _mind_silence(self) -> None:
        """A network that swallows everything looks like a server with nothing to say: ask it."""
        now = time.monotonic()
        if now - self._heard < PING_AFTER:
            return
        if self._pinged:
            raise ConnectionError("Redis does not answer")
        self._pinged, self._heard = True, now
        with self._io:
            self._sock.sendall(pack(b"PING"))

    def _hand_out(self, reply: Any) -> None:
        """Give one reply to those it concerns; called with the lock held."""
        if isinstance(reply, ReplyError):
            self._fail(RuntimeError(f"Redis refused a subscription: {reply}"))
            return
        if not isinstance(reply, list) or len(reply) < 3:
            return  # the answer to a PING
        kind, channel, payload = reply[0], reply[1], reply[2]
        if kind == b"message":
            for watch in self._watches.get(channel, ()):
                watch.news.append((channel, payload))
                self._wake(watch)
        elif kind == b"subscribe":
            self._confirmed(channel)

    def _confirmed(self, channel: bytes) -> None:
        left = self._asked.get(channel, 1) - 1
        if left > 0:  # the answer to an earlier subscription, which was undone in between
            self._asked[channel] = left
            return
        self._asked.pop(channel, None)
        for watch in self._watches.get(channel, ()):
            watch.unconfirmed.discard(channel)
            if not watch.unconfirmed:
                watch.reread = True
                self._wake(watch)

    def _wake(self, watch: Watch) -> None:
        if watch.wake is not None:
            watch.wake.set()

    def _fail(self, error: BaseException) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.error = error
                self._wake(watch)

    # -- the connection

    def _open(self, deadline: float | None) -> bool:
        """Connect and subscribe to everything anew; False where it failed, after a pause."""
        try:
            sock, disconnect = self._connect()
        except self._errors as exc:
            self._failed(exc, deadline)
            return False
        with self._lock:
            self._sock, self._disconnect = sock, disconnect
            self._reader, self._asked = Reader(), {}
            self._heard, self._pinged = time.monotonic(), False
            for watches in self._watches.values():
                for watch in watches:
                    watch.unconfirmed, watch.reread = set(watch.channels), False
            if self._watches:
                self._subscribe(list(self._watches))
        return self._sock is not None

    def _failed(self, exc: BaseException, deadline: float | None) -> None:
        self._failures += 1
        if self._max_retries and self._failures > self._max_retries:
            self._failures = 0
            logger.critical(E_RETRY_LIMIT.strip(), extra={"action": "give_up"})
            error = RuntimeError(E_RETRY_LIMIT)
            error.__cause__ = exc
            with self._lock:
                self._fail(error)
            return
        pause = self._pause(self._failures)
        limit = self._max_retries or "Inf"
        sentence = "Connection to Redis lost: Retry (%s/%s) in %.2f seconds."
        logger.error(sentence, self._failures, limit, pause, extra={"action": "reconnect"})
        if deadline is not None:
            pause = min(pause, deadline - time.monotonic())
        time.sleep(max(0.0, pause))

    def _subscribe(self, channels: list[bytes]) -> None:
        for channel in channels:
            self._asked[channel] = self._asked.get(channel, 0) + 1
        self._send(pack(b"SUBSCRIBE", *channels))

    def _send(self, command: bytes) -> None:
        """Write; the lock is held. A broken connection is dropped, and whoever leads opens the next one."""
        try:
            with self._io:
                self._sock.sendall(command)
        except OSError:
            self._drop()

    def _drop(self) -> None:
        disconnect, self._disconnect, self._sock = self._disconnect, None, None
        if disconnect is not None:
            disconnect()

    def __del__(self) -> None:
        self._drop()  # without a word, where Python would warn of a socket that nobody closed
