"""Every way in which a consumer on Redis lets go of a message.

Acknowledgements and results are posted without waiting and sent again after a reconnect; the scripts are guarded by
whether the message is still held, so that repeating them does no harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.envelope import redelivered, with_headers
from celerylite.brokers.redis_held import INBOX, RUNNING, Held, name_of
from celerylite.brokers.redis_link import Link, LinkError, pack
from celerylite.brokers.redis_lua import Script
from celerylite.brokers.redis_settling import Settling
from celerylite.brokers.values import Delivery
from celerylite.utils.clock import uptime

logger = logging.getLogger("celery.brokers.redis")

#: Unanswered commands after which their replies are waited for. They have long come when all is well; when the
#: network swallows everything, this is how many tasks may start whose acknowledgement never arrives. Reading 12 at a
#: time costs 1 µs a task.
BACKLOG = 12


class LettingGo(Settling):
    """See `redis_consumer.RedisConsumer`."""

    _hdel: bytes

    def begin(self, delivery: Delivery, *, ack: bool) -> bool:
        """The task is about to start: acknowledge it if asked, and make sure that nobody else has it."""
        assert isinstance(delivery, Held)
        with self._writing as link:
            if ack:
                try:
                    self._post_ack(link, delivery)
                    # After the write, not before: a process put to sleep in between must notice when it wakes.
                    if uptime() < delivery.sure_until:
                        return True
                except LinkError:
                    pass  # the question below is asked until it is answered
                return bool(self._insist(link, self._claim(delivery)))
            if uptime() < delivery.sure_until or delivery.tag == INBOX:
                self._posting(link.push)
                return True
            old, delivery.tag = delivery.tag, delivery.tag.replace(b"\0", RUNNING + b"\0", 1)
            mark = pack(b"EVALSHA", scripts.MARK.sha, b"1", self._held, old, delivery.tag)
            return bool(self._insist(link, mark))

    def _post_ack(self, link: Link, delivery: Held) -> None:
        if delivery.tag == INBOX:
            link.post(pack(b"LREM", self._inbox, b"1", delivery.raw))
        else:
            link.post(b"%b$%d\r\n%b\r\n" % (self._hdel, len(delivery.tag), delivery.tag))
        self._trim(link)

    def _claim(self, delivery: Held) -> bytes:
        name = name_of(delivery.tag, delivery.raw)
        return pack(b"EVALSHA", scripts.CLAIM.sha, b"3", self._held, self._inbox, self._moved, *name)

    def _insist(self, link: Link, command: bytes) -> Any:
        """Ask until there is an answer, however often the connection breaks; 0 where it is time to end."""
        while not self._out_of_patience():
            try:
                return link.call(command)
            except LinkError as exc:
                self._complain(exc)
                self._sleep(self._pause)
        return 0

    def ack(self, delivery: Delivery) -> None:
        """The message is done with."""
        assert isinstance(delivery, Held)
        with self._writing as link:
            self._posting(lambda: self._post_ack(link, delivery))

    def push(self) -> None:
        """Send what `settle` may have held back: a task is about to run."""
        with self._writing as link:
            self._posting(link.push)

    def requeue(self, delivery: Delivery) -> None:
        """Give a message back to the front of its queue, marked as redelivered."""
        assert isinstance(delivery, Held)
        raw, _ = redelivered(delivery.raw, count=False)
        self._move(scripts.RETURN, delivery, delivery.list_key, raw)

    def defer(self, delivery: Delivery, due: float, headers: Mapping[str, Any] | None = None) -> None:
        """Let a message wait on the server until `due`."""
        assert isinstance(delivery, Held)
        left = b"%f" % max(0.0, due - time.time())
        key = self.broker.key(scripts.DELAYED)
        raw = with_headers(delivery.raw, headers)
        self._move(scripts.DEFER, delivery, key, delivery.list_key + b"\0" + raw, left)

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Set a message aside where it can be looked at."""
        assert isinstance(delivery, Held)
        record = self.broker.dead_record(delivery.raw, delivery.list_key, reason)
        self._move(scripts.BURY, delivery, self.broker.key(scripts.DEAD), record, b"%d" % self.broker.dead_limit)

    def _move(self, script: Script, delivery: Held, key: bytes, *args: bytes) -> None:
        keys = (self._held, self._inbox, self._held, key)  # nobody needs to tell us what we let go ourselves
        command = pack(b"EVALSHA", script.sha, b"4", *keys, *name_of(delivery.tag, delivery.raw), *args)
        with self._writing as link:
            self._posting(lambda: link.post(command))
            self._trim(link)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give messages that were not started back to the front, the first of them first in line."""
        for delivery in reversed(deliveries):
            assert isinstance(delivery, Held)
            self._move(scripts.RETURN, delivery, delivery.list_key, delivery.raw)

    def _posting(self, post: Callable[[], None]) -> None:
        """What was posted is sent again by whoever opens the link next, so a break here needs no more than a word."""
        try:
            post()
        except LinkError as exc:
            self._complain(exc)

    def _trim(self, link: Link) -> None:
        """Read answers now and then; a server that stops answering is noticed here too."""
        if link.unanswered >= BACKLOG:
            try:
                link.read()
            except LinkError as exc:
                self._complain(exc)

    def flush(self) -> None:
        """Return once the server has confirmed all that was sent, or it has been away for too long while we end."""
        with self._writing as link:
            while link.unanswered and not self._out_of_patience():
                try:
                    link.flush()
                except LinkError as exc:
                    self._complain(exc)
                    self._sleep(self._pause)
            if link.unanswered:
                logger.error(
                    "The broker is gone: %d outcome(s) could not be sent", link.unanswered, extra={"action": "given_up"}
                )
