"""The board: shared memory on which each task process notes what it is doing, so that others know when it cannot say.

One slot a task process, written by it alone. The parent reads limits and what a dead child was running; the control
process reads who is alive, who waits and who hoards. Nothing is locked: a slot's `busy` is written last when a task
starts and first when it ends, and whoever means to kill stops the process before it looks again.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

from celerylite.utils.clock import uptime
from celerylite.worker.tally import Tally

#: Bytes kept of a message; pages are only used when they are written.
RAW_SIZE = 256 * 1024
TEXT_SIZE = 512
#: pid, connection that waits, newest number, tasks done; then of the running task: since, soft limit, hard limit,
#: acknowledged, size of the tag, size of the message, and last of all whether there is one.
_FIELDS = struct.Struct("<qqqqdddqqqq")
_TASK = struct.Struct("<dddqqqq")
_TASK_AT = 32
_SLOT = 4096 + RAW_SIZE
_HEADER = 4096
_CLOCKS = struct.Struct("<dd")
_NUMBER = struct.Struct("<q")
#: Offsets in the header, behind the two clocks and the word that a shutdown is cold.
_BORN, _TOLD, _PROCESSED, _USED, _SIZE = 24, 32, 40, 48, 56
#: Offsets of single fields, for writes that change only one.
_BLOCKED, _LAST, _DONE = 8, 16, 24
_TAG_SIZE = _TASK_AT + 32
_BUSY = _TASK_AT + 48
#: Behind the fields of a slot: whether its process waits for the broker to come back.
_AWAY = 96
_CONSUMER, _DOOM, _TAG, _TITLE, _RAW = 256, 784, 1024, 2048, 4096
_DOOMED = struct.Struct("<qd")
_TITLES = struct.Struct("<HH")


@dataclass(slots=True)
class Running:
    """What one slot says."""

    pid: int
    busy: bool
    #: `uptime` at which the task started, and its limits in seconds (0 is none).
    since: float
    soft_limit: float
    hard_limit: float
    #: Number of the connection that waits for messages, 0 when it does not.
    blocked: int
    #: Sequence number of the newest message that the process holds.
    last: int
    #: Tasks finished by this process.
    done: int
    #: Whether the message was acknowledged before the task started.
    acked: bool
    consumer_id: str
    tag: bytes
    #: The message, or its beginning where it is larger than `RAW_SIZE`.
    raw: bytes
    raw_size: int
    #: Of a message that is larger.
    task_id: str | None = None
    name: str | None = None

    @property
    def holds_more(self) -> bool:
        """Whether the process has taken messages that wait behind the running one."""
        return bool(self.tag) and self.last > int(self.tag.split(b"\0", 1)[0].rstrip(b"r"))

    @property
    def whole(self) -> bool:
        """Whether `raw` is all of the message."""
        return self.raw_size == len(self.raw)


class Board:
    """Made before the first fork; `slots` is the most task processes that there will be."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._map = mmap.mmap(-1, _HEADER + slots * _SLOT)
        #: How many tasks were started, by name.
        self.tally = Tally(slots)
        struct.pack_into("<d", self._map, _BORN, uptime())

    def born(self) -> float:
        """When (`uptime`) the worker started."""
        return struct.unpack_from("<d", self._map, _BORN)[0]

    def told(self) -> int:
        """How many directives the parent has passed on; a task process that knows of fewer looks at its line."""
        return _NUMBER.unpack_from(self._map, _TOLD)[0]

    def tell(self) -> None:
        """Another directive was passed on. Only the parent calls this, after it has written to the lines."""
        _NUMBER.pack_into(self._map, _TOLD, self.told() + 1)

    # -- the keeper's clocks

    def renewed(self) -> float:
        """When (`uptime`) the leases were last renewed."""
        return _CLOCKS.unpack_from(self._map, 0)[0]

    def set_renewed(self, when: float) -> None:
        """Note a renewal."""
        struct.pack_into("<d", self._map, 0, when)

    def alive(self) -> float:
        """When (`uptime`) the control process last went round its loop."""
        return _CLOCKS.unpack_from(self._map, 0)[1]

    def set_alive(self, when: float) -> None:
        """Note a round of the control process."""
        struct.pack_into("<d", self._map, 8, when)

    def use(self, slots: range) -> None:
        """These are about to be used. Called by one process only, before it forks who uses them."""
        if slots.stop > self.used():
            _NUMBER.pack_into(self._map, _USED, slots.stop)

    def used(self) -> int:
        """How many slots were ever used, counted from the first: to look at others would cost memory."""
        return _NUMBER.unpack_from(self._map, _USED)[0]

    def size(self) -> int:
        """How many tasks the worker is to run at a time: its `concurrency` just now."""
        return _NUMBER.unpack_from(self._map, _SIZE)[0]

    def set_size(self, concurrency: int) -> None:
        """Note how many tasks the worker is to run at a time."""
        _NUMBER.pack_into(self._map, _SIZE, concurrency)

    def cold(self) -> bool:
        """Whether the parent has decided to end running tasks; only then a SIGQUIT is its word."""
        return bool(_NUMBER.unpack_from(self._map, 16)[0])

    def set_cold(self) -> None:
        """The parent ends running tasks."""
        _NUMBER.pack_into(self._map, 16, 1)

    def processed(self) -> int:
        """How many tasks the worker has run, in processes that live and in those that are gone."""
        at = (self._at(slot) + _DONE for slot in range(self.used()))
        return sum(_NUMBER.unpack_from(self._map, place)[0] for place in (_PROCESSED, *at))

    # -- slots

    def clear(self, slot: int, pid: int = 0) -> None:
        """A process begins in this slot, or has ended and is settled (then only the parent calls this)."""
        done = _NUMBER.unpack_from(self._map, self._at(slot) + _DONE)[0]
        if done:
            _NUMBER.pack_into(self._map, _PROCESSED, _NUMBER.unpack_from(self._map, _PROCESSED)[0] + done)
        _FIELDS.pack_into(self._map, self._at(slot), pid, *([0] * 10))
        self.set_consumer(slot, "")
        self.set_outage(slot, False)

    def set_consumer(self, slot: int, consumer_id: str) -> None:
        """Note under which id the process holds messages."""
        data = consumer_id.encode("utf-8", "surrogateescape")[:TEXT_SIZE]
        at = self._at(slot) + _CONSUMER
        self._map[at : at + 2 + len(data)] = struct.pack("<H", len(data)) + data

    def start(
        self, slot: int, tag: bytes, raw: bytes, since: float, soft_limit: float, hard_limit: float, acked: bool
    ) -> None:
        """A task starts."""
        at = _HEADER + slot * _SLOT
        size = len(raw)
        kept = raw if size <= RAW_SIZE else raw[:RAW_SIZE]
        board = self._map
        board[at + _RAW : at + _RAW + len(kept)] = kept
        board[at + _TAG : at + _TAG + len(tag)] = tag
        _TASK.pack_into(board, at + _TASK_AT, since, soft_limit, hard_limit, acked, len(tag), size, 1)

    def set_title(self, slot: int, task_id: str, name: str) -> None:
        """Note the task's id and name where the message is too large to be kept; before `start`."""
        texts = [text.encode("utf-8", "replace")[:TEXT_SIZE] for text in (task_id, name)]
        at = self._at(slot) + _TITLE
        data = _TITLES.pack(*map(len, texts)) + b"".join(texts)
        self._map[at : at + len(data)] = data

    def title(self, slot: int) -> tuple[str, str]:
        """The id and the name that `set_title` noted last."""
        at = self._at(slot) + _TITLE
        first, second = _TITLES.unpack_from(self._map, at)
        at += _TITLES.size
        texts = (self._map[at : at + first], self._map[at + first : at + first + second])
        return texts[0].decode("utf-8", "replace"), texts[1].decode("utf-8", "replace")

    def set_doom(self, slot: int, number: int) -> None:
        """The parent ends the running task with this signal; the process must be stopped meanwhile."""
        _DOOMED.pack_into(self._map, self._at(slot) + _DOOM, number, self.read(slot).since)

    def doom(self, slot: int) -> int:
        """The signal with which the running task is to end; 0 where it is not."""
        number, since = _DOOMED.unpack_from(self._map, self._at(slot) + _DOOM)
        running = self.read(slot)
        return number if running.busy and running.since == since else 0

    def set_tag(self, slot: int, tag: bytes) -> None:
        """The running message is held under another tag by now."""
        at = self._at(slot)
        self._map[at + _TAG : at + _TAG + len(tag)] = tag
        _NUMBER.pack_into(self._map, at + _TAG_SIZE, len(tag))

    def finish(self, slot: int, done: int) -> None:
        """The task has ended, and all that it leaves is on its way."""
        at = _HEADER + slot * _SLOT
        _NUMBER.pack_into(self._map, at + _BUSY, 0)
        _NUMBER.pack_into(self._map, at + _DONE, done)

    def set_blocked(self, slot: int, connection: int) -> None:
        """The process waits for messages on this connection (0: no more)."""
        _NUMBER.pack_into(self._map, self._at(slot) + _BLOCKED, connection)

    def set_outage(self, slot: int, away: bool) -> None:
        """The process has lost the broker, or has it back."""
        _NUMBER.pack_into(self._map, self._at(slot) + _AWAY, away)

    def outage(self) -> bool:
        """Whether all task processes wait for the broker to come back."""
        holders = [slot for slot in range(self.used()) if self.read_consumer(slot)]
        return bool(holders) and all(_NUMBER.unpack_from(self._map, self._at(slot) + _AWAY)[0] for slot in holders)

    def set_last(self, slot: int, sequence: int) -> None:
        """The newest message that the process holds."""
        _NUMBER.pack_into(self._map, self._at(slot) + _LAST, sequence)

    def busy(self, slot: int) -> bool:
        """Whether a task runs."""
        return bool(_NUMBER.unpack_from(self._map, self._at(slot) + _BUSY)[0])

    def read(self, slot: int) -> Running:
        """All that the slot says."""
        at = self._at(slot)
        pid, blocked, last, done, since, soft, hard, acked, tag_size, raw_size, busy = _FIELDS.unpack_from(
            self._map, at
        )
        tag = self._map[at + _TAG : at + _TAG + tag_size]
        raw = self._map[at + _RAW : at + _RAW + min(raw_size, RAW_SIZE)]
        titles = self.title(slot) if raw_size > RAW_SIZE else ()
        return Running(
            pid,
            bool(busy),
            since,
            soft,
            hard,
            blocked,
            last,
            done,
            bool(acked),
            self.read_consumer(slot),
            tag,
            raw,
            raw_size,
            *titles,
        )

    def set_dead(self, slot: int) -> None:
        """The process of this slot has ended; what it was running stays to be read."""
        at = self._at(slot)
        struct.pack_into("<q", self._map, at, -abs(_NUMBER.unpack_from(self._map, at)[0]))

    def pids(self) -> list[int]:
        """The task processes that live, as far as the parent knows."""
        found = (_NUMBER.unpack_from(self._map, self._at(slot))[0] for slot in range(self.used()))
        return [pid for pid in found if pid > 0]

    def consumers(self) -> list[str]:
        """The ids under which living task processes hold messages."""
        slots = (slot for slot in range(self.used()) if _NUMBER.unpack_from(self._map, self._at(slot))[0] > 0)
        return [consumer for slot in slots if (consumer := self.read_consumer(slot))]

    def read_consumer(self, slot: int) -> str:
        """The id under which the process of this slot holds messages; '' where there is none."""
        at = self._at(slot) + _CONSUMER
        (size,) = struct.unpack_from("<H", self._map, at)
        return self._map[at + 2 : at + 2 + size].decode("utf-8", "surrogateescape")

    def blocked(self) -> list[int]:
        """The connections on which task processes wait."""
        found = (_NUMBER.unpack_from(self._map, self._at(slot) + _BLOCKED)[0] for slot in range(self.used()))
        return [number for number in found if number]

    def _at(self, slot: int) -> int:
        return _HEADER + slot * _SLOT
