"""A ledger that tasks write themselves, apart from any accounting of the queue: what started and finished.

One file a process, one line an event, appended by a single write, so that a SIGKILL loses at most the
event that was not yet written.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .waiting import wait_for


class Event(NamedTuple):
    """One line of the ledger."""

    time: float
    pid: int
    name: str
    key: str
    data: dict[str, Any]


class Ledger:
    """A directory of such files; every process that writes has its own. Safe to use across forks."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._fd = -1
        self._pid = -1

    def write(self, name: str, key: str = "", /, **data: Any) -> None:
        """Append one event. `key` is mostly a task id."""
        pid = os.getpid()
        if pid != self._pid:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self.directory / f"{pid}.log", flags, 0o644)
            self._pid = pid
        line = json.dumps([time.time(), pid, name, key, data], default=repr) + "\n"
        os.write(self._fd, line.encode())

    def start(self, task_id: str, **data: Any) -> None:
        """A task begins to run."""
        self.write("start", task_id, **data)

    def finish(self, task_id: str, **data: Any) -> None:
        """A task has run to its end."""
        self.write("finish", task_id, **data)

    def events(self, name: str | None = None, key: str | None = None) -> list[Event]:
        """All events so far, in the order of their times; a last line cut short by a kill is left out."""
        found = []
        for path in self.directory.glob("*.log"):
            for line in path.read_bytes().split(b"\n")[:-1]:
                event = Event(*json.loads(line))
                if name in (None, event.name) and key in (None, event.key):
                    found.append(event)
        return sorted(found, key=lambda event: event.time)

    def names(self) -> list[str]:
        """The names of all events, in order."""
        return [event.name for event in self.events()]

    def count(self, name: str, key: str | None = None) -> int:
        """How many events of that name there are."""
        return len(self.events(name, key))

    def starts(self) -> Counter[str]:
        """Task id → how often it started."""
        return Counter(event.key for event in self.events("start"))

    def finishes(self) -> Counter[str]:
        """Task id → how often it finished."""
        return Counter(event.key for event in self.events("finish"))

    def wait(self, name: str, key: str | None = None, count: int = 1, timeout: float = 10.0) -> list[Event]:
        """The events of that name (and key) once there are `count` of them."""

        def enough() -> list[Event]:
            events = self.events(name, key)
            return events if len(events) >= count else []

        return wait_for(enough, timeout, f"{count} × {name!r} of {key or 'any task'} in the ledger")

    def wait_for(self, predicate: Callable[[Ledger], Any], timeout: float = 10.0, what: str = "") -> Any:
        """Wait until `predicate(ledger)` is true."""
        return wait_for(lambda: predicate(self), timeout, what or "the ledger")

    def clear(self) -> None:
        """Forget everything; only while nobody writes."""
        for path in self.directory.glob("*.log"):
            path.unlink()
        self._pid = -1
