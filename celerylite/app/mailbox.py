"""kombu's mailbox, with waiting of our own for the replies: thread-safe, and with an end that can be told beforehand.

Imported by `app.control` when somebody controls workers, for it imports kombu.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.messaging import Consumer
from kombu.pidbox import Mailbox as KombuMailbox

from celerylite.utils.log import get_logger

logger = get_logger("celery.control")


class Mailbox(KombuMailbox):
    """Where requests to workers are sent and their replies arrive; each call binds a copy to its connection."""

    #: Seconds after which no reply is waited for, however many came before; None: the time-out starts anew with each.
    patience: float | None = None

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

        Replies to an earlier request, which came after its time-out, are dropped and do not count.
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
        try:
            with consumer:
                self._wait(connection, replies, limit, timeout)
        finally:
            channel.after_reply_message_received(queue.name)
        return replies

    def _wait(self, connection: Any, replies: list[Any], limit: int | None, timeout: float | None) -> None:
        end = None if self.patience is None else time.monotonic() + self.patience
        while not limit or len(replies) < limit:
            wait = timeout
            if end is not None:
                # What has arrived by then is read even if reading it takes longer.
                wait = max(end - time.monotonic(), 0.001)
            try:
                connection.drain_events(timeout=wait)
            except TimeoutError:
                return


def _unreadable(message: Any, exc: ContentDisallowed | DecodeError) -> None:
    """A worker answers in a format that this app does not accept: the other workers' answers still count."""
    logger.error("Cannot decode the reply of a worker: %r", exc, extra={"action": "reply_error"})
