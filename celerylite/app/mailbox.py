"""kombu's mailbox, with waiting of our own for the replies: thread-safe, and with an end that can be told beforehand.

Imported by `app.control` when somebody controls workers, for it imports kombu.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.messaging import Consumer, Producer
from kombu.pidbox import Mailbox as KombuMailbox

from celerylite.brokers.kombu_files import write_whole
from celerylite.utils.log import get_logger

logger = get_logger("celery.control")

#: Transports that look for replies once a second, and where looking costs next to nothing; and how often it is here.
POLLED = ("memory", "filesystem")
POLLING = 0.01


class Mailbox(KombuMailbox):
    """Where requests to workers are sent and their replies arrive; each call binds a copy to its connection."""

    #: Seconds after which no reply is waited for, however many came before; None: the time-out starts anew with each.
    patience: float | None = None
    #: How many have heard the request of this copy; None where the transport cannot tell.
    heard: int | None = None

    def _publish(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, on the channel given, and note how many have heard it."""
        channel = kwargs.get("channel")
        write_whole(channel)
        with _counting(channel) as counts:
            if counts is not None:
                kwargs["producer"] = kwargs.get("producer") or Producer(channel, auto_declare=False)
            super()._publish(*args, **kwargs)
            fanned_out = getattr(channel, "fanned_out", None)  # our SQLite transport's
        self.heard = sum(counts) if counts else fanned_out

    def _collect(
        self,
        ticket: str,
        limit: int | None = None,
        timeout: float | None = 1.0,
        callback: Callable[[Any], Any] | None = None,
        channel: Any = None,
        accept: Any = None,
    ) -> list[Any]:
        """The replies to the request `ticket`, until there are `limit` or nothing comes for `timeout` seconds.

        Nothing more is waited for either when all that have heard the request have replied, where the transport
        tells how many they are. Replies to an earlier request, which came after its time-out, do not count.
        """
        replies: list[Any] = []

        def on_reply(body: Any, message: Any) -> None:
            headers = message.headers
            self.clock.adjust(headers.get("clock") or 0)
            if headers.get("ticket", ticket) != ticket:
                return
            replies.append(body)
            if callback is not None:
                callback(body)

        connection: Any = self.connection
        channel = channel or connection.default_channel
        queue = self.reply_queue
        consumer = Consumer(
            channel, [queue], accept=self.accept if accept is None else accept, no_ack=True,
            callbacks=[on_reply], on_decode_error=_unreadable,
        )  # fmt: skip
        if self.heard is not None:
            limit = min(limit or self.heard, self.heard)
        else:
            limit = limit or None
        try:
            with consumer:
                self._wait(connection, replies, limit, timeout)
        finally:
            channel.after_reply_message_received(queue.name)
        return replies

    def _wait(self, connection: Any, replies: list[Any], limit: int | None, timeout: float | None) -> None:
        if connection.transport.driver_type in POLLED:
            connection.transport.polling_interval = POLLING
        end = None if self.patience is None else time.monotonic() + self.patience
        while limit is None or len(replies) < limit:
            wait = timeout
            if end is not None:
                # What has arrived by then is read even if reading it takes longer.
                wait = max(end - time.monotonic(), 0.001)
            try:
                connection.drain_events(timeout=wait)
            except TimeoutError:
                return


@contextmanager
def _counting(channel: Any) -> Iterator[list[int] | None]:
    """What Redis says to each PUBLISH of a channel of kombu: how many subscribers have got it.

    None where that cannot be asked. Not of a subclass: a Redis Cluster counts only those that listen at one server.
    """
    if type(channel).__module__ != "kombu.transport.redis":
        yield [] if hasattr(channel, "fanned_out") else None
        return
    counts: list[int] = []
    acquire = channel.conn_or_acquire

    def note(count: Any, **_: Any) -> Any:
        counts.append(count)
        return count

    @contextmanager
    def counted(client: Any = None) -> Iterator[Any]:
        with acquire(client) as found:
            found.set_response_callback("PUBLISH", note)
            yield found

    channel.conn_or_acquire = counted
    try:
        yield counts
    finally:
        del channel.conn_or_acquire


def _unreadable(message: Any, exc: ContentDisallowed | DecodeError) -> None:
    """A worker answers in a format that this app does not accept: the other workers' answers still count."""
    logger.error("Cannot decode the reply of a worker: %r", exc, extra={"action": "reply_error"})
