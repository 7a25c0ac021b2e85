"""The contract of a broker: it moves messages, and knows nothing of tasks.

`Broker` is the sending side, `Consumer` what one task process holds, `Keeper` the housekeeping of one worker.
What they are given and give back is in `values`; the implementations stand beside this file, one a kind of server.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers.values import Claim, DeadLetter, Delivery, EndedChord, QueueStats, Settlement, Waiting

if TYPE_CHECKING:
    from kombu.entity import Queue

    from celerylite.brokers.mailbox import Address, Mailbox
    from celerylite.brokers.revoked_book import RevokedBook
    from celerylite.message import Message


class Notebook(ABC):
    """A small dictionary on the broker's server, shared by the processes of a project."""

    @abstractmethod
    def read(self) -> tuple[int, dict[str, bytes]]:
        """Its version and all its notes."""

    @abstractmethod
    def change(
        self, set: Mapping[str, bytes] | None = None, drop: Iterable[str] = (), version: int | None = None
    ) -> bool:
        """Write and delete notes in one step, which makes a new version.

        With `version`, nothing is done and False returned where the notebook has another one by now.
        """

    def look(self, names: Sequence[str]) -> list[bytes | None]:
        """Some of its notes; None for one that is not there."""
        notes = self.read()[1]
        return [notes.get(name) for name in names]

    @abstractmethod
    def version(self) -> int:
        """Another number after each `change`, 0 where nothing was ever changed. `publish_once` leaves it alone."""


class Stream:
    """Many messages, batch by batch. Leave it with `finish`, or as a context manager."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def send(
        self,
        messages: Sequence[Message],
        *,
        retry: bool = True,
        policy: dict[str, Any] | None = None,
        then: Callable[[], None],
    ) -> None:
        """Send a batch and call `then` when the server has it, which may be at a later `send`; raises as `publish`."""
        self._broker.publish_many(messages, retry=retry, policy=policy)
        then()

    def finish(self) -> None:
        """Return once everything is confirmed."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.finish()


class Broker(ABC):
    """The sending side, shared by the threads of a process."""

    #: Raised by connections that break; callers may try again.
    connection_errors: tuple[type[BaseException], ...] = (OSError,)
    #: Where a worker's own messages go, if it reads from one broker and writes to another (`broker_write_url`).
    outlet: Broker | None = None
    #: The app's queues, for brokers that must know what is bound to a fan-out exchange.
    known_queues: Callable[[], Iterable[Queue]] = tuple

    @abstractmethod
    def _send(self, messages: Sequence[Message]) -> None:
        """Hand the messages to the server, in one trip; raise one of `connection_errors` when that fails."""

    @abstractmethod
    def consumer(
        self,
        queues: Sequence[str],
        *,
        serial: bool,
        lease: float,
        renewed: Callable[[], float] = lambda: 0.0,
        on_block: Callable[[int], None] = lambda number: None,
        alarm: int | None = None,
        sure: float = 0.05,
    ) -> Consumer:
        """Start to consume; `serial` promises that one message is run at a time, in the order in which they came.

        `renewed` tells when (`uptime`) the keeper last renewed the lease of `lease` seconds; `on_block` is told the
        number of the connection that waits for messages, and 0 when it waits no more; a waiting `fetch` returns when
        the file number `alarm` becomes readable. For `sure` seconds nobody gives away what was taken: less than half
        the time after which a process counts as hoarding.
        """

    @abstractmethod
    def keeper(self, queues: Sequence[str], *, lease: float) -> Keeper:
        """The housekeeping of one worker that consumes `queues`."""

    def publish(self, message: Message, *, retry: bool = True, policy: dict[str, Any] | None = None) -> None:
        """Send one message; raises kombu's `OperationalError` when the server cannot be reached in time."""
        self.publish_many((message,), retry=retry, policy=policy)

    def publish_many(
        self, messages: Iterable[Message], *, retry: bool = True, policy: dict[str, Any] | None = None
    ) -> None:
        """Send messages in one pipeline; with `retry`, by `policy` (`task_publish_retry_policy`)."""
        if self.outlet is not None:
            return self.outlet.publish_many(messages, retry=retry, policy=policy)
        batch = messages if isinstance(messages, tuple) else tuple(messages)
        try:
            return self._send(batch)
        except self.connection_errors as exc:
            error: BaseException | None = exc
        if retry:
            error = self._try_again(batch, error, policy or {})
        if error is not None:
            from kombu.exceptions import OperationalError  # lazy: only on the way down

            raise OperationalError(str(error)) from error

    def stream(self) -> Stream:
        """For sending many batches."""
        return Stream(self)

    def _try_again(
        self, batch: Sequence[Message], error: BaseException | None, policy: dict[str, Any]
    ) -> BaseException | None:
        """Celery's publish retry policy: `max_retries` (3, None for ever), `interval_start` 0, `_step` 0.2, `_max`
        0.2.
        """
        limit = policy.get("max_retries", 3)
        pause = policy.get("interval_start") or 0.0
        expected = policy.get("retry_errors") or self.connection_errors
        deadline = time.monotonic() + policy["timeout"] if policy.get("timeout") else None
        tries = 0
        while isinstance(error, expected) and (limit is None or tries < limit):
            if deadline is not None and time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
            tries += 1
            pause = min(pause + (policy.get("interval_step", 0.2) or 0), policy.get("interval_max", 0.2))
            try:
                return self._send(batch)
            except self.connection_errors as exc:
                error = exc
        return error

    def subscribe(self, queues: Iterable[Queue]) -> None:  # noqa: B027 (where the server copies messages itself)
        """A worker is about to consume these queues: what it must know of those bound to fan-out exchanges."""

    def declare(self, queues: Iterable[Queue]) -> None:  # noqa: B027 (where there is nothing to do)
        """Make queues known to producers of any kind; what was declared before is not declared again."""

    @abstractmethod
    def purge(self, queues: Iterable[str]) -> int:
        """Delete the messages that wait in these queues; returns how many."""

    @abstractmethod
    def queue_length(self, queue: str) -> int:
        """How many messages wait in the queue, those with a due time not counted."""

    @abstractmethod
    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """The messages that were set aside, newest first."""

    @abstractmethod
    def retry_dead(self, ids: Iterable[str] | None = None) -> int:
        """Put set-aside messages (all, without `ids`) back in their queues, unchanged; returns how many."""

    @abstractmethod
    def purge_dead(self) -> int:
        """Delete all messages that were set aside; returns how many."""

    def queue_stats(self, queues: Iterable[str]) -> list[QueueStats]:
        """How many messages of these queues are where, and of others of which more than the length is known."""
        return [QueueStats(queue, self.queue_length(queue)) for queue in queues]

    def live_consumers(self) -> int:
        """How many consumers of ours use this broker just now, as far as it knows."""
        return 0

    def delayed(self, queues: Iterable[str], limit: int = 1000) -> list[Waiting]:
        """What waits on the server until it is due, of these queues, the earliest first; at most `limit` messages.

        Empty where the broker cannot list it.
        """
        return []

    def held(self, consumer_ids: Iterable[str]) -> dict[str, list[Waiting]]:
        """What each of these consumers has taken and not acknowledged, in order, as far as the broker can tell."""
        return {}

    def release_delayed(self) -> int:
        """Put all delayed messages into their queues, where Celery's workers want them; returns how many.

        Raises `NotImplementedError` where messages are not delayed in a way of our own.
        """
        raise NotImplementedError("delayed messages are where Celery has them, too: there is nothing to release")

    def notebook(self, name: str) -> Notebook | None:
        """The notebook of this name; None where the broker has no place for one."""
        return None

    def revoked_book(self) -> RevokedBook | None:
        """Where revoked tasks are remembered; None where the broker has no place for them."""
        return None

    #: Whether `rate_wait` works here.
    counts_rates = False

    def rate_wait(self, name: str, period: float, *, back: bool) -> float:
        """As `rates.Line.wait`, for all that use this broker together."""
        raise NotImplementedError(f"{type(self).__name__} cannot count")

    def forget_rate(self, name: str) -> None:  # noqa: B027 (where nothing is counted)
        """Begin a line anew: its limit has changed."""

    def publish_once(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Each claim in one atomic step, in order: where the note says what was `seen`, write `value` and publish.

        Returns for each None where that is done (by this call, or by an earlier one whose answer was lost), else what
        the note says, b"" where there is none. Raises kombu's `OperationalError` when the server cannot be reached;
        calling again with the same claims is safe then. `NotImplementedError` where `notebook` gives None.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps no notebooks")

    def clock(self) -> float:
        """The time that all users of this broker agree on, in seconds since the epoch."""
        return time.time()

    def finish_chord(self, chord: EndedChord, settlement: Settlement) -> list[Any]:
        """Send a chord's body, or what its failure sets off, unless that was done before; all in one transaction.

        Returns answers as `Consumer.ended_chords`.
        """
        raise NotImplementedError(f"{type(self).__name__} is no result store")

    def same_server(self, backend: Any) -> bool:
        """Whether a result of `backend` can be stored in this broker's transactions."""
        return False

    def announce(self, messages: Sequence[Message]) -> int | None:
        """Send events: they go to whoever listens just now, nobody keeps them.

        Returns how many listen, as far as the server knows; None where kombu must do it.
        """
        return None

    def check(self) -> None:  # noqa: B027 (most can only tell once they are connected)
        """Raise `ImproperlyConfigured` for what can never work, as far as that shows without a server."""

    def mailbox(self, address: Address) -> Mailbox:
        """Where the worker hears what is said to all workers; nothing is connected yet."""
        from celerylite.brokers.kombu_mailbox import KombuMailbox  # lazy: only a worker's control process has one

        return KombuMailbox(address)

    def preload(self) -> None:  # noqa: B027 (not every broker has something to import late)
        """Import what the processes of a worker will use, before they are forked.

        What each imports for itself is in memory once a process, and so are the pages with the names that it has in
        common with what was there: half a megabyte a process.
        """

    def close(self) -> None:  # noqa: B027 (not every broker has something open)
        """Close what is open; the next use opens it again."""


class Consumer(ABC):
    """What one task process takes and holds. Used by one thread, except where a method says otherwise."""

    #: Names the consumer to the `Keeper`, which renews its lease and returns what it held when it dies.
    id: str
    #: Told of each new connection that must outlive this process: a name and the number of its socket, of which the
    #: worker gives a copy to the `Keeper` (`adopt`).
    on_connected: Callable[[str, int], object] | None = None
    #: Called with True when the broker is lost, and with False when it is back, where the consumer waits for that.
    on_outage: Callable[[bool], object] | None = None
    #: Whether `reject` does something else than `ack`.
    rejects = False
    #: Whether the server itself counts how often messages came back (`DELIVERY_COUNT`).
    counts = False

    @abstractmethod
    def open(self, given_up: Callable[[], bool]) -> bool:
        """Connect, trying until it works or `given_up` says so; returns whether it did."""

    @abstractmethod
    def fetch(self, most: int, wait: float) -> list[Delivery]:
        """Take up to `most` messages; with none there, wait up to `wait` seconds for the first.

        Returns an empty list after that time, and when `wake` was called. Connections that break are mended inside.
        """

    @abstractmethod
    def set_queues(self, queues: Sequence[str]) -> None:
        """Fetch from these queues from now on. Between two fetches; what is held stays held, and messages of other
        queues may still come with the next `fetch`: those that were asked for before.
        """

    def prepare(self, most: int, on_number: Callable[[int], None]) -> None:  # noqa: B027 (only where fetching waits)
        """The next `fetch` will want up to `most`: ask for them now, so that it need not wait.

        `on_number` is told, before anything is taken, the highest sequence number that this may bring.
        """

    @abstractmethod
    def read(self, delivery: Delivery) -> Message:
        """The message in a delivery; raises `Unreadable` for bytes that are none."""

    @abstractmethod
    def fresh(self, delivery: Delivery) -> bool:
        """Whether a message that waited in the process is still ours beyond doubt; else `release` it and fetch anew."""

    @abstractmethod
    def begin(self, delivery: Delivery, *, ack: bool) -> bool:
        """The task is about to start: make sure that it is ours, and with `ack` (early) acknowledge it.

        False where another consumer has it by now. On True the acknowledgement is on its way. Any thread may call.
        """

    @abstractmethod
    def ack(self, delivery: Delivery) -> None:
        """The message is done with; on return that is on its way to the server. Any thread may call."""

    @abstractmethod
    def settle(self, delivery: Delivery, settlement: Settlement, *, acked: bool, last: bool = False) -> bool:
        """Store, send and (unless `acked` already) acknowledge, in one transaction. Any thread may call.

        Where the message is not held any more (a lease that ran out), nothing happens: its new holder will do it.
        False where it is held back for the next command, which `last` promises to be a `fetch`; `on_sent` tells when it
        is on its way.
        """

    #: Called when what `settle` held back is on its way.
    on_sent: Callable[[], None] = staticmethod(lambda: None)

    #: How many settlements with a part of a chord have not been answered, and answers that nobody has asked for.
    counting = 0

    def ended_chords(self) -> list[Any]:
        """What the server has answered so far about chords whose last part was settled here, in the result store's
        words (`Backend.ended_chord`); each is handed out once. Does not wait. Any thread may call.
        """
        return []

    def finish_chord(self, chord: EndedChord, settlement: Settlement) -> None:
        """As `Broker.finish_chord`, but not waited for; further answers are among the `ended_chords`."""
        raise NotImplementedError(f"{type(self).__name__} is no result store")

    def push(self) -> None:  # noqa: B027 (only brokers that hold something back)
        """Send what `settle` may have held back for the next command. Any thread may call."""

    @abstractmethod
    def requeue(self, delivery: Delivery) -> None:
        """Give a message back to the front of its queue, marked as redelivered. Any thread may call."""

    @abstractmethod
    def defer(self, delivery: Delivery, due: float, headers: Mapping[str, Any] | None = None) -> None:
        """Let a message wait on the server until `due` (epoch seconds), with these headers besides its own. Any thread
        may call.
        """

    @abstractmethod
    def bury(self, delivery: Delivery, reason: str) -> None:
        """Set a message aside where it can be looked at. Any thread may call."""

    def reject(self, delivery: Delivery) -> None:
        """A task refused the message (`Reject`): let it go, to the queue's dead-letter exchange where it has one."""
        self.ack(delivery)

    @abstractmethod
    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give messages that were not started back to the front of their queues, unchanged and in order."""

    @abstractmethod
    def flush(self) -> None:
        """Return once the server has confirmed all that was sent."""

    @abstractmethod
    def wake(self) -> None:
        """Make a waiting `fetch` return; any thread and any signal handler may call."""

    def end(self) -> None:
        """Nothing is fetched any more; as `wake`, and a server that is gone is not waited for without end."""
        self.wake()

    @abstractmethod
    def close(self) -> None:
        """Give back all that is held and not running, drop the lease, disconnect."""


class Keeper(ABC):
    """The housekeeping of one worker: leases, due messages, what the dead left behind. One thread uses it."""

    def listen(self) -> None:  # noqa: B027 (where the server keeps copies for those that are not there yet)
        """Return once nothing that is broadcast from now on passes this worker by."""

    def set_queues(self, queues: Sequence[str]) -> None:  # noqa: B027 (most need not know)
        """The worker's consumers fetch from these queues from now on."""

    @abstractmethod
    def renew(self, consumer_ids: Iterable[str]) -> None:
        """Extend the leases of consumers that are alive."""

    @abstractmethod
    def promote(self) -> float | None:
        """Move due messages to their queues; returns the seconds until the next one is due, None without any."""

    def advance(self, header: str, value: str, most: int) -> int:
        """Have deferred messages with this header come to the queues of this worker now, the next ones first; returns
        how many did.
        """
        return 0

    def server_age(self) -> float:
        """Seconds since the server started, as far as it tells."""
        return float("inf")

    @abstractmethod
    def reclaim(self, limit: int | None, on_buried: Callable[[bytes, str], None]) -> float:
        """Return what dead consumers held, set aside what was delivered `limit` times (`on_buried(message, reason)`).

        Returns the seconds until the next look is due.
        """

    def adopt(self, name: str, file: int) -> None:
        """A consumer of this worker holds its messages on this socket (see `on_connected`); ours is a copy of it."""
        os.close(file)

    def connected(self) -> bool:
        """Whether the server is there, as far as is known without asking it; any thread may call."""
        return True

    def disown(self, name: str) -> None:  # noqa: B027 (only where something is adopted)
        """The consumer has ended, or has another connection."""

    @abstractmethod
    def abandon(self, consumer_id: str, running: Iterable[Any]) -> list[Delivery]:
        """A consumer of this worker has died: give back what it had not started.

        `running` are the tags of the messages that it ran; those still held come back, for the caller to decide on with
        `give_back` or `discard`.
        """

    @abstractmethod
    def give_back(
        self,
        consumer_id: str,
        delivery: Delivery,
        *,
        count: bool = False,
        limit: int | None = None,
        on_buried: Callable[[bytes, str], None] = lambda raw, reason: None,
    ) -> None:
        """Return one message of a dead consumer to its queue, redelivered; nothing happens where it is held no more.

        With `count` the death is the message's fault: after `limit` of them it is set aside, and `on_buried` is called.
        """

    @abstractmethod
    def discard(self, consumer_id: str, delivery: Delivery) -> bool:
        """Acknowledge one message of a dead consumer; False where it is held no more."""

    @abstractmethod
    def spare(self, consumer_id: str, running: Any, upto: int) -> int:
        """Give back what a busy consumer holds but has not started, up to sequence number `upto`."""

    @abstractmethod
    def wait(self, timeout: float, blocked: Callable[[], Iterable[int]]) -> bool:
        """Sleep until `timeout`, until `wake`, or until something changed that `promote` should see; True where it
        may have.

        `blocked` names the connections of consumers that wait and should be woken when other queues have messages.
        """

    @abstractmethod
    def drop(self) -> None:
        """After a broken connection: start anew at the next call."""

    @abstractmethod
    def wake(self) -> None:
        """Make a waiting `wait` return; any thread may call."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect."""
