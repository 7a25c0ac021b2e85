"""Where a worker hears what is broadcast to all workers, and by which it answers: kombu's pidbox, whatever the broker.

Only the road is here; what is said on it is for `worker/pidbox.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.connection import Connection
    from kombu.entity import Queue

    from celerylite.message import Message


class NoFanout(Exception):
    """The broker cannot hand one message to many."""


@dataclass(slots=True)
class Address:
    """One worker's place among the listeners."""

    #: The fan-out exchange on which requests come.
    exchange: str
    #: Gives the queue that is bound to it, as kombu declares it; asked only where kombu is used.
    queue: Callable[[], Queue]
    #: Gives a connection of our own, for the same.
    connect: Callable[[], Connection]
    #: Seconds that an answer waits for whoever asked.
    reply_ttl: float = 300.0


class Mailbox(ABC):
    """One worker's ear and mouth. One thread uses it, but for `wake`."""

    #: Raised when the connection breaks.
    errors: tuple[type[BaseException], ...] = (OSError,)

    @property
    @abstractmethod
    def uri(self) -> str:
        """The server, with passwords masked."""

    @abstractmethod
    def open(self) -> None:
        """Connect; what is broadcast from now on is heard. Raises one of `errors`, or `NoFanout`."""

    @abstractmethod
    def receive(self, wait: float) -> list[Message]:
        """What was broadcast; waits up to `wait` seconds for it, or until `wake`. Raises one of `errors`."""

    @abstractmethod
    def reply(self, message: Message) -> None:
        """Send an answer to its exchange and routing key; nothing happens where nobody waits for it any more."""

    @abstractmethod
    def wake(self) -> None:
        """Make a waiting `receive` return; any thread may call."""

    @abstractmethod
    def close(self) -> None:
        """Hear nothing any more; `open` begins anew."""
