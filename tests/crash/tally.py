"""Counts what the ledger says of each task: which never started, which never ended, which started twice."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.support.ledger import Event, Ledger


class Tally:
    """Reads a growing ledger piece by piece: tests look often, and the ledgers here get long."""

    def __init__(self, ledger: Ledger) -> None:
        self._directory = ledger.directory
        self._offsets: dict[Path, int] = {}
        self._lock = threading.Lock()
        self.total = 0
        #: Task id → its "start" lines; the same for "finish"; everything else by name.
        self.starts: dict[str, list[Event]] = defaultdict(list)
        self.finishes: dict[str, list[Event]] = defaultdict(list)
        self.others: dict[str, list[Event]] = defaultdict(list)

    def read(self) -> Tally:
        """Take in what was written since the last time; any thread may call."""
        with self._lock:
            self._read()
        return self

    def _read(self) -> None:
        for path in self._directory.glob("*.log"):
            offset = self._offsets.get(path, 0)
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
            complete = data.rfind(b"\n") + 1  # a line that is being written waits for the next time
            self._offsets[path] = offset + complete
            for line in data[:complete].splitlines():
                self._add(Event(*json.loads(line)))

    def _add(self, event: Event) -> None:
        self.total += 1
        if event.name == "start":
            self.starts[event.key].append(event)
        elif event.name == "finish":
            self.finishes[event.key].append(event)
        else:
            self.others[event.name].append(event)

    def missing(self, ids: Iterable[str]) -> set[str]:
        """Those that never started."""
        return {key for key in ids if key not in self.starts}

    def unfinished(self, ids: Iterable[str]) -> set[str]:
        """Those that never came to their last line, started or not."""
        return {key for key in ids if key not in self.finishes}

    def doubled(self) -> dict[str, int]:
        """Those that started more than once, and how often."""
        return {key: len(starts) for key, starts in self.starts.items() if len(starts) > 1}

    def last_start(self) -> float:
        """When the latest start was, by the wall clock; 0 without any."""
        return max((starts[-1].time for starts in self.starts.values()), default=0.0)
