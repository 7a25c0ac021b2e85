"""Stands in front of an app's broker in beat, and keeps what is sent while a tick is prepared.

So the task is called as everywhere else, with its own `apply_async`, the routers and the signals; its messages go out
together with the claim of the tick.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celerylite.brokers.base import Broker, Stream

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.message import Message


class Outbox:
    """A broker that collects in the threads that asked for it, and hands everything else on."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._local = threading.local()

    @classmethod
    def of(cls, app: Celery) -> Outbox:
        """The outbox of an app, put in front of its broker where there is none yet."""
        if not isinstance(app.broker, cls):
            app.broker = cls(app.broker)
        return app.broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    @contextmanager
    def collecting(self) -> Iterator[list[Message]]:
        """Within it, what this thread sends comes into the list."""
        messages: list[Message] = []
        self._local.messages = messages
        try:
            yield messages
        finally:
            self._local.messages = None

    def publish(self, message: Message, **options: Any) -> None:
        """Send one message, or keep it."""
        self.publish_many((message,), **options)

    def publish_many(self, messages: Iterable[Message], **options: Any) -> None:
        """Send messages, or keep them."""
        kept = getattr(self._local, "messages", None)
        if kept is None:
            self._broker.publish_many(messages, **options)
        else:
            kept.extend(messages)

    def stream(self) -> Stream:
        """For sending many batches."""
        kept = getattr(self._local, "messages", None)
        return self._broker.stream() if kept is None else Stream(self)  # type: ignore[arg-type]
