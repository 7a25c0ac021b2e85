"""What a consumer on Redis holds, how it is named to the scripts, and who may write on its link."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celerylite.brokers.redis_link import Link, ReplyError
from celerylite.brokers.values import Delivery

if TYPE_CHECKING:
    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.redis")

#: The field that stands for the inbox.
INBOX = b""
#: Behind the number of a field: surely running.
RUNNING = b"r"


@dataclass(slots=True)
class Held(Delivery):
    """A message that this consumer holds; `tag` is its field in the hash, or `INBOX`."""

    #: The list that it came from.
    list_key: bytes
    #: Until when (`uptime`) nobody else can have taken it away.
    sure_until: float
    #: The message, where it has been read already.
    message: Message | None = None


@dataclass(slots=True)
class Kept:
    """A message that follows a task and may stay with the consumer that ran it (see `redis_keeping`)."""

    delivery: Held
    #: Its body, which need not be read again.
    body: bytes
    #: The connection that it was asked on.
    epoch: int
    #: When (`uptime`).
    asked: float
    #: The answer, once it is here.
    got: list[Any]


@dataclass(slots=True)
class Taking:
    """A take on its way."""

    #: The connection that it was asked on.
    epoch: int
    #: The lists in the order in which the answer numbers them.
    lists: list[bytes]
    #: The first sequence number.
    first: int
    #: When (`uptime`).
    asked: float
    #: The answer, once it is here.
    got: list[Any]


class Unlocked:
    """`with` for a link that one thread uses; `contextlib` would cost 2 µs a task."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def __enter__(self) -> Link:
        return self.link

    def __exit__(self, *exc: object) -> None:
        return None


class Locked(Unlocked):
    """`with` for a link that several threads use."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.lock = threading.RLock()

    def __enter__(self) -> Link:
        self.lock.acquire()
        return self.link

    def __exit__(self, *exc: object) -> None:
        self.lock.release()


def name_of(field: bytes, raw: bytes) -> tuple[bytes, bytes]:
    """How scripts are told which message: its field, or the message itself where it is in the inbox."""
    return (field, b"") if field != INBOX else (INBOX, raw)


def warn_if_lost(reply: Any) -> None:
    if reply == 0:
        logger.warning(
            "A task finished after its lease had run out; whoever has it now will store its result.",
            extra={"action": "lease_lost"},
        )
    elif type(reply) is ReplyError:
        logger.error("Redis refused to store an outcome: %s", reply, extra={"action": "refused"})
