"""The mailbox on Redis: one connection that is subscribed to kombu's fan-out channel, and answers by LPUSH.

kombu is not needed for it, so that a worker that is pinged from time to time stays as small as it was. An idle worker
costs the server one PING every `PING_EVERY` seconds.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from celerylite.brokers.envelope import decode, encode
from celerylite.brokers.mailbox import Address, Mailbox
from celerylite.brokers.redis_link import LinkError, ReplyError, pack
from celerylite.brokers.values import Unreadable
from celerylite.brokers.waking import Waking
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.brokers.redis import RedisBroker
    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.redis")

#: Seconds without a word after which the server is asked whether it is still there, and for its answer.
PING_EVERY = 30.0
PATIENCE = 5.0


class RedisMailbox(Waking, Mailbox):
    """See the module."""

    errors = (LinkError, OSError)

    def __init__(self, broker: RedisBroker, address: Address) -> None:
        self.broker = broker
        self.address = address
        self._link = broker.new_link()
        self._came: deque[bytes] = deque()
        #: When (`uptime`) the server was last heard, and when it was asked whether it is there.
        self._heard = self._asked = 0.0
        self._subscribed = False
        self._open_wake()

    @property
    def uri(self) -> str:
        """The server of the moment."""
        return self.broker.connector.uri

    def open(self) -> None:
        """Subscribe, and wait until the server has said so."""
        self._link.drop()
        self._subscribed = False
        self._link.expect(self._hear)
        topic = self.broker.layout.topic(self.address.exchange, "", self.broker.connector.db)
        self._link.send(pack(b"SUBSCRIBE", topic), self._on_subscribed)
        while not self._subscribed:
            self._link.read()
        self._heard, self._asked = uptime(), 0.0

    def _on_subscribed(self, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            raise LinkError(f"may not subscribe to remote control: {reply}")
        self._subscribed = True

    def receive(self, wait: float) -> list[Message]:
        """What was broadcast; a server that does not answer a PING counts as gone."""
        if not self._came:
            self._listen(min(wait, PING_EVERY))
        return self._messages()

    def _listen(self, wait: float) -> None:
        if self._link.readable(wait, self._wake_read):
            self._link.read()
            self._heard, self._asked = uptime(), 0.0
        self._drain_wake()
        now = uptime()
        if self._asked:
            if now - self._asked > PATIENCE:
                raise LinkError(f"Redis has not answered for {now - self._heard:.0f} s")
        elif now - self._heard >= PING_EVERY:
            self._asked = now
            self._link.send(pack(b"PING"), self._hear)  # a request may come before the answer

    def _messages(self) -> list[Message]:
        messages = []
        while self._came:
            raw = self._came.popleft()
            try:
                messages.append(decode(raw))
            except Unreadable as exc:
                logger.error("Not a request: %s. It begins with %r", exc, raw[:200], extra={"action": "unreadable"})
        return messages

    def _hear(self, said: Any) -> None:
        if isinstance(said, list) and said[0] == b"message":
            self._came.append(said[2])

    def reply(self, message: Message) -> None:
        """Push the answer into the queue of whoever asked; it goes away by itself if nobody fetches it."""
        ttl = b"%d" % max(1, int(self.address.reply_ttl))
        for queue in self._queues(message.exchange, message.routing_key):
            key = self.broker.list_key(queue, 0)
            self.broker._call([pack(b"LPUSH", key, encode(message)), pack(b"EXPIRE", key, ttl)])

    def _queues(self, exchange: str, routing_key: str) -> list[str]:
        """The queues that are bound to a direct exchange with this key: first kombu's usual name, in O(1)."""
        sep = self.broker.layout.sep
        key = self.broker.key(f"_kombu.binding.{exchange}")
        usual = f"{routing_key}.{exchange}"
        member = sep.join((routing_key, "", usual)).encode()
        if self.broker._call([pack(b"SISMEMBER", key, member)])[0]:
            return [usual]
        entries = self.broker._call([pack(b"SMEMBERS", key)])[0]
        found = (entry.decode("utf-8", "replace").split(sep) for entry in entries)
        return [entry[2] for entry in found if len(entry) == 3 and entry[0] == routing_key]

    def close(self) -> None:
        """Hear nothing any more."""
        self._link.close()
        self._came.clear()
