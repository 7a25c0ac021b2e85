"""Many messages to Redis: a batch is written while the server still works on the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers.base import Stream
from celerylite.brokers.redis_link import Link, LinkError, ReplyError

if TYPE_CHECKING:
    from celerylite.brokers.redis import RedisBroker
    from celerylite.message import Message


class Batch:
    """Messages on their way."""

    def __init__(
        self, messages: Sequence[Message], retry: bool, policy: dict[str, Any] | None, then: Callable[[], None]
    ) -> None:
        self.messages = messages
        self.retry = retry
        self.policy = policy
        self.then = then
        self.commands: list[bytes] = []
        self.replies: list[Any] = []


class RedisStream(Stream):
    """At most one batch is unconfirmed while the next one is made; waiting for each took 8 µs a message."""

    _broker: RedisBroker

    def __init__(self, broker: RedisBroker) -> None:
        super().__init__(broker)
        self._link: Link | None = None
        self._pending: Batch | None = None

    def send(
        self,
        messages: Sequence[Message],
        *,
        retry: bool = True,
        policy: dict[str, Any] | None = None,
        then: Callable[[], None],
    ) -> None:
        """Write a batch; the one before is confirmed on return."""
        batch = Batch(messages, retry, policy, then)
        before, self._pending = self._pending, None
        batch.commands = self._broker.push_commands(messages)
        written = bool(batch.commands) and self._write(batch)
        if before is not None:
            self._confirm(before)
        if written and self._link is not None:
            self._pending = batch
        else:
            self._publish(batch)

    def finish(self) -> None:
        """Return once everything is confirmed."""
        before, self._pending = self._pending, None
        try:
            if before is not None:
                self._confirm(before)
        finally:
            if self._link is not None and not self._link.unanswered:
                link, self._link = self._link, None
                self._broker.give_back(link)
            self._drop()

    def _write(self, batch: Batch) -> bool:
        try:
            if self._link is None:
                self._link = self._broker.borrow()
            for command in batch.commands:
                self._link.send(command, batch.replies.append)
        except (LinkError, OSError):
            self._drop()
            return False
        except BaseException:
            self._drop()
            raise
        return True

    def _confirm(self, batch: Batch) -> None:
        """Wait for the replies; a batch whose replies are lost is published anew, as a single message would be."""
        try:
            while self._link is not None and len(batch.replies) < len(batch.commands):
                self._link.read()
        except (LinkError, OSError):
            self._drop()
        except BaseException:
            self._drop()
            raise
        if len(batch.replies) < len(batch.commands):
            self._publish(batch)
            return
        for reply in batch.replies:
            if isinstance(reply, ReplyError):
                self._hear_out()
                raise reply
        batch.then()

    def _hear_out(self) -> None:
        """Before a failure is told: the next batch has been written, and must not arrive after that."""
        try:
            while self._link is not None and self._link.unanswered:
                self._link.read()
        except (LinkError, OSError):
            self._drop()

    def _publish(self, batch: Batch) -> None:
        self._broker.publish_many(batch.messages, retry=batch.retry, policy=batch.policy)
        batch.then()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
