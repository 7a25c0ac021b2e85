"""What travels between a broker and those who use it: deliveries, settlements, claims, and what one may look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerylite.message import Message

#: The header that counts how often a message was given to a worker that died with it. RabbitMQ's quorum queues write
#: it themselves, each time that a message comes back, and over whatever it says: there, deaths have a header of ours.
DELIVERY_COUNT = "x-delivery-count"
DEATHS = "x-celerylite-deaths"
#: The header of a message that has waited because of a rate limit: the task that has it.
LIMITED = "x-rate-limited"


class Unreadable(ValueError):
    """The bytes in the queue are not a message."""


@dataclass(slots=True)
class Delivery:
    """One message in the hands of a consumer, until it is acknowledged or given back."""

    #: What the broker calls it while it is held.
    tag: Any
    #: The message as the broker has it, byte for byte; given back unchanged.
    raw: bytes
    #: The name of the queue it came from.
    queue: str


@dataclass(slots=True)
class DeadLetter:
    """A message that was set aside because no worker can run it."""

    id: str
    reason: str
    queue: str
    #: Seconds since the epoch.
    time: float
    #: The worker that set it aside.
    worker: str
    raw: bytes
    #: Task id and name, where the message could be read that far.
    task_id: str | None = None
    task_name: str | None = None


@dataclass(slots=True)
class QueueStats:
    """How many messages of one queue are where; None where the broker cannot tell."""

    queue: str
    #: They wait to be taken.
    waiting: int | None
    #: They are not due yet.
    delayed: int | None = None
    #: Workers have taken them and not acknowledged them yet.
    held: int | None = None
    #: They were set aside.
    dead: int | None = None


@dataclass(slots=True)
class Waiting:
    """One message that somebody looks at without taking it."""

    queue: str
    raw: bytes
    #: When it is due, in seconds since the epoch, where it waits for that.
    due: float | None = None
    #: Its sequence number, where a consumer holds it.
    number: int = 0


@dataclass(slots=True)
class Store:
    """A result to write in the broker's own transaction."""

    #: The key, which is the channel too.
    key: bytes
    record: bytes
    #: Seconds to live; None is for ever.
    ttl: int | None = None
    #: The database on the broker's server, where it is not the broker's own.
    db: int | None = None


@dataclass(slots=True)
class Settlement:
    """All that one finished task leaves behind; a broker that can does it in one transaction."""

    #: The result, where the result store is on the broker's server.
    store: Store | None = None
    #: Messages that follow: callbacks, the next step of a chain, a retry.
    messages: list[Message] = field(default_factory=list)
    #: What the result store wants done besides, in its own words (`Backend.settling`), and its database on the server.
    commands: list[Any] = field(default_factory=list)
    db: int | None = None
    #: Whether the server's answer may say that a chord's header has ended.
    counts: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store, send or count: only the message is to be let go."""
        return self.store is None and not self.messages and not self.commands


@dataclass(slots=True)
class EndedChord:
    """A chord whose header has ended and whose body is still to be sent, as the result store names it."""

    key: bytes
    #: Where the store keeps such chords, and what it noted about this one.
    book: bytes
    about: bytes


@dataclass(slots=True)
class Claim:
    """Messages that go out only if a note still says what the claimer read there: one tick of a schedule, say."""

    #: The notebook, and the note in it.
    book: str
    field: str
    #: What the note said when it was read; None where there was none.
    seen: bytes | None
    #: What it says afterwards; not empty, and unlike what any other claimer would write.
    value: bytes
    messages: Sequence[Message] = ()
