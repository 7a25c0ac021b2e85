"""A broker within one process (`memory://`): for tests, with a worker in a thread. Nothing survives the process.

It keeps the contract of the others: messages are encoded as on Redis, taken by priority, held until they are
acknowledged, deferred until they are due, set aside when nobody can run them.
"""

from __future__ import annotations

import heapq
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from celerylite.brokers.base import Broker, Consumer, Keeper, Notebook
from celerylite.brokers.envelope import decode, encode, header_text, redelivered, with_headers
from celerylite.brokers.rates import Line
from celerylite.brokers.revoked_book import MemoryBook
from celerylite.brokers.values import Claim, DeadLetter, Delivery, Settlement, Unreadable, Waiting
from celerylite.utils import uuid

if TYPE_CHECKING:
    from kombu.connection import Connection

    from celerylite.message import Message

#: Most urgent first, as on Redis.
STEPS = (0, 3, 6, 9)


class Space:
    """Everything that the brokers of one virtual host share."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.queues: dict[str, dict[int, deque[bytes]]] = {}
        #: (due, number, queue, priority, message), the next one first.
        self.delayed: list[tuple[float, int, str, int, bytes]] = []
        self.dead: deque[DeadLetter] = deque(maxlen=10_000)
        self.numbers = count()
        self.notebooks: dict[str, MemoryNotebook] = {}
        self.revoked = MemoryBook()
        self.rates: dict[str, Line] = {}

    def notebook(self, name: str) -> MemoryNotebook:
        """The notebook of this name; the caller holds the lock."""
        return self.notebooks.setdefault(name, MemoryNotebook(self.changed))

    def queue(self, name: str) -> dict[int, deque[bytes]]:
        """The lists of a queue, by priority."""
        return self.queues.setdefault(name, {step: deque() for step in STEPS})

    def put(self, name: str, priority: int, raw: bytes, *, front: bool = False) -> None:
        """Add a message; the caller holds the lock."""
        waiting = self.queue(name)[_step(priority)]
        (waiting.appendleft if front else waiting.append)(raw)
        self.changed.notify_all()

    def defer(self, due: float, name: str, priority: int, raw: bytes) -> None:
        """Let a message wait; the caller holds the lock."""
        heapq.heappush(self.delayed, (due, next(self.numbers), name, priority, raw))
        self.changed.notify_all()

    def promote(self) -> float | None:
        """Move due messages; returns the seconds until the next is due. The caller holds the lock."""
        now = time.time()
        while self.delayed and self.delayed[0][0] <= now:
            _, _, name, priority, raw = heapq.heappop(self.delayed)
            self.put(name, priority, raw)
        return self.delayed[0][0] - now if self.delayed else None


_spaces: dict[str, Space] = {}


class MemoryBroker(Broker):
    """The sending side."""

    connection_errors = ()

    def __init__(self, connection: Connection, *, dead_limit: int = 10_000) -> None:
        self.connection = connection
        self.space = _spaces.setdefault(connection.virtual_host or "/", Space())
        self._declared: set[Any] = set()
        self._lock = threading.Lock()

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            raw, priority = encode(message), message.properties.get("priority") or 0
            for name in self._queues_for(message):
                with self.space.changed:
                    if message.due is not None:
                        self.space.defer(message.due, name, priority, raw)
                    else:
                        self.space.put(name, priority, raw)

    def notebook(self, name: str) -> MemoryNotebook:
        """The notebook of this name."""
        with self.space.changed:
            return self.space.notebook(name)

    def revoked_book(self) -> MemoryBook:
        """One for all of this virtual host."""
        return self.space.revoked

    counts_rates = True

    def rate_wait(self, name: str, period: float, *, back: bool) -> float:
        """Under the lock."""
        with self.space.changed:
            return self.space.rates.setdefault(name, Line()).wait(time.time(), period, back=back)

    def forget_rate(self, name: str) -> None:
        """Begin a line anew."""
        with self.space.changed:
            self.space.rates.pop(name, None)

    def publish_once(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Each claim under the lock."""
        return [self._claim(claim) for claim in claims]

    def _claim(self, claim: Claim) -> bytes | None:
        with self.space.changed:
            notes = self.space.notebook(claim.book).notes
            found = notes.get(claim.field, b"")
            if found != claim.value:
                if found != (claim.seen or b""):
                    return found
                self._send(claim.messages)
                notes[claim.field] = claim.value
            return None

    def _queues_for(self, message: Message) -> list[str]:
        if not message.exchange:
            return [message.routing_key]
        with self._lock:
            channel = self.connection.default_channel
            if message.queue is not None and message.queue not in self._declared:
                message.queue.bind(channel).declare()
                self._declared.add(message.queue)
            table = channel.get_table(message.exchange)
            kind = channel.typeof(message.exchange)
            return kind.lookup(table, message.exchange, message.routing_key, message.routing_key) or []

    def declare(self, queues: Iterable[Any]) -> None:
        """Note the bindings of these queues."""
        with self._lock:
            channel = self.connection.default_channel
            for queue in queues:
                if queue not in self._declared:
                    queue.bind(channel).declare()
                    self._declared.add(queue)

    def announce(self, messages: Sequence[Message]) -> int | None:
        """Events leave this process as little as tasks do: without kombu's transport nobody can listen."""
        return None if "kombu.transport.memory" in sys.modules else 0

    def purge(self, queues: Iterable[str]) -> int:
        """Delete the messages that wait in these queues; returns how many."""
        with self.space.changed:
            names = list(queues)
            total = sum(self._length(name) for name in names)
            for name in names:
                self.space.queues.pop(name, None)
            return total

    def queue_length(self, queue: str) -> int:
        """How many messages wait in the queue."""
        with self.space.changed:
            return self._length(queue)

    def _length(self, queue: str) -> int:
        return sum(map(len, self.space.queue(queue).values()))

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """The messages that were set aside, newest first."""
        with self.space.changed:
            return list(self.space.dead)[:limit]

    def delayed(self, queues: Iterable[str], limit: int = 1000) -> list[Waiting]:
        """What is not due yet, of these queues."""
        wanted = set(queues)
        with self.space.changed:
            found = [Waiting(name, raw, due) for due, _, name, _, raw in sorted(self.space.delayed) if name in wanted]
        return found[:limit]

    def retry_dead(self, ids: Iterable[str] | None = None) -> int:
        """Put set-aside messages back in their queues."""
        wanted = None if ids is None else set(ids)
        with self.space.changed:
            chosen = [
                letter
                for letter in self.space.dead
                if wanted is None or letter.id in wanted or letter.task_id in wanted
            ]
            for letter in reversed(chosen):
                self.space.dead.remove(letter)
                self.space.put(letter.queue, _priority(letter.raw), letter.raw)
            return len(chosen)

    def purge_dead(self) -> int:
        """Delete all messages that were set aside."""
        with self.space.changed:
            total = len(self.space.dead)
            self.space.dead.clear()
            return total

    def consumer(self, queues: Sequence[str], *, serial: bool, lease: float, **options: Any) -> Consumer:
        """Start to consume these queues."""
        return MemoryConsumer(self.space, queues)

    def keeper(self, queues: Sequence[str], *, lease: float) -> Keeper:
        """The housekeeping of one worker."""
        return MemoryKeeper(self.space)


class MemoryNotebook(Notebook):
    """A dictionary under the lock of its space."""

    def __init__(self, lock: threading.Condition | None = None) -> None:
        self.lock = lock or threading.Condition()
        self.notes: dict[str, bytes] = {}
        self._version = 0

    def read(self) -> tuple[int, dict[str, bytes]]:
        """Its version and all its notes."""
        with self.lock:
            return self._version, dict(self.notes)

    def change(
        self, set: Mapping[str, bytes] | None = None, drop: Iterable[str] = (), version: int | None = None
    ) -> bool:
        """Write and delete notes in one step."""
        with self.lock:
            if version not in (None, self._version):
                return False
            self.notes.update(set or {})
            for name in drop:
                self.notes.pop(name, None)
            self._version += 1
            return True

    def version(self) -> int:
        """Another number after each change."""
        return self._version


class MemoryConsumer(Consumer):
    """What one task process holds."""

    def __init__(self, space: Space, queues: Sequence[str]) -> None:
        self.space = space
        self.queues = list(queues)
        self.id = uuid()
        self._held: dict[bytes, Delivery] = {}
        self._awake = False

    def set_queues(self, queues: Sequence[str]) -> None:
        """Fetch from these queues from now on."""
        self.queues = list(queues)

    def open(self, given_up: Callable[[], bool]) -> bool:
        """There is nothing to connect to."""
        return True

    def fetch(self, most: int, wait: float) -> list[Delivery]:
        """Take up to `most` messages; with none there, wait for the first."""
        deadline = time.monotonic() + wait
        with self.space.changed:
            while True:
                left = self.space.promote()
                taken = self._take(most)
                rest = deadline - time.monotonic()
                if taken or self._awake or rest <= 0:
                    self._awake = False
                    return taken
                self.space.changed.wait(rest if left is None else min(rest, left))

    def _take(self, most: int) -> list[Delivery]:
        taken: list[Delivery] = []
        for step in STEPS:
            for name in self.queues:
                waiting = self.space.queue(name)[step]
                while waiting and len(taken) < most:
                    tag = b"%d\0%b" % (next(self.space.numbers), name.encode())
                    delivery = Delivery(tag, waiting.popleft(), name)
                    self._held[tag] = delivery
                    taken.append(delivery)
        return taken

    def read(self, delivery: Delivery) -> Message:
        """The message in a delivery."""
        return decode(delivery.raw)

    def fresh(self, delivery: Delivery) -> bool:
        """Nobody takes anything from a consumer of this process."""
        return True

    def begin(self, delivery: Delivery, *, ack: bool) -> bool:
        """The task is about to start."""
        if ack:
            self.ack(delivery)
        return True

    def ack(self, delivery: Delivery) -> None:
        """The message is done with."""
        self._held.pop(delivery.tag, None)

    def settle(self, delivery: Delivery, settlement: Settlement, *, acked: bool, last: bool = False) -> bool:
        """Results are not kept here, so there is no transaction to be had."""
        raise NotImplementedError("the memory broker is no result store")

    def requeue(self, delivery: Delivery) -> None:
        """Give a message back, marked as redelivered."""
        self.ack(delivery)
        self._put_back(delivery, redelivered(delivery.raw, count=False)[0])

    def _put_back(self, delivery: Delivery, raw: bytes) -> None:
        with self.space.changed:
            self.space.put(delivery.queue, _priority(raw), raw, front=True)

    def defer(self, delivery: Delivery, due: float, headers: Mapping[str, Any] | None = None) -> None:
        """Let a message wait."""
        self.ack(delivery)
        raw = with_headers(delivery.raw, headers)
        with self.space.changed:
            self.space.defer(due, delivery.queue, _priority(raw), raw)

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Set a message aside."""
        self.ack(delivery)
        try:
            headers = decode(delivery.raw).headers
        except Unreadable:
            headers = {}
        letter = DeadLetter(
            uuid(), reason, delivery.queue, time.time(), "", delivery.raw, headers.get("id"), headers.get("task")
        )
        with self.space.changed:
            self.space.dead.appendleft(letter)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give messages that were not started back, in order."""
        for delivery in reversed(deliveries):
            self.ack(delivery)
            self._put_back(delivery, delivery.raw)

    def flush(self) -> None:
        """Everything is done at once."""

    def wake(self) -> None:
        """Make a waiting `fetch` return."""
        # Not the space's lock: a signal handler may run while this very thread holds it.
        self._awake = True
        threading.Thread(target=self._notify, daemon=True).start()

    def _notify(self) -> None:
        with self.space.changed:
            self.space.changed.notify_all()

    def close(self) -> None:
        """Give back what is held."""
        self.release(list(self._held.values()))


class MemoryKeeper(Keeper):
    """There is little to keep: consumers promote, and die only with the process."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._wakened = threading.Event()

    def advance(self, header: str, value: str, most: int) -> int:
        """Let them be due now; the queues of a process are everybody's."""
        text = header_text(header, value).encode()
        with self.space.changed:
            found = sorted(entry for entry in self.space.delayed if entry[0] and text in entry[4])[:most]
            for entry in found:
                self.space.delayed.remove(entry)
                self.space.delayed.append((0.0, *entry[1:]))
            heapq.heapify(self.space.delayed)
            self.space.changed.notify_all()
        return len(found)

    def renew(self, consumer_ids: Iterable[str]) -> None:
        """No leases."""

    def promote(self) -> float | None:
        """Consumers do it."""
        return None

    def reclaim(self, limit: int | None, on_buried: Any) -> float:
        """Nobody can die alone."""
        return 3600.0

    def abandon(self, consumer_id: str, running: Iterable[Any]) -> list[Delivery]:
        """Nobody can die alone."""
        return []

    def give_back(self, consumer_id: str, delivery: Delivery, **options: Any) -> None:
        """Nobody can die alone."""

    def discard(self, consumer_id: str, delivery: Delivery) -> bool:
        """Nobody can die alone."""
        return False

    def spare(self, consumer_id: str, running: Any, upto: int) -> int:
        """One process, one consumer."""
        return 0

    def wait(self, timeout: float, blocked: Callable[[], Iterable[int]]) -> bool:
        """Sleep."""
        self._wakened.wait(timeout)
        self._wakened.clear()
        return False

    def drop(self) -> None:
        """Nothing is connected."""

    def wake(self) -> None:
        """Make a waiting `wait` return."""
        self._wakened.set()

    def close(self) -> None:
        """Nothing is connected."""


def _step(priority: int) -> int:
    return max(step for step in STEPS if step <= max(0, priority))


def _priority(raw: bytes) -> int:
    try:
        return decode(raw).properties.get("priority") or 0
    except Unreadable:
        return 0
