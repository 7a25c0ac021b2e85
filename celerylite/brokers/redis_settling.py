"""How a settlement is told to the scripts that do it in one step (`redis_scripts.SETTLE`, `FINISH_CHORD`), and the
consumer's side of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.redis_held import Held, Unlocked, name_of, warn_if_lost
from celerylite.brokers.redis_keeping import Keeping
from celerylite.brokers.redis_link import Link, LinkError, OnReply, ReplyError, pack
from celerylite.brokers.values import Delivery, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celerylite.brokers.redis import RedisBroker
    from celerylite.brokers.values import EndedChord
    from celerylite.message import Message

    #: Turns the commands that send a message into others.
    Change = Callable[[Message, list[tuple[bytes, ...]]], list[tuple[bytes, ...]]]


class Settling(Keeping):
    """See `redis_consumer.RedisConsumer`."""

    ack: Callable[[Delivery], None]
    _inbox: bytes
    _moved: bytes
    _settled: bytes
    _writing: Unlocked
    _posting: Callable[[Callable[[], None]], None]
    _trim: Callable[[Link], None]
    _complain: Callable[[Exception], None]
    _out_of_patience: Callable[[], bool]
    _sleep: Callable[[float], None]
    _pause: float
    #: The number of the last settlement of a task that was acknowledged early.
    _number = 0
    #: See `base.Consumer`.
    counting = 0
    #: What settlements have said about chords.
    _ended: list[Any]

    def settle(self, delivery: Delivery, settlement: Settlement, *, acked: bool, last: bool = False) -> bool:
        """Store, send and acknowledge in one script."""
        assert isinstance(delivery, Held)
        if settlement.is_empty:
            if not acked:
                self.ack(delivery)
            return True
        keys = [self._settled if acked else self._held, self._inbox, self._moved]
        keep = last and self._may_keep(settlement)
        args = self._arguments(settlement, self._keep if keep else None)
        on_reply: OnReply | None = None if acked else warn_if_lost
        with self._writing as link:
            if acked:
                name = (self._next_number() if settlement.messages or settlement.commands else b"", b"", b"1")
            else:
                name = (*name_of(delivery.tag, delivery.raw), b"0")
            command = pack(b"EVALSHA", scripts.SETTLE.sha, b"3", *keys, *name, *args)
            if settlement.counts:
                on_reply = self._heed(on_reply)
            kept = self._kept if keep else None
            if kept is not None:
                on_reply = self._hear_of(kept, on_reply)
            # Late, it is held back for the next command, which is at hand; whoever dies before that runs the task
            # again. Early, nobody would: the outcome must be on its way before the board shows another task, so
            # it waits for a fetch only. Where a message may stay, the answer is waited for, and nothing goes with it.
            hold = self.serial and (last or not acked) and kept is None
            self._posting(lambda: link.post(command, on_reply, hold=hold))
            self._trim(link)
            return not link.holding

    def _next_number(self) -> bytes:
        """Numbers what is settled without being held: nothing else tells a repetition."""
        self._number += 1
        return b"%d" % self._number

    def _arguments(self, settlement: Settlement, change: Change | None) -> list[bytes]:
        """The words of a settlement; to find where its messages go, the server may have to be asked."""
        while True:
            try:
                return settle_arguments(self.broker, settlement, change)
            except self.broker.connection_errors as exc:
                self._complain(exc)
                if self._out_of_patience():
                    raise
                self._sleep(self._pause)

    def _heed(self, on_reply: OnReply | None) -> OnReply:
        """Look for ended chords in the answer to a command that is about to be posted."""
        self.counting += 1

        def heed(reply: Any) -> None:
            self.counting -= 1
            if type(reply) is list:
                self.counting += len(reply) - 1
                self._ended += reply[1:]
            elif on_reply is not None:
                on_reply(reply)
            elif type(reply) is ReplyError:
                warn_if_lost(reply)

        return heed

    def ended_chords(self) -> list[Any]:
        """Answers that have come in; threads wait for theirs, because nothing else makes them read."""
        with self._writing as link:
            while self.counting > len(self._ended) and not (self.serial and not self._answered(link)):
                try:
                    link.read()
                except LinkError as exc:
                    self._complain(exc)
                    break
            found, self._ended = self._ended, []
            self.counting -= len(found)
            return found

    @staticmethod
    def _answered(link: Link) -> bool:
        return link.connected and not link.holding and link.readable(0)

    def finish_chord(self, chord: EndedChord, settlement: Settlement) -> None:
        """Send the body in one script, which does nothing the second time."""
        command = finish_command(self.broker, chord, settlement)
        with self._writing as link:
            on_reply = self._heed(None)
            self._posting(lambda: link.post(command, on_reply))


def settle_arguments(broker: RedisBroker, settlement: Settlement, change: Change | None = None) -> list[bytes]:
    """The commands of a settlement, each as its number of words and the words; `change` may send a message in another
    way.
    """
    store, commands = settlement.store, settlement.commands
    args: list[bytes] = []
    db = store.db if store is not None else settlement.db
    elsewhere = db is not None and db != broker.connector.db and bool(store is not None or commands)
    if elsewhere:
        args += (b"2", b"SELECT", b"%d" % db)  # type: ignore[str-format]
    if store is not None:
        args += (b"4", b"STORE", store.key, b"%d" % store.ttl if store.ttl else b"", store.record)
    if commands:
        args += counted(commands)
    if elsewhere:
        args += (b"2", b"SELECT", b"%d" % broker.connector.db)
    for message in settlement.messages:
        sending = broker.commands_for(message)
        args += counted(sending if change is None else change(message, sending))
    return args


def finish_command(broker: RedisBroker, chord: EndedChord, settlement: Settlement) -> bytes:
    """The command that ends a chord."""
    own = broker.connector.db
    db = b"" if settlement.db in (None, own) else b"%d" % settlement.db
    return pack(
        b"EVALSHA", scripts.FINISH_CHORD.sha, b"2", chord.key, chord.book, chord.about, db, b"%d" % own,
        *settle_arguments(broker, settlement),
    )  # fmt: skip


def counted(commands: Iterable[tuple[bytes, ...]]) -> list[bytes]:
    """Commands as the scripts take them."""
    args: list[bytes] = []
    for command in commands:
        args.append(b"%d" % len(command))
        args += command
    return args
