"""How many messages RabbitMQ may push over one channel, and from which queues. What is pushed comes to the `Inbox`.

A process that wants one message at a time consumes, and cancels when it has it: what nobody consumes waits in the
server for others. Not so on queues that the server would delete without a consumer, or that would change hands: those
are consumed all the time, a message at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from amqp import spec

from celerylite.brokers.declaring import arguments_of

if TYPE_CHECKING:
    from kombu.entity import Queue

#: The window has 16 bits.
MOST = 65535
#: From this size on the window may be larger than what is wanted, at most so many times.
BATCH, SLACK = 8, 4
#: Tags of consumers that were cancelled, of which messages may still be on their way.
REMEMBERED = 64
#: Types of queues that know no window shared by several consumers, and that count how often a message was given back.
COUNTING = ("quorum", "stream")


def is_counting(queue: Any) -> bool:
    """Whether giving a message back counts as a delivery."""
    return arguments_of(queue).get("x-queue-type") in COUNTING


def is_lasting(queue: Any) -> bool:
    """Whether the queue must not be without its consumer while a task runs."""
    arguments = arguments_of(queue)
    return bool(
        queue.auto_delete
        or queue.expires
        or "x-expires" in arguments
        or arguments.get("x-single-active-consumer")
        or arguments.get("x-queue-type") == "stream"
    )


class Window:
    """What may be pushed. Used under the consumer's lock; `hand_over` is called before py-amqp waits for an answer."""

    def __init__(
        self,
        channel: Any,
        numbers: count[int],
        arrived: Callable[[str, bool, Any], None],
        hand_over: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._numbers = numbers
        self._arrived = arrived
        self._hand_over = hand_over
        self._may_share = True
        #: Every queue of this connection so far: a consumer's tag ends in the place of its queue.
        self._queues: list[Queue] = []
        self._places: dict[str, int] = {}
        #: The same, for `queue_of`.
        self._facts: list[tuple[str, bool]] = []
        self._pausing: list[Queue] = []
        self._lasting: list[Queue] = []
        self._tags: list[str] = []
        self._lasting_tags: dict[str, str] = {}
        self._old: deque[str] = deque()
        #: Messages that the server may push before one is acknowledged: to one consumer, to all of them; 0 is any
        #: number. And what was asked for last.
        self._each, self._total = 0, 0
        self._wanted = 0
        self.is_open = False

    def set_queues(self, queues: Sequence[Queue], *, shares: bool) -> None:
        """Consume these queues (bound to the channel) from the next `open` on; nothing else is pushed on return.

        `shares`: several consumers may share one window; where one is a quorum queue the server hangs up.
        """
        self.pause(surely=True)
        names = {queue.name for queue in queues}
        for name in [name for name in self._lasting_tags if name not in names]:
            self._cancel(self._lasting_tags.pop(name), surely=True)
        self._may_share = shares and not any(map(is_counting, queues))
        self._pausing = [queue for queue in queues if not is_lasting(queue)]
        self._lasting = [queue for queue in queues if is_lasting(queue)]
        for queue in queues:
            self._places[queue.name] = len(self._queues)
            self._queues.append(queue)
            self._facts.append((queue.name, not queue.no_ack))

    def queue_of(self, tag: str) -> tuple[str, bool]:
        """The name of the queue of a consumer, and whether its messages are acknowledged."""
        return self._facts[int(tag.rpartition(".")[2])]

    @property
    def shares(self) -> bool:
        """Whether one window is shared by several consumers."""
        return self._may_share and len(self._pausing) > 1

    @property
    def pulls(self) -> bool:
        """Whether one message is better asked for queue by queue: there is no common window, each would push one."""
        return not self._may_share and len(self._pausing) > 1

    @property
    def may_push(self) -> bool:
        """Whether messages may come that `pause` does not keep away."""
        return self.is_open or bool(self._lasting_tags) or self.pulls

    def stays(self, name: str) -> bool:
        """Whether it is no use, or does harm, to give messages of this queue back: they would come straight back."""
        queue = self._queues[self._places[name]]
        single = bool(arguments_of(queue).get("x-single-active-consumer"))
        return name in self._lasting_tags and (single or is_counting(queue))

    # -- asking

    def pull(self) -> Iterator[None]:
        """Take one message after the other, of each queue in turn, as long as the caller goes on."""
        self._hand_over()
        self._pausing.append(self._pausing.pop(0))
        for queue in self._pausing:
            while (got := self._channel.basic_get(queue.name)) is not None:
                self._arrived(queue.name, True, got)
                yield

    def open(self, wanted: int, running: int = 0) -> None:
        """Let the server push up to `wanted` messages; a batch may be larger, for each other size costs a trip.

        `running` are held besides: a shared window counts them, even if their consumer is cancelled.
        """
        if self._lasting and len(self._lasting_tags) < len(self._lasting):
            self._consume_lasting(wanted)
        if self.is_open:
            if wanted <= self._wanted <= SLACK * wanted:
                return
            self.pause()
        if wanted >= BATCH:
            wanted = 1 << (wanted - 1).bit_length()
        self._wanted = wanted
        if self.shares:
            self._limit(0, wanted + running)
        elif self._pausing:
            self._limit(max(1, wanted // len(self._pausing)), 0)
        self._tags = [self._consume(queue) for queue in self._pausing]
        self.is_open = bool(self._tags)

    def _limit(self, each: int, total: int) -> None:
        if total != self._total:
            self._hand_over()
            self._channel.basic_qos(0, min(total, MOST), True)
            self._total = total
        if each != self._each:
            self._hand_over()
            self._channel.basic_qos(0, min(each, MOST), False)
            self._each = each

    def _consume_lasting(self, wanted: int) -> None:
        self._limit(wanted, self._total)
        for queue in self._lasting:
            if queue.name not in self._lasting_tags:
                self._lasting_tags[queue.name] = self._consume(queue)

    def _consume(self, queue: Queue) -> str:
        # A tag that is used again confuses quorum queues.
        tag = f"{next(self._numbers)}.{self._places[queue.name]}"
        arrived = partial(self._arrived, queue.name, not queue.no_ack)
        queue.consume(tag, arrived, no_ack=bool(queue.no_ack), nowait=True)
        return tag

    # -- asking no more

    def pause(self, *, surely: bool = False) -> None:
        """Nothing is pushed any more but by queues that are consumed all the time; what is on its way still comes, and
        with `surely` has come on return.
        """
        if self.is_open:
            self.is_open = False
            for tag in self._tags:
                self._cancel(tag, surely=surely)

    def _cancel(self, tag: str, *, surely: bool) -> None:
        self._hand_over()
        # Not `basic_cancel`: it would refuse what is on its way.
        wait = spec.Basic.CancelOk if surely else None
        self._channel.send_method(spec.Basic.Cancel, "sb", (tag, not surely), wait=wait)
        self._old.append(tag)
        if len(self._old) > REMEMBERED:
            old = self._old.popleft()
            self._channel.callbacks.pop(old, None)
            self._channel.no_ack_consumers.discard(old)
