"""kombu on a Redis Cluster: remote control, events, topic exchanges and kombu's own consumers, beside our task plane.

    rediscluster://HOST[:PORT][,HOST[:PORT]…]/      (celerylite's apps: redis+cluster://…)

Queues are the lists of the task plane, each in the slot of its name; bindings are kombu's sets; fan-out is PUBLISH,
which every node passes on. Features: direct, topic and fan-out exchanges, priorities, queues that expire. What kombu's
consumers have not acknowledged is restored when their channel closes, and lost when their process is killed.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from queue import Empty
from typing import Any

from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.utils.json import dumps, loads

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.redis import BINDINGS
from celerylite.brokers.redis_cluster import Cluster
from celerylite.brokers.redis_cluster_address import parse
from celerylite.brokers.redis_cluster_layout import ClusterLayout
from celerylite.brokers.redis_link import Link, LinkError, pack

#: Seconds between looks into queues, while somebody consumes some.
POLL = 0.05
#: Seconds of one wait for what is published.
SLICE = 1.0
#: Seconds that a queue which ends with its consumer outlives a consumer that was killed.
LIFETIME = 60.0
#: Behind the tag of a queue: how many milliseconds its lists live without being used.
EXPIRES = "celerylite.expires"


class Channel(virtual.Channel):
    """A channel. Its subscription is a connection of its own, to any node."""

    supports_fanout = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        #: Fan-out queue → exchange and routing key.
        self._fanout_queues: dict[str, tuple[str, str]] = {}
        #: Fan-out queue → the copies that have come and were not taken.
        self._copies: dict[str, deque[bytes]] = {}
        #: Pattern → the queues that are subscribed by it.
        self._patterns: dict[bytes, set[str]] = {}
        self._auto_delete: set[str] = set()
        self._subscription: Link | None = None

    @property
    def _cluster(self) -> Cluster:
        return self.connection.cluster

    @property
    def _layout(self) -> ClusterLayout:
        return self.connection.layout

    # -- messages

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        layout = self._layout
        key = layout.list_key(queue, (message.get("properties") or {}).get("priority"))
        lifetime = layout.of(queue).key(EXPIRES)
        commands = pack(b"LPUSH", key, dumps(message).encode("utf-8")), pack(b"GET", lifetime)
        _, expires = self._cluster.call(commands)
        if expires:
            self._cluster.call([pack(b"PEXPIRE", one, expires) for one in (key, lifetime)])

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **kwargs: Any) -> None:
        topic = self._layout.topic(exchange, routing_key or "", 0)
        self._cluster.call_one(pack(b"PUBLISH", topic, dumps(message).encode("utf-8")))

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        if queue in self._fanout_queues:
            copies = self._copies.get(queue)
            if not copies:
                raise Empty
            return loads(copies.popleft())
        for key in self._layout.of(queue).list_keys(queue):
            raw = self._cluster.call_one(pack(b"RPOP", key))
            if raw is not None:
                return loads(raw)
        raise Empty

    def _restore(self, message: Any) -> None:
        if message.delivery_info.get("exchange") and self.typeof(message.delivery_info["exchange"]).type == "fanout":
            return  # a copy that nobody else wants
        super()._restore(message)

    def _size(self, queue: str) -> int:
        if queue in self._fanout_queues:
            return len(self._copies.get(queue, ()))
        return sum(self._cluster.call([pack(b"LLEN", key) for key in self._lists(queue)]))

    def _purge(self, queue: str) -> int:
        size = self._size(queue)
        if queue in self._fanout_queues:
            self._copies.pop(queue, None)
        else:
            self._cluster.call_one(pack(b"DEL", *self._lists(queue)))
        return size

    def _lists(self, queue: str) -> list[bytes]:
        return self._layout.of(queue).list_keys(queue)

    # -- queues and bindings

    def _new_queue(self, queue: str, auto_delete: bool = False, arguments: Any = None, **kwargs: Any) -> None:
        expires = (arguments or {}).get("x-expires")
        if auto_delete or kwargs.get("exclusive"):
            self._auto_delete.add(queue)
            expires = expires or LIFETIME * 1000
        if expires:
            milliseconds = b"%d" % int(expires)
            # Longer than the queue: a consumer that only waits does not touch it.
            self._cluster.call_one(pack(b"SET", self._layout.of(queue).key(EXPIRES), milliseconds, b"EX", b"86400"))

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        """`expires` and the like become arguments, as on RabbitMQ."""
        return to_rabbitmq_queue_arguments(arguments, **kwargs)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        if self.typeof(exchange).type == "fanout":
            self._fanout_queues[queue] = (exchange, (routing_key or "").replace("#", "*"))
        member = self._member(routing_key, pattern, queue)
        self._cluster.call([pack(b"SADD", self._layout.key(name + exchange), member) for name in BINDINGS])

    def _member(self, *words: str | None) -> bytes:
        return self._layout.sep.join(word or "" for word in words).encode("utf-8")

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **kwargs: Any) -> None:
        member = self._member(routing_key, pattern, queue)
        self._cluster.call([pack(b"SREM", self._layout.key(name + exchange), member) for name in BINDINGS])
        self._cluster.call_one(pack(b"DEL", *self._lists(queue), self._layout.of(queue).key(EXPIRES)))
        self._auto_delete.discard(queue)

    def queue_unbind(
        self, queue: str, exchange: str | None = None, routing_key: str = "", arguments: Any = None, **kwargs: Any
    ) -> None:
        """Undo `queue_bind`."""
        self.state.binding_delete(queue, exchange, routing_key)
        member = self._member(routing_key, "", queue)
        self._cluster.call([pack(b"SREM", self._layout.key(name + (exchange or "")), member) for name in BINDINGS])

    def get_table(self, exchange: str) -> list[tuple[str, ...]]:
        """The bindings of an exchange: (routing key, pattern, queue)."""
        found = self._cluster.call_one(pack(b"SMEMBERS", self._layout.key(BINDINGS[0] + exchange)))
        return [tuple(member.decode("utf-8").split(self._layout.sep)) for member in found]

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        keys = (*self._lists(queue), self._layout.of(queue).key(EXPIRES))
        return queue in self._fanout_queues or bool(self._cluster.call_one(pack(b"EXISTS", *keys)))

    # -- consuming

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        """Consume; what is published to a fan-out exchange after this call comes in."""
        tag = super().basic_consume(queue, *args, **kwargs)
        if queue in self._fanout_queues:
            self._subscribe(queue)
        return tag

    def _subscribe(self, queue: str) -> None:
        exchange, routing_key = self._fanout_queues[queue]
        pattern = self._layout.topic(exchange, routing_key, 0)
        self._patterns.setdefault(pattern, set()).add(queue)
        self._copies.setdefault(queue, deque())
        if self._subscription is None:
            self._subscription = self._cluster.link(None)
            self._subscription.expect(self._receive)
        if not self._subscription.connected:
            self._subscribe_all(self._subscription)
            return
        self._subscription.send(pack(b"PSUBSCRIBE", pattern), self._receive)
        self._subscription.flush()

    def _subscribe_all(self, link: Link) -> None:
        for pattern in self._patterns:
            link.send(pack(b"PSUBSCRIBE", pattern), self._receive)
        link.flush()

    def _receive(self, message: Any) -> None:
        if isinstance(message, list) and message[0] == b"pmessage":
            for queue in self._patterns.get(message[1], ()):
                self._copies[queue].append(message[3])

    def subscription(self) -> Link | None:
        """The connection on which copies come in, subscribed anew where it was broken."""
        link = self._subscription
        if link is not None and not link.connected:
            self._subscribe_all(link)
        return link

    def polls(self) -> bool:
        """Whether somebody consumes a queue that has to be looked into."""
        return any(queue not in self._fanout_queues for queue in self._active_queues)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Cancel a consumer; a queue that was made for it goes with it."""
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is None or queue in self._active_queues:
            return
        for pattern, queues in list(self._patterns.items()):
            queues.discard(queue)
            if not queues:
                del self._patterns[pattern]
                if self._subscription is not None and self._subscription.connected:
                    self._subscription.send(pack(b"PUNSUBSCRIBE", pattern))
        self._copies.pop(queue, None)
        if queue in self._auto_delete:
            self.queue_delete(queue)

    def close(self) -> None:
        """Give back what was not acknowledged, and disconnect."""
        super().close()
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None


class Transport(virtual.Transport):
    """The transport: its connections are the cluster's."""

    Channel = Channel

    can_parse_url = True
    default_port = None
    driver_type = "redis"
    driver_name = "celerylite"
    connection_errors: Any = (*virtual.Transport.connection_errors, LinkError, OSError)
    implements = virtual.Transport.implements.extend(exchange_type=frozenset(("direct", "topic", "fanout")))

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        options = client.transport_options or {}
        urls = [str(url) for url in client.alt or ()] or [str(client.hostname)]
        self.place = parse(";".join(urls), client.ssl, options)
        self.layout = ClusterLayout.from_options(options)
        self.cluster = Cluster(self.place, scripts.ALL)

    def establish_connection(self) -> Any:
        """Ask who has which slots, so that what is wrong shows here."""
        self.cluster.refresh()
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
            left = SLICE if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout  # noqa: UP041 (kombu's callers know it by this name)
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        """Until a copy comes in, or it is time to look into queues."""
        links = [link for channel in self.channels if (link := channel.subscription()) is not None]
        seconds = min(seconds, POLL if any(channel.polls() for channel in self.channels) else SLICE)
        poll = select.poll()
        for link in links:
            poll.register(link.fileno(), select.POLLIN)
        poll.poll(0 if any(link.readable(0) for link in links) else seconds * 1000)
        for link in links:
            if link.readable(0):
                link.read()

    def close_connection(self, connection: Any) -> None:
        """Close the channels and connections."""
        super().close_connection(connection)
        self.cluster.close()

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL as users write it, the password masked."""
        return uri.replace("cluster://", "+cluster://", 1) if include_password else self.place.url

    def driver_version(self) -> str:
        """Redis' protocol has none that matters here."""
        return "N/A"
