"""Taking from Redis: a script moves messages into this consumer's own hash, or, when there is nothing, a blocking move
brings one into its inbox. `redis_letting_go` has what becomes of a message then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.base import Consumer
from celerylite.brokers.envelope import decode
from celerylite.brokers.outage import Enduring
from celerylite.brokers.redis_access import check
from celerylite.brokers.redis_held import INBOX, Held, Locked, Taking, Unlocked
from celerylite.brokers.redis_letting_go import LettingGo
from celerylite.brokers.redis_link import LinkError, ReplyError, pack
from celerylite.brokers.values import Delivery
from celerylite.utils.clock import uptime

if TYPE_CHECKING:
    from celerylite.brokers.redis import RedisBroker
    from celerylite.message import Message

logger = logging.getLogger("celery.brokers.redis")

#: Longest uninterrupted wait; a process that was asleep longer than this notices by it.
SLICE = 1.0
#: Seconds of one blocking take on the server.
BLOCK = 20.0
#: Waits in a row without a look at the other priorities, while messages come one by one.
DIRECT = 4


class RedisConsumer(Enduring, LettingGo, Consumer):
    """See the module. `renewed` tells when (`uptime`) the keeper last renewed our lease."""

    _logger = logger

    def __init__(
        self,
        broker: RedisBroker,
        queues: Sequence[str],
        *,
        serial: bool,
        lease: float,
        renewed: Callable[[], float] = lambda: 0.0,
        on_block: Callable[[int], None] = lambda client_id: None,
        alarm: int | None = None,
        sure: float = 0.05,
    ) -> None:
        self.broker = broker
        self.serial = serial
        self.lease = lease
        self.renewed = renewed
        self.on_block = on_block
        self.sure = sure
        self.link = broker.new_link()
        # A waiting fetch owns its link, so threads that finish tasks meanwhile need another one.
        self.out = self.link if serial else broker.new_link()
        self._writing = Unlocked(self.link) if serial else Locked(self.out)
        self.link.on_sent = lambda: self.on_sent()
        self._open_wake(alarm)
        self._sequence = 0
        #: Takes from this number on may have brought messages that we never saw.
        self._uncertain = 0
        #: A take whose answer nobody has read yet.
        self._taking: Taking | None = None
        #: Whether a take was asked for whose answer is not here: after a broken connection it never comes.
        self._lost = False
        self._client_id = 0
        #: How many more fetches may wait without looking first, and when we looked last.
        self._direct = 0
        self._taken_at = 0.0
        self._ended: list[Any] = []
        #: The list from which the inbox is filled: the first of the queues with which we begin.
        self._primary = self.broker.list_key(queues[0]) if queues else b""
        self.rename(f"{'s' if serial else 't'}{os.urandom(8).hex()}")
        self.set_queues(queues)

    def set_queues(self, queues: Sequence[str]) -> None:
        """Fetch from these queues from now on, under the same id.

        Without the first queue, which the inbox belongs to, the keeper alone ends a wait; see `_block`.
        """
        self.queues = list(queues)
        self._turn = 0
        self._order = self.broker.layout.order(self.queues)
        self._note_lists()
        self._at_home = bool(queues) and self._primary in map(self.broker.list_key, self.queues)
        if not self._at_home and self._primary and self.link.connected:
            self._posting(lambda: self.link.post(self._empty_inbox()))

    def _empty_inbox(self) -> bytes:
        return pack(b"LMOVE", self._inbox, self._primary, b"RIGHT", b"RIGHT")

    def rename(self, name: str) -> None:
        """Hold messages under the id that begins so from now on; nothing must be held."""
        self.id = f"{name}@{self._primary.decode('utf-8', 'surrogateescape')}"
        ident = self.id.encode("utf-8", "surrogateescape")
        key = self.broker.key
        self._ident = ident
        self._held = key(scripts.HELD) + ident
        self._inbox = key(scripts.INBOX) + ident
        self._moved = key(scripts.MOVED) + ident
        self._settled = key(scripts.SETTLED) + ident
        self._leases = key(scripts.LEASES)
        #: The beginning of an acknowledgement: one a task, so it is packed once.
        self._hdel = b"*3\r\n$4\r\nHDEL\r\n$%d\r\n%b\r\n" % (len(self._held), self._held)

    def open(self, given_up: Callable[[], bool]) -> bool:
        """Connect, trying until it works or `given_up` says so; returns whether it did."""
        return self._keep_trying(self._connect, (LinkError,), given_up)

    def _connect(self) -> None:
        self.link.open()
        check(self.broker, self.link, self.queues)
        self._client_id = self.link.call(pack(b"CLIENT", b"ID"))

    # -- taking

    def fetch(self, most: int, wait: float) -> list[Delivery]:
        """Take up to `most` messages; with none there, wait up to `wait` seconds for the first."""
        if not self.queues and self._taking is None and self._kept is None:
            self.push()
            self._idle(wait)
            return []
        try:
            if self._kept is not None and (kept := self._take_kept()):
                return kept
            if self._taking is not None:
                self.link.push()  # the answer may be here already, and then nothing else would be sent
                taken = self._taken()
            else:
                taken = [] if self._may_block_at_once() else self._take(most)
            # A chord must not wait for its body because its last part ended here.
            # After an outage one answer is enough to say that it is over, before anything is waited for.
            patient = wait > 0 and not self._pause
            if not taken and patient and self.queues and not (self.serial and self.counting):
                taken = self._block(most, wait)
        except LinkError as exc:
            self._complain(exc)
            self._sleep(min(self._pause, wait))
            return []
        if self._pause:
            self._relieved("Connected to %s again", self._server())
        self._note_fetched(most, taken)
        return taken

    def _may_block_at_once(self) -> bool:
        """While messages come one by one, looking for more before waiting for the next costs a trip and finds
        nothing.
        """
        self._direct = self._direct - 1 if self._direct > 0 else 0
        return self._direct > 0 and self.link.connected and not self._lost and not self.counting

    def _take(self, most: int) -> list[Delivery]:
        self._taking = self._ask(most)
        return self._taken()

    def prepare(self, most: int, on_number: Callable[[int], None]) -> None:
        """Ask for the next messages while the last ones of this batch are run; the answer is read by `fetch`."""
        if self._taking is None and self.link.connected and not self._lost:
            on_number(self._sequence + most - 1)
            try:
                self._taking = self._ask(most)
            except LinkError as exc:
                self._complain(exc)

    def _ask(self, most: int) -> Taking:
        if self._lost or not self.link.connected:
            self._recover()
        lists = self._lists()
        inbox_list = lists.index(self._primary) + 1 if self._at_home else 0
        first, self._sequence = self._sequence, self._sequence + most
        self._uncertain = min(first, self._uncertain)
        self._lost = True  # until the answer is here
        taking = Taking(self.link.epoch, lists, first, uptime(), [])
        self.link.send(
            pack(
                b"EVALSHA", scripts.TAKE.sha, b"%d" % (3 + len(lists)), self._held, self._leases, self._inbox, *lists,
                self._ident, b"%f" % self.lease, b"%d" % most, b"%d" % first,
                b"%d" % scripts.TAKE_BYTES, b"%d" % inbox_list,
            ),
            taking.got.append,
        )  # fmt: skip
        return taking

    def _taken(self) -> list[Delivery]:
        """The messages that were asked for; raises `LinkError` where the connection broke in between."""
        taking, self._taking = self._taking, None
        assert taking is not None
        while not taking.got:
            if not self.link.connected or self.link.epoch != taking.epoch:
                raise LinkError("the connection broke while messages were on their way")
            self.link.read()
        reply = taking.got[0]
        if type(reply) is ReplyError:
            raise reply
        self._lost = False
        self._uncertain = self._sequence
        self._taken_at = taking.asked
        found: list[Delivery] = []
        for number in range(len(reply) // 2):
            list_key = taking.lists[reply[2 * number] - 1]
            field = b"%d\0%b" % (taking.first + number, list_key)
            found.append(self._delivery(reply[2 * number + 1], list_key, field, taking.asked + self.sure))
        return found

    def _recover(self) -> None:
        """After a broken connection: give back what a take brought whose reply was lost."""
        self._client_id = 0
        self.link.call(self._release_from(0 if self.serial else self._uncertain))
        if not self._at_home and self._primary:
            self.link.call(self._empty_inbox())
        self._uncertain = self._sequence

    def _release_from(self, lowest: int) -> bytes:
        return pack(
            b"EVALSHA", scripts.RELEASE.sha, b"2", self._held, self._moved, INBOX, b"%d" % lowest, b"inf", b"1"
        )

    def _block(self, most: int, wait: float) -> list[Delivery]:
        """Wait on the server for one message of the first queue; the keeper ends the wait when another queue has
        some.
        """
        if not self._client_id:
            self._client_id = self.link.call(pack(b"CLIENT", b"ID"))
        got: list[Any] = []
        seconds = min(BLOCK, wait)
        if self._at_home:
            command = pack(b"BLMOVE", self._primary, self._inbox, b"RIGHT", b"LEFT", b"%.3f" % seconds)
        else:  # a list that nobody fills
            command = pack(b"BLPOP", self._inbox + b".", b"%.3f" % seconds)
        self.link.send(command, got.append)
        self.on_block(self._client_id)
        try:
            since = self._await(got, seconds)
        finally:
            self.on_block(0)
        if got[0] is None or type(got[0]) is ReplyError:
            self._direct = 0
            if got[0] is not None and not str(got[0]).startswith("UNBLOCKED"):
                raise LinkError(str(got[0]))
            return []
        if not self._direct and self.serial and len(self.queues) == 1:
            self._direct = DIRECT
        # Ours as of when we were last awake before it came, if the lease was good then.
        sure = min(since, max(self.renewed(), self._taken_at))
        first = self._delivery(got[0], self._primary, INBOX, sure + self.lease / 2)
        # Threads hold several messages, so theirs move on from the inbox into the hash; more may have come meanwhile.
        return [first] if self.serial else self._take(most)

    def _await(self, got: list[Any], seconds: float) -> float:
        """Wait for the blocking reply; returns a moment (`uptime`) at which we were surely awake before it came."""
        awake = uptime()
        deadline = awake + seconds + self.link.timeout
        while not got:
            if self.link.readable(SLICE, self._wake_read, *self._alarms):
                self.link.read()
            elif self._drain_wake() or self._alarmed():
                self._unblock(got)
            elif uptime() > deadline:
                self.link.drop()
                raise LinkError("Redis does not answer a blocking take")
            else:
                awake = uptime()
        return awake

    def _unblock(self, got: list[Any]) -> None:
        """Somebody wants this consumer's attention: end the blocking take, and keep what it may just have brought."""
        other = self.broker.new_link()
        try:
            other.call(pack(b"CLIENT", b"UNBLOCK", b"%d" % self._client_id))
        finally:
            other.close()
        while not got:
            self.link.read()

    def _lists(self) -> list[bytes]:
        """All lists in the order to look at them: by priority, and among queues by turns."""
        if self._order is None:
            self._turn = (self._turn + 1) % len(self.queues)
            queues = self.queues[self._turn :] + self.queues[: self._turn]
        else:
            queues = self._order.consume(len(self.queues))
        layout = self.broker.layout
        return [self.broker.list_key(queue, step) for step in layout.priority_steps for queue in queues]

    def _delivery(self, raw: bytes, list_key: bytes, field: bytes, sure_until: float) -> Held:
        queue = self.broker.queue_of(list_key)
        if self._order is not None:
            self._order.rotate(queue)
        return Held(field, raw, queue, list_key, sure_until)

    def read(self, delivery: Delivery) -> Message:
        """The message in a delivery."""
        assert isinstance(delivery, Held)
        return delivery.message or decode(delivery.raw)

    def fresh(self, delivery: Delivery) -> bool:
        """Whether nobody can have taken the message from us by now."""
        assert isinstance(delivery, Held)
        return uptime() < delivery.sure_until

    # -- the end

    def _server(self) -> str:
        return self.broker.connector.uri

    def close(self) -> None:
        """Give back all that is held, drop the lease, disconnect; what cannot be given back now, the lease will."""
        self.end()
        try:
            self.flush()
            with self._writing as link:
                link.post(self._release_from(0))
                link.post(self._empty_inbox())
                link.post(
                    pack(b"EVALSHA", scripts.FORGET.sha, b"3", self._leases, self._held, self._inbox, self._ident, b"")
                )
                link.flush()
        except LinkError as exc:
            logger.error("Could not say goodbye to the broker: %s", exc, extra={"action": "given_up"})
        finally:
            self.link.close()
            self.out.close()
            self._close_wake()
