"""Taking from queues of a Redis Cluster: for each a consumer on the node that has it, served by turns.

A batch comes from one queue, the next from the one behind it. With nothing in any of them, the process blocks on its
first queue; the keeper wakes it when another has something. A queue whose node is away is passed over meanwhile.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celerylite.brokers.base import Consumer
from celerylite.brokers.envelope import decode
from celerylite.brokers.redis_cluster import Moved
from celerylite.brokers.redis_cluster_broker import QueueBroker
from celerylite.brokers.redis_consumer import RedisConsumer
from celerylite.brokers.values import Delivery, Settlement
from celerylite.brokers.waking import Waking
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.brokers.redis_cluster_broker import ClusterBroker
    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.redis")

#: Seconds between looks at the other queues while the one on which we block is away.
LOOK = 0.2


class QueueConsumer(RedisConsumer):
    """One queue. Where its slot moves to another node, it follows without a word."""

    #: Its queues are on several nodes, of which one script knows only its own.
    keeps = False
    #: Until when (`uptime`) the queue is passed over.
    away_until = 0.0
    #: Whether its process has no other queue, so that it may block without a look at those.
    alone = False

    @property
    def sequence(self) -> int:
        """The number of the next message to be taken."""
        return self._sequence

    def count_from(self, number: int) -> None:
        """Number what is taken from now on from here."""
        self._sequence = max(self._sequence, number)

    def take_no_more(self) -> None:
        """Give back what was asked for already."""
        if self._taking is not None:
            self.release(self.fetch(1, 0.0))

    def _may_block_at_once(self) -> bool:
        return self.alone and super()._may_block_at_once()

    def _complain(self, exc: BaseException) -> None:
        if isinstance(exc, Moved):
            logger.info("Queue %s: %s", self.queues[0], exc, extra={"action": "slot_moved"})
            if not str(exc).startswith("MOVED"):
                self._sleep(0.05)  # on its way: a matter of time
            return
        super()._complain(exc)
        self.away_until = uptime() + self._pause


class ClusterConsumer(Waking, Consumer):
    """See the module. All its consumers have ids that begin with `id`."""

    def __init__(
        self,
        broker: ClusterBroker,
        queues: Sequence[str],
        *,
        serial: bool,
        lease: float,
        renewed: Callable[[], float] = lambda: 0.0,
        on_block: Callable[[int], None] = lambda client_id: None,
        alarm: int | None = None,
        sure: float = 0.05,
    ) -> None:
        self.broker = broker
        self.serial = serial
        self.lease = lease
        # `renewed` is not asked: it speaks for the worker, and cannot know of each node.
        self._options: dict[str, Any] = {"on_block": on_block, "alarm": alarm, "sure": sure}
        self._open_wake(alarm)
        self._parts: dict[str, QueueConsumer] = {}
        #: Queues whose node is lost.
        self._away: set[str] = set()
        self._turn = 0
        self._sequence = 0
        self.id = f"{'s' if serial else 't'}{os.urandom(8).hex()}"
        self.set_queues(queues)

    def set_queues(self, queues: Sequence[str]) -> None:
        """Fetch from these queues from now on. Of others the consumers stay, for what is held of them still."""
        for name in set(self._parts).difference(queues):
            self._parts[name].take_no_more()
        self.queues = list(queues)
        for name in self.queues:
            if name not in self._parts:
                self._parts[name] = self._part(name)
        for part in self._parts.values():
            part.alone = len(self.queues) == 1
        self._order = self.broker.layout.order(self.queues)

    def _part(self, queue: str) -> QueueConsumer:
        part = QueueConsumer(
            QueueBroker(self.broker, queue), [queue], serial=self.serial, lease=self.lease, **self._options
        )
        part.rename(self.id)
        part.on_outage = partial(self._note_outage, queue)
        return part

    def _note_outage(self, queue: str, began: bool) -> None:
        """The node of a queue is lost or back: the broker is lost while any is."""
        before = bool(self._away)
        (self._away.add if began else self._away.discard)(queue)
        if bool(self._away) != before and self.on_outage is not None:
            self.on_outage(began)

    def open(self, given_up: Callable[[], bool]) -> bool:
        """Connect, trying until it works or `given_up` says so; returns whether it did."""
        return all(part.open(given_up) for part in self._parts.values())

    # -- taking

    def fetch(self, most: int, wait: float) -> list[Delivery]:
        """Take up to `most` messages of one queue; with none in any, wait up to `wait` seconds for the first."""
        if len(self.queues) == 1:
            return self._parts[self.queues[0]].fetch(most, wait)
        if not self.queues:
            self._idle(wait)
            return []
        for queue in self._in_order():
            taken = self._take(self._parts[queue], most)
            if taken:
                self._rotate(queue)
                return taken
        first = self._parts[self.queues[0]]
        if wait <= 0:
            return []
        if uptime() < first.away_until:
            self._sleep(min(LOOK, wait))
            return []
        return self._numbered(first, lambda: first.fetch(most, wait))

    def _in_order(self) -> Sequence[str]:
        """The queues as they are looked at next: by turns, or as `queue_order_strategy` says."""
        if self._order is not None:
            return list(self._order.consume(len(self.queues)))
        turn = self._turn % len(self.queues)
        return self.queues[turn:] + self.queues[:turn]

    def _rotate(self, queue: str) -> None:
        """The queue has had its turn."""
        if self._order is not None:
            self._order.rotate(queue)
        else:
            self._turn = self.queues.index(queue) + 1

    def _take(self, part: QueueConsumer, most: int) -> list[Delivery]:
        return [] if uptime() < part.away_until else self._numbered(part, lambda: part.fetch(most, 0.0))

    def _numbered(self, part: QueueConsumer, fetch: Callable[[], list[Delivery]]) -> list[Delivery]:
        """Numbers go up over all queues, so that a higher one is always a later one."""
        part.count_from(self._sequence)
        try:
            return fetch()
        finally:
            self._sequence = part.sequence

    def prepare(self, most: int, on_number: Callable[[int], None]) -> None:
        """Ask for the next messages already; not with several queues, where the turn is another one's."""
        if len(self.queues) == 1:
            self._parts[self.queues[0]].prepare(most, on_number)

    def read(self, delivery: Delivery) -> Message:
        """The message in a delivery."""
        return decode(delivery.raw)

    def fresh(self, delivery: Delivery) -> bool:
        """Whether nobody can have taken the message from us by now."""
        return self._of(delivery).fresh(delivery)

    def _of(self, delivery: Delivery) -> QueueConsumer:
        return self._parts[delivery.queue]

    # -- letting go

    def begin(self, delivery: Delivery, *, ack: bool) -> bool:
        """The task is about to start: acknowledge it if asked, and make sure that nobody else has it."""
        return self._of(delivery).begin(delivery, ack=ack)

    def ack(self, delivery: Delivery) -> None:
        """The message is done with."""
        self._of(delivery).ack(delivery)

    def settle(self, delivery: Delivery, settlement: Settlement, *, acked: bool, last: bool = False) -> bool:
        """Send, then acknowledge; results are stored by whoever has them, because they have slots of their own."""
        if settlement.store is not None or settlement.commands:
            raise NotImplementedError("A Redis Cluster keeps results and messages in different slots")
        if settlement.messages:
            self.broker.publish_many(settlement.messages)
        if not acked:
            self.ack(delivery)
        return True

    def push(self) -> None:
        """Send what is held back for the next command."""
        for part in self._parts.values():
            part.push()

    def requeue(self, delivery: Delivery) -> None:
        """Give a message back to the front of its queue, marked as redelivered."""
        self._of(delivery).requeue(delivery)

    def defer(self, delivery: Delivery, due: float, headers: Mapping[str, Any] | None = None) -> None:
        """Let a message wait on the server until `due`."""
        self._of(delivery).defer(delivery, due, headers)

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Set a message aside where it can be looked at."""
        self._of(delivery).bury(delivery, reason)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give messages that were not started back to the fronts of their queues, in order."""
        for queue, part in self._parts.items():
            part.release([delivery for delivery in deliveries if delivery.queue == queue])

    def flush(self) -> None:
        """Return once the nodes have confirmed all that was sent, or one has been away for too long while we end."""
        for part in self._parts.values():
            part.flush()

    # -- waiting, waking, ending

    def wake(self) -> None:
        """End a wait; any thread and any signal handler may call."""
        super().wake()
        for part in list(self._parts.values()):
            part.wake()

    def end(self) -> None:
        """Nothing is fetched any more: from now on a node that is gone is waited for only so long."""
        for part in list(self._parts.values()):
            part.end()
        super().wake()

    def close(self) -> None:
        """Give back all that is held, drop the leases, disconnect."""
        for part in self._parts.values():
            part.end()
        for part in self._parts.values():
            part.close()
        self._close_wake()
