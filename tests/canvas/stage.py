"""Sends a workflow to a running worker and tells what became of it, by the ledger and by the results."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

from .interpreter import Failed, Story
from .workflow import Builder, Node, write

_runs = itertools.count(1)


class Follower:
    """Reads on in a ledger where it stopped, and counts by run."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._read: dict[Path, int] = {}
        self.runs: dict[str, Counter[tuple[str, str]]] = {}
        self.errbacks: dict[str, Counter[str]] = {}

    def read(self) -> None:
        """Take in what was written since."""
        for path in self.ledger.directory.glob("*.log"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    self._take(*json.loads(line)[2:])

    def _take(self, name: str, key: str, data: dict[str, Any]) -> None:
        if name == "run":
            counts = self.runs.setdefault(data["run"], Counter())
            counts[data["label"], json.dumps(data["args"])] += 1
        elif name == "errback":
            self.errbacks.setdefault(data["run"], Counter())[data["label"]] += 1


@dataclass
class Seen:
    """What became of a workflow, in the words of the interpreter; failures are exceptions."""

    result: Any
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    errbacks: Counter[str] = field(default_factory=Counter)

    def differences(self, story: Story) -> list[str]:
        """Where it is not as it should be."""
        found = []
        if not agrees(self.result, story.result):
            found.append(f"result: {self.result!r}, expected {story.result!r}")
        for what in ("runs", "errbacks"):
            seen, expected = getattr(self, what), getattr(story, what)
            if seen - expected:
                found.append(f"{what} too many: {dict(seen - expected)}")
            if expected - seen:
                found.append(f"{what} missing: {dict(expected - seen)}")
        return found


def agrees(seen: Any, expected: Any) -> bool:
    """Whether a result is what was expected; of a failure, whether it names one of the tasks that failed."""
    if isinstance(expected, Failed):
        if not isinstance(seen, Exception) or not set(re.findall(r"\w+", repr(seen))) & expected.labels:
            return False
        return expected.in_chord is None or (type(seen).__name__ == "ChordError") == expected.in_chord
    if isinstance(expected, list):
        return isinstance(seen, list) and len(seen) == len(expected) and all(map(agrees, seen, expected))
    return seen == expected


class Stage:
    """A client's app and the ledger of a worker."""

    def __init__(self, app: Any, ledger: Ledger, timeout: float = 10.0) -> None:
        self.app = app
        self.follower = Follower(ledger)
        self.timeout = timeout
        self.client = self.worker = ""
        #: Who plays with whom, for failure messages.
        self.name = ""
        self._played: dict[str, tuple[Node, Story]] = {}

    def play(self, node: Node, story: Story) -> Seen:
        """Send it, wait for what the story says (or for the timeout), and look."""
        run = f"run-{next(_runs)}"
        result = Builder(self.app, run).build(node).apply_async()
        self._played[run] = node, story
        seen = Seen(None)

        def complete() -> bool:
            self.follower.read()
            seen.runs = self.follower.runs.get(run, Counter())
            seen.errbacks = self.follower.errbacks.get(run, Counter())
            return not (story.runs - seen.runs or story.errbacks - seen.errbacks)

        seen.result = outcome(result, self.timeout)
        try:
            wait_for(complete, 0.5 if isinstance(seen.result, TimeoutError) else self.timeout, interval=0.002)
        except AssertionError:
            pass  # what is missing is told as a difference
        return seen


    def surplus(self) -> list[str]:
        """What ran, in all that was played so far, more often than its story says."""
        self.follower.read()
        found = []
        for run, (node, story) in self._played.items():
            runs = self.follower.runs.get(run, Counter()) - story.runs
            errbacks = self.follower.errbacks.get(run, Counter()) - story.errbacks
            if runs or errbacks:
                found.append(f"{write(node)}: {dict(runs)} {dict(errbacks)}")
        return found


def outcome(result: Any, timeout: float) -> Any:
    """The value or exception of a result; of groups, a list of such."""
    try:
        if hasattr(result, "results"):
            return [outcome(each, timeout) for each in result.results]
        return result.get(timeout=timeout, propagate=False)
    except Exception as exc:  # TimeoutError of either library; it is compared like any other
        return exc
