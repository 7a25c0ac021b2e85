"""The housekeeping of one worker on a Redis Cluster: for each queue a keeper on the node that has it.

Where a node is away, the other queues are kept all the same; its own are taken up again when it, or its successor, is
there, and nothing is reclaimed from them before everybody else has had the time to renew.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from celerylite.brokers import redis_cluster_notes as notes
from celerylite.brokers.base import Keeper
from celerylite.brokers.redis_cluster import Moved
from celerylite.brokers.redis_cluster_broker import QueueBroker
from celerylite.brokers.redis_keeper import OnBuried, RedisKeeper
from celerylite.brokers.redis_link import LinkError
from celerylite.brokers.values import Delivery
from celerylite.brokers.waking import Waking
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.brokers.redis_cluster_broker import ClusterBroker

logger = logging.getLogger("celery.brokers.redis")

#: Seconds between tries to reach a node that is away.
PAUSE = 0.5
#: Seconds between looks into the outbox.
LOOK_OUTBOX = 10.0

T = TypeVar("T")


class QueueKeeper(RedisKeeper):
    """One queue."""

    def __init__(self, broker: QueueBroker, *, lease: float) -> None:
        super().__init__(broker, [broker.queue], lease=lease)
        self.queue = broker.queue
        #: Whether the worker's consumers fetch from it, and block on its first list, so that they need not be woken.
        self.watched = self.first = False
        self.primary = broker.list_key(broker.queue)
        #: When (`uptime`) the next try and the next reclaiming may be.
        self.away_until = self.reclaim_at = 0.0
        self.broken = False

    @property
    def node(self) -> Any:
        """Which node has the queue, as far as it is known."""
        connector = self.broker.connector
        return connector.cluster.known(connector.slot)  # type: ignore[attr-defined]

    def watch(self, watched: bool, *, first: bool) -> None:
        """Whether consumers want to be woken for this queue."""
        self._look = self._look or (watched, first) != (self.watched, self.first)
        self.watched, self.first = watched, first

    def _lists(self) -> list[bytes]:
        lists = self.broker.list_keys(self.queue)
        return lists[1 if self.first else 0 :] if self.watched else []

    def unblock(self, client_ids: Iterable[int]) -> None:
        """Wake consumers that block on our node."""
        self._unblock(client_ids)

    def close(self) -> None:
        """Disconnect."""
        super().close()
        self._close_wake()


class ClusterKeeper(Waking, Keeper):
    """See the module."""

    def __init__(self, broker: ClusterBroker, queues: Sequence[str], *, lease: float) -> None:
        self.broker = broker
        self.lease = lease
        self.parts: dict[str, QueueKeeper] = {}
        self.set_queues(queues)
        self._consumers: list[str] = []
        self._outbox_at = 0.0
        self._open_wake()

    def _try(self, part: QueueKeeper, action: Callable[[QueueKeeper], T], otherwise: T) -> T:
        """Do something with one queue; `otherwise` where its node is away, which is said once."""
        began = uptime()
        if began < part.away_until:
            return otherwise
        for again in (True, False):
            try:
                if part.broken:
                    self._come_back(part)
                return action(part)
            except (LinkError, OSError) as exc:
                part.drop()
                if isinstance(exc, Moved) and again:
                    continue
                self._leave(part, exc, began)
        return otherwise

    def _leave(self, part: QueueKeeper, exc: Exception, began: float) -> None:
        """Let go of a queue for a while; a node that lets us wait in vain must not cost the other queues their time."""
        now = uptime()
        part.away_until = now + max(PAUSE, 2 * (now - began))
        if now - began > PAUSE:
            for other in self.parts.values():
                if other is not part and other.node == part.node:
                    other.away_until = max(other.away_until, part.away_until)
                    other.reclaim_at = now + self.lease
                    other.drop()
        # Whoever was cut off too must have the time to renew.
        part.reclaim_at = now + self.lease
        if not part.broken and not isinstance(exc, Moved):
            part.broken = True
            logger.error(
                "Housekeeping of queue %s lost its node: %s. Trying again…", part.queue, exc,
                extra={"action": "connection_lost"},
            )  # fmt: skip

    def _come_back(self, part: QueueKeeper) -> None:
        part.renew(_idents(part, self._consumers))
        part.broken = False
        logger.warning("Housekeeping of queue %s has a node again", part.queue, extra={"action": "reconnected"})

    def _each(self, action: Callable[[QueueKeeper], T], otherwise: T) -> list[T]:
        return [self._try(part, action, otherwise) for part in self.parts.values()]

    # -- the contract

    def connected(self) -> bool:
        """Whether the nodes of all queues are there."""
        return all(part.connected() and not part.broken for part in self.parts.values())

    def listen(self) -> None:
        """Subscribe to fan-out exchanges, if this worker has queues there."""
        for part in self.parts.values():
            part.listen()

    def set_queues(self, queues: Sequence[str]) -> None:
        """The worker's consumers fetch from these queues from now on; of others their leases are still renewed."""
        for queue in queues:
            if queue not in self.parts:
                self.parts[queue] = QueueKeeper(QueueBroker(self.broker, queue), lease=self.lease)
        for queue, part in self.parts.items():
            part.watch(queue in queues, first=queue == next(iter(queues), None))

    def renew(self, consumer_ids: Iterable[str]) -> None:
        """Extend the leases of consumers that are alive, in each queue."""
        self._consumers = list(consumer_ids)
        self._each(lambda part: part.renew(_idents(part, self._consumers)), None)

    def promote(self) -> float | None:
        """Move due messages to their queues; returns the seconds until the next one is due, None without any."""
        away: float | None = PAUSE
        found = self._each(lambda part: part.promote(), away)
        return min((left for left in found if left is not None), default=None)

    def advance(self, header: str, value: str, most: int) -> int:
        """Move deferred messages with this header to the fronts of our queues, up to `most` in each."""
        return sum(self._each(lambda part: part.advance(header, value, most), 0))

    def server_age(self) -> float:
        """Seconds since the node that started last."""
        return min(self._each(lambda part: part.server_age(), float("inf")), default=float("inf"))

    def reclaim(self, limit: int | None, on_buried: OnBuried) -> float:
        """Return what dead consumers held; returns the seconds until the next look is due."""
        for part in self.parts.values():
            if uptime() >= part.reclaim_at:
                soon = self._try(part, lambda part: part.reclaim(limit, on_buried), 0.0)
                part.reclaim_at = max(part.reclaim_at, uptime() + soon)
        if uptime() >= self._outbox_at:
            self._outbox_at = uptime() + LOOK_OUTBOX
            self.broker.list_queues(self.parts)
            self._empty_outbox()
        looks = [part.reclaim_at for part in self.parts.values()]
        return max(0.0, min([self._outbox_at, *looks]) - uptime())

    def _empty_outbox(self) -> None:
        try:
            found = notes.deliver_rest(self.broker)
        except (LinkError, OSError) as exc:
            logger.info("Cannot look into the outbox: %s", exc)
            return
        if found:
            logger.warning("Delivered %d message(s) that a beat had left", found, extra={"action": "restored"})

    def abandon(self, consumer_id: str, running: Iterable[Any]) -> list[Delivery]:
        """Return what a consumer of this worker that has died held, but for what it ran.

        Where a node is away that will be done when the consumer's lease has run out.
        """
        tags = list(running)
        nothing: list[Delivery] = []
        found = self._each(lambda part: part.abandon(_ident(part, consumer_id), tags), nothing)
        return [delivery for one in found for delivery in one]

    def give_back(
        self,
        consumer_id: str,
        delivery: Delivery,
        *,
        count: bool = False,
        limit: int | None = None,
        on_buried: OnBuried = lambda raw, reason: None,
    ) -> None:
        """Return one message of a dead consumer to its queue, redelivered; with `count` it may be set aside instead."""
        part = self.parts[delivery.queue]
        part.give_back(_ident(part, consumer_id), delivery, count=count, limit=limit, on_buried=on_buried)

    def discard(self, consumer_id: str, delivery: Delivery) -> bool:
        """Acknowledge one message of a dead consumer; False where it is held no more."""
        part = self.parts[delivery.queue]
        return part.discard(_ident(part, consumer_id), delivery)

    def spare(self, consumer_id: str, running: Any, upto: int) -> int:
        """Give back what a busy consumer holds but has not started, up to sequence number `upto`."""
        part = self.parts.get(self.broker.queue_of(running.split(b"\0", 1)[1])) if running else None
        if part is None:
            return 0
        return self._try(part, lambda part: part.spare(_ident(part, consumer_id), running, upto), 0)

    # -- waiting

    def wait(self, timeout: float, blocked: Callable[[], Iterable[int]]) -> bool:
        """Sleep until `timeout`, until `wake`, or until something changed that `promote` should see; True where it
        may have.
        """
        def look(part: QueueKeeper) -> tuple[bool, float]:
            return part.look(timeout, lambda: self._unblock(blocked()))

        changed = False
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        waiting: dict[int, QueueKeeper] = {}
        for part in self.parts.values():
            tracking, most = self._try(part, look, (True, PAUSE))
            timeout = min(timeout, most)
            if not tracking:
                changed = True
            if part.watch_link.connected:
                number = part.watch_link.fileno()
                waiting[number] = part
                poll.register(number, select.POLLIN)
                if part.watch_link.readable(0):
                    timeout = 0.0
        poll.poll(max(0.0, timeout) * 1000)
        for part in waiting.values():
            changed = self._try(part, _heed, True) or changed
        self._drain_wake()
        return changed or any(part.broken for part in self.parts.values())

    def _unblock(self, client_ids: Iterable[int]) -> None:
        for part in self.parts.values():
            if part.first:
                self._try(part, lambda part: part.unblock(client_ids), None)

    def drop(self) -> None:
        """Start anew at the next call."""
        for part in self.parts.values():
            part.drop()

    def close(self) -> None:
        """Disconnect."""
        for part in self.parts.values():
            part.close()
        self._close_wake()


def _heed(part: QueueKeeper) -> bool:
    """Read what a queue's node tells; whether that was something."""
    if not part.watch_link.connected or not part.watch_link.readable(0):
        return False
    part.heed()
    return True


def _ident(part: QueueKeeper, consumer_id: str) -> str:
    return f"{consumer_id}@{part.primary.decode('utf-8', 'surrogateescape')}"


def _idents(part: QueueKeeper, consumer_ids: Iterable[str]) -> list[str]:
    return [_ident(part, consumer_id) for consumer_id in consumer_ids]
