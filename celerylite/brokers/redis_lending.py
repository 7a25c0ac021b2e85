"""Connections of those who send to Redis: each thread borrows one for as long as it asks something."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from celerylite.brokers.base import Broker
from celerylite.brokers.redis_connector import Connector
from celerylite.brokers.redis_link import Link, ReplyError

#: Seconds after which an idle connection is looked at before it is used.
IDLE_CHECK = 1.0


class Lending(Broker):
    """See `redis.RedisBroker`."""

    connector: Connector
    #: On which nothing is under way, and since when.
    _idle: list[tuple[float, Link]]

    def _call(self, commands: Sequence[bytes]) -> list[Any]:
        link = self.borrow()
        try:
            replies = link.call_many(commands)
        except ReplyError:
            self.give_back(link)
            raise
        except BaseException:
            link.close()  # half an answer may be under way: nobody may use it again
            raise
        self.give_back(link)
        return replies

    def give_back(self, link: Link) -> None:
        """Keep a link on which nothing is under way for the next who needs one."""
        self._idle.append((time.monotonic(), link))

    def borrow(self) -> Link:
        """A link for this thread: an idle one, or a new one."""
        try:
            since, link = self._idle.pop()
        except IndexError:
            return self.new_link()
        if time.monotonic() - since > IDLE_CHECK and link.readable(0):
            link.drop()  # nothing was asked, so this is the server's goodbye
        return link

    def new_link(self) -> Link:
        """A connection for one thread."""
        return Link(self.connector.open, timeout=self.connector.timeout)

    def _hang_up(self) -> None:
        idle, self._idle = self._idle, []
        for _, link in idle:
            link.close()
