"""The housekeeping of one worker on Redis: renew leases, promote due messages, return what the dead left, wake who
waits.

One thread of the control process uses it. Waiting costs nothing: the server tells (client tracking) when a key
changes that matters: the delayed set, and the lists on which no consumer blocks. Servers that cannot are looked at
every `POLL` seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.base import Keeper
from celerylite.brokers.envelope import header_text, redelivered
from celerylite.brokers.redis_access import check
from celerylite.brokers.redis_consumer import BLOCK
from celerylite.brokers.redis_fanout import Fanout, expire_if_private
from celerylite.brokers.redis_held import INBOX, RUNNING, Held, name_of
from celerylite.brokers.redis_link import LinkError, ReplyError, pack
from celerylite.brokers.redis_lua import Script
from celerylite.brokers.redis_unacked import LOOK_EVERY, Unacked
from celerylite.brokers.values import Delivery
from celerylite.brokers.waking import Waking

if TYPE_CHECKING:
    from celerylite.brokers.redis import RedisBroker

#: Told of a message that was set aside, and why.
OnBuried = Callable[[bytes, str], None]

logger = logging.getLogger("celery.brokers.redis")

#: Most messages moved by one promotion, so that the server is not kept from its other work.
PROMOTE_MOST = 500
#: Most slices of that size that are looked through for messages to come early.
ADVANCE_LOOKS = 100
#: Seconds between looks where the server cannot tell of changes.
POLL = 0.2
#: Seconds between looks at lists that have messages while every consumer is busy.
LOOK_AGAIN = 0.05
#: Seconds between reactions to changes.
CHANGES_APART = 0.01
#: Seconds between looks at consumers that are gone, until they are forgotten.
RECLAIM_AGAIN = 1.0
#: Seconds after its lease for which a dead consumer is looked at: the server may still serve a blocking take of a
#: machine that vanished without a word, and what it moves must be found.
FORGET_AFTER = BLOCK + 10.0
INVALIDATE = b"__redis__:invalidate"


class RedisKeeper(Waking, Keeper):
    """See the module."""

    def __init__(self, broker: RedisBroker, queues: Sequence[str], *, lease: float) -> None:
        self.broker = broker
        self.lease = lease
        self.link = broker.new_link()
        self.watch_link = broker.new_link()
        self.queues = list(queues)
        #: The list on which consumers block themselves, as long as they fetch from it.
        self._home = broker.list_key(queues[0]) if queues else b""
        self._unacked = Unacked(broker, self.link)
        self._fanout = Fanout(broker, self.queues)
        self._tracking: bool | None = None
        #: Whether the lists must be looked at; as long as not, the server will tell.
        self._look = True
        self._last_change = 0.0
        #: Whether what the server told last is news.
        self._told = False
        self._open_wake()

    def listen(self) -> None:
        """Subscribe to fan-out exchanges, if this worker has queues there."""
        if self._fanout.patterns:
            self._watch()
            self.watch_link.flush()

    def set_queues(self, queues: Sequence[str]) -> None:
        """Watch over these queues from now on."""
        self.queues = list(queues)
        self._look = True
        before, self._fanout = self._fanout, Fanout(self.broker, self.queues)
        if before.patterns != self._fanout.patterns:
            self._fanout.take_over(before)
            self.watch_link.drop()  # it is opened anew, with the other subscriptions
            self._tracking = None

    def renew(self, consumer_ids: Iterable[str]) -> None:
        """Extend the leases of consumers that are alive."""
        if not self.link.connected:
            check(self.broker, self.link, self.queues)
        self._fanout.renew(self.link)
        idents = [_ident(consumer_id) for consumer_id in consumer_ids]
        if idents:
            self.link.call(
                pack(b"EVALSHA", scripts.RENEW.sha, b"1", self._key(scripts.LEASES), b"%f" % self.lease, *idents)
            )

    def promote(self) -> float | None:
        """Move due messages to their queues; returns the seconds until the next one is due, None without any."""
        delayed = self._key(scripts.DELAYED)
        while True:
            self._watch()
            # Read before the promotion: a change after this line is told, one before it is seen.
            command = pack(b"EVALSHA", scripts.PROMOTE.sha, b"1", delayed, b"%d" % PROMOTE_MOST)
            moved, left = self.link.call_many((pack(b"EXISTS", delayed), command))[1]
            if not moved:
                return max(0.0, float(left)) if left else None

    def advance(self, header: str, value: str, most: int) -> int:
        """Move deferred messages with this header to the front of our queues, a slice of the delayed set at a time."""
        text = header_text(header, value).encode()
        lists = [key for queue in self.queues for key in self.broker.list_keys(queue)]
        moved = first = 0
        for _ in range(ADVANCE_LOOKS):
            words = (text, b"%d" % (most - moved), b"%d" % first, b"%d" % PROMOTE_MOST, *lists)
            command = pack(b"EVALSHA", scripts.ADVANCE.sha, b"1", self._key(scripts.DELAYED), *words)
            found, seen = self.link.call(command)
            moved += found
            first += seen - found
            if moved >= most or seen < PROMOTE_MOST:
                break
        return moved

    def server_age(self) -> float:
        """Seconds since the server started: leases in it may be older than it was away."""
        for line in self.link.call(pack(b"INFO", b"server")).split(b"\r\n"):
            if line.startswith(b"uptime_in_seconds:"):
                return float(line.split(b":")[1])
        return float("inf")

    def reclaim(self, limit: int | None, on_buried: OnBuried) -> float:
        """Return what consumers held whose lease ran out, and what dead Celery workers left; returns the seconds until
        the next look is due.
        """
        leases = self._key(scripts.LEASES)
        asked = time.monotonic()
        gone, left = self.link.call(pack(b"EVALSHA", scripts.EXPIRED.sha, b"1", leases))
        if time.monotonic() - asked > self.lease / 4:
            return self.lease  # the server was frozen: whoever lives must have the time to renew first
        for ident in gone:
            self._reclaim_one(ident, limit, on_buried)
        self._unacked.restore()
        soon = self.lease if not left else float(left) + 0.05
        return min(soon, RECLAIM_AGAIN if gone else min(self.lease, LOOK_EVERY))

    def _reclaim_one(self, ident: bytes, limit: int | None, on_buried: OnBuried) -> None:
        """A serial consumer runs its oldest message when it dies (or the one it has marked), one with threads all it
        has.
        """
        serial = ident[:1] == b"s"
        entries = self._entries(ident)
        marked = any(_is_marked(field) for field, _ in entries)
        moved = 0
        # From the newest to the oldest, each to the front: so the oldest ends up first in line.
        for index, (field, raw) in reversed(list(enumerate(entries))):
            if not serial or field == INBOX or _is_marked(field) or (index == 0 and not marked):
                moved += self._return_suspect(ident, field, raw, limit, on_buried, if_gone=True)
            else:
                key = _list_key(ident, field)
                moved += self._move(scripts.RETURN, ident, key, *name_of(field, raw), raw, if_gone=True)
        if moved:
            logger.warning(
                "Restored %d message(s) of a task process that is gone", moved, extra={"action": "reclaimed"}
            )
        held, inbox = self._key(scripts.HELD) + ident, self._key(scripts.INBOX) + ident
        keys = (self._key(scripts.LEASES), held, inbox)
        self.link.call(pack(b"EVALSHA", scripts.FORGET.sha, b"3", *keys, ident, b"%f" % FORGET_AFTER))

    def _entries(self, ident: bytes) -> list[tuple[bytes, bytes]]:
        """What a consumer holds, the oldest first; its inbox is what it runs."""
        held, inbox = self.link.call_many((
            pack(b"HGETALL", self._key(scripts.HELD) + ident),
            pack(b"LRANGE", self._key(scripts.INBOX) + ident, b"0", b"-1"),
        ))
        pairs = sorted(zip(held[::2], held[1::2], strict=True), key=lambda pair: _number(pair[0]))
        return [*((INBOX, raw) for raw in inbox), *pairs]

    def _return_suspect(
        self, ident: bytes, field: bytes, raw: bytes, limit: int | None, on_buried: OnBuried, *, if_gone: bool
    ) -> bool:
        """Return a message that may be what killed its consumer; after `limit` deaths it is set aside."""
        list_key, name = _list_key(ident, field), name_of(field, raw)
        fresh, count = redelivered(raw, count=True)
        if not limit or count < limit:
            return self._move(scripts.RETURN, ident, list_key, *name, fresh, if_gone=if_gone)
        reason = f"{count} workers died while they ran it (worker_delivery_limit)"
        record = self.broker.dead_record(raw, list_key, reason)
        dead = self._key(scripts.DEAD)
        most = b"%d" % self.broker.dead_limit
        if not self._move(scripts.BURY, ident, dead, *name, record, most, if_gone=if_gone):
            return False
        on_buried(raw, reason)
        return True

    def _move(self, script: Script, ident: bytes, key: bytes, *args: bytes, if_gone: bool = False) -> bool:
        """Let go of a message that `ident` holds; with `if_gone` only as long as its lease has not been renewed."""
        keys = [*(self._key(name) + ident for name in (scripts.HELD, scripts.INBOX, scripts.MOVED)), key]
        if if_gone:
            keys.append(self._key(scripts.LEASES))
            args = (*args, ident)
        moved = self.link.call(pack(b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *args)) == 1
        if moved and script is scripts.RETURN:
            expire_if_private(self.broker, self.link, key)
        return moved

    def abandon(self, consumer_id: str, running: Iterable[Any]) -> list[Delivery]:
        """Return what a consumer of this worker that has died held, but for the messages that it ran.

        `running` are the tags that it died with; those still held come back as deliveries, for the caller to decide on.
        """
        ident = _ident(consumer_id)
        started = set(running)
        found: list[Delivery] = []
        for field, raw in reversed(self._entries(ident)):
            if field in started:
                list_key = _list_key(ident, field)
                found.append(Held(field, raw, self.broker.layout.queue_of(list_key), list_key, 0.0))
            else:
                self._move(scripts.RETURN, ident, _list_key(ident, field), *name_of(field, raw), raw)
        return found[::-1]

    def give_back(
        self,
        consumer_id: str,
        delivery: Delivery,
        *,
        count: bool = False,
        limit: int | None = None,
        on_buried: OnBuried = lambda raw, reason: None,
    ) -> None:
        """Return one message of a dead consumer to its queue, redelivered; with `count` it may be set aside instead."""
        assert isinstance(delivery, Held)
        ident = _ident(consumer_id)
        if count:
            self._return_suspect(ident, delivery.tag, delivery.raw, limit, on_buried, if_gone=False)
            return
        fresh, _ = redelivered(delivery.raw, count=False)
        self._move(scripts.RETURN, ident, delivery.list_key, *name_of(delivery.tag, delivery.raw), fresh)

    def discard(self, consumer_id: str, delivery: Delivery) -> bool:
        """Acknowledge one message of a dead consumer; False where it is held no more."""
        assert isinstance(delivery, Held)
        ident = _ident(consumer_id)
        held, inbox, moved = (self._key(name) + ident for name in (scripts.HELD, scripts.INBOX, scripts.MOVED))
        name = name_of(delivery.tag, delivery.raw)
        return self.link.call(pack(b"EVALSHA", scripts.CLAIM.sha, b"3", held, inbox, moved, *name)) == 1

    def spare(self, consumer_id: str, running: Any, upto: int) -> int:
        """Give back what a busy consumer holds but has not started, up to sequence number `upto`."""
        ident = _ident(consumer_id)
        if ident[:1] != b"s":
            return 0  # one with threads has started all that it holds
        held, moved = self._key(scripts.HELD) + ident, self._key(scripts.MOVED) + ident
        # What stands before the running one has been run: its acknowledgement is on its way, or waits for a connection.
        lowest = b"%d" % (_number(running) + 1)
        command = pack(b"EVALSHA", scripts.RELEASE.sha, b"2", held, moved, running, lowest, b"%d" % upto, b"0")
        return self.link.call(command)

    # -- waiting

    def wait(self, timeout: float, blocked: Callable[[], Iterable[int]]) -> bool:
        """Sleep until `timeout`, until `wake`, or until something changed that `promote` should see; True where it
        may have.

        Messages in lists on which nobody blocks are noticed here; `blocked` names the connections of consumers to wake.
        """
        tracking, timeout = self.look(timeout, lambda: self._unblock(blocked()))
        if self.watch_link.readable(timeout, self._wake_read):
            self.heed()
            return True
        self._drain_wake()
        return not tracking

    def look(self, timeout: float, wake: Callable[[], object]) -> tuple[bool, float]:
        """Before a wait: `wake` consumers if there is something in lists on which nobody blocks. Returns whether the
        server will tell of changes, and how long to wait at most.
        """
        tracking = self._watch()
        self._fanout.deliver(self.link)
        if not tracking:
            self._look, timeout = True, min(timeout, POLL)
        lists = self._lists()
        if self._look and lists:
            self._look = bool(self.link.call(pack(b"EXISTS", *lists)))
            if self._look:
                wake()
                timeout = min(timeout, LOOK_AGAIN)  # they stay there while everybody is busy
        return tracking, timeout

    def heed(self) -> None:
        """Read what the server tells."""
        self.watch_link.read()
        # Many changes in a row are one: whoever floods the delayed set must not keep us spinning.
        time.sleep(max(0.0, self._last_change + CHANGES_APART - time.monotonic()))
        self._last_change = time.monotonic()

    def _lists(self) -> list[bytes]:
        """Every list but the one on which the consumers block themselves."""
        return [key for queue in self.queues for key in self.broker.list_keys(queue) if key != self._home]

    def _watch(self) -> bool:
        """Have the server tell `watch_link` when a key changes that `link` has read; False where it cannot."""
        if self._tracking and self.link.connected and self.watch_link.connected:
            return True
        if self._tracking is False and self.watch_link.connected:
            return False
        self.watch_link.drop()
        self._look = True
        try:
            number = self.watch_link.call(pack(b"CLIENT", b"ID"))
            self.watch_link.call(pack(b"SUBSCRIBE", INVALIDATE))
            self.watch_link.expect(self._on_change)
            self._fanout.listen(self.watch_link)
            self.link.call(pack(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"%d" % number))
        except ReplyError as exc:
            logger.info("The broker cannot tell of changes (%s): looking every %s s", exc, POLL)
            self._tracking = False
            return False
        self._tracking = True
        return True

    def _on_change(self, message: Any) -> None:
        self._fanout.receive(message)
        # Leases are read to find those that ran out, and change all the time: that is no news.
        if message[-1] != [self._key(scripts.LEASES)]:
            self._look = self._told = True

    def _unblock(self, client_ids: Iterable[int]) -> None:
        commands = [pack(b"CLIENT", b"UNBLOCK", b"%d" % number) for number in client_ids if number]
        if commands:
            self.link.call_many(commands)

    def drop(self) -> None:
        """After a broken connection: start both links anew."""
        self.link.drop()
        self.watch_link.drop()
        self._tracking = None

    def close(self) -> None:
        """Disconnect."""
        try:
            self._fanout.forget(self.link)
        except LinkError as exc:
            logger.info("Could not delete what was broadcast to us: %s", exc)
        self.link.close()
        self.watch_link.close()

    def _key(self, name: str) -> bytes:
        return self.broker.key(name)


def _number(field: bytes) -> int:
    return int(field.split(b"\0", 1)[0].rstrip(RUNNING))


def _is_marked(field: bytes) -> bool:
    return field.split(b"\0", 1)[0].endswith(RUNNING)


def _list_key(ident: bytes, field: bytes) -> bytes:
    """The list that a held message came from; the inbox's stands in the consumer's id."""
    return field.split(b"\0", 1)[1] if field else ident.split(b"@", 1)[1]


def _ident(consumer_id: str) -> bytes:
    return consumer_id.encode("utf-8", "surrogateescape")
