"""How many tasks of each name a worker has started: shared memory, one region a slot, so that nobody waits for a lock.

`inspect stats` reads it. A region outlives the process that wrote it; the next process of that slot goes on with it.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter

#: Bytes of an entry: a count, the size of a name, the name.
_ENTRY = 256
_HEAD = struct.Struct("<qH")
_NAME_MOST = _ENTRY - _HEAD.size
#: Names that one slot can count; what comes after them is counted together under `OTHERS`. Pages that nobody has
#: written to take no memory.
NAMES = 256
OTHERS = "(others)"


class Tally:
    """Made before the first fork, for as many slots as the board has."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._map = mmap.mmap(-1, max(1, slots * NAMES * _ENTRY))
        self._counts = memoryview(self._map).cast("q")
        #: Slot -> name -> where its count is, of what this process has counted.
        self._places: list[dict[str, int]] = [{} for _ in range(slots)]

    def count(self, slot: int, name: str) -> None:
        """A task of this name starts; only the process that has the slot may call."""
        place = self._places[slot].get(name)
        if place is None:
            place = self._find(slot, name)
        self._counts[place] += 1

    def totals(self, used: int | None = None) -> dict[str, int]:
        """Tasks started since the worker began, by name; `used` is how many slots there are to look at."""
        totals: Counter[str] = Counter()
        for slot in range(self.slots if used is None else used):
            for entry in range(NAMES):
                name, count = self._read(slot, entry)
                if not name:
                    break
                if count:
                    totals[name] += count
        return dict(totals)

    def _find(self, slot: int, name: str) -> int:
        """The place of a name's count: that of an earlier process in this slot, or a new one."""
        wanted = name.encode()[:_NAME_MOST].decode("utf-8", "ignore")
        for entry in range(NAMES):
            if entry == NAMES - 1:
                wanted = OTHERS
            found, _ = self._read(slot, entry)
            if found and found != wanted:
                continue
            at = self._at(slot, entry)
            if not found:
                data = wanted.encode()
                self._map[at + _HEAD.size : at + _HEAD.size + len(data)] = data
                _HEAD.pack_into(self._map, at, 0, len(data))
            break
        self._places[slot][name] = at // 8
        return at // 8

    def _read(self, slot: int, entry: int) -> tuple[str, int]:
        at = self._at(slot, entry)
        count, size = _HEAD.unpack_from(self._map, at)
        return self._map[at + _HEAD.size : at + _HEAD.size + size].decode("utf-8", "replace"), count

    def _at(self, slot: int, entry: int) -> int:
        return (slot * NAMES + entry) * _ENTRY
