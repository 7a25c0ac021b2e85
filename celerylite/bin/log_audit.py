"""Reads the logs of workers, Celery's and ours, as text or as JSON lines: what became of which task."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: How an entry begins: with a time, whatever the pattern of the rest; or with a brace, as JSON.
_START = re.compile(r"^(?:\W*\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d|\[)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_TASK = r"(?P<name>[\w.<>-]+)\[(?P<id>[^\]\s]+)\]"
#: What the sentences of workers say of a task; the first that fits counts.
_EVENTS = tuple(
    (event, re.compile(pattern.replace("TASK", _TASK)))
    for event, pattern in (
        ("received", r"Task TASK received"),
        ("received", r"Received task: TASK"),
        ("succeeded", r"Task TASK succeeded in "),
        ("failed", r"Task TASK (?:raised|INTERNAL ERROR)"),
        ("retried", r"Task TASK retry"),
        ("ignored", r"Task TASK ignored"),
        ("rejected", r"Task TASK (?:rejected|reject)"),
        ("revoked", r"Discarding revoked task: TASK"),
        ("timeout", r"Hard time limit \([^)]*\) exceeded for TASK"),
        ("lost", r"exited with .* while it ran TASK"),
    )
)
#: After these, a task's run is over. A retry is received anew.
ENDS = frozenset(("succeeded", "failed", "retried", "ignored", "rejected", "revoked", "timeout", "lost"))
ERRORS = frozenset(("failed", "timeout", "lost"))


@dataclass(slots=True)
class Entry:
    """One entry of a log."""

    #: As it is in the file, with the lines of its traceback.
    text: str
    #: What it says of a task (see `_EVENTS`); None: it is about something else.
    event: str | None = None
    name: str = ""
    id: str = ""
    has_traceback: bool = False


@dataclass(slots=True)
class Audit:
    """The sum of what a log says."""

    counts: Counter[str] = field(default_factory=Counter)
    #: Runs received, by the name of the task.
    names: Counter[str] = field(default_factory=Counter)
    #: Received and not ended: id -> entry.
    open: dict[str, Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Count one entry."""
        if entry.event is None:
            return
        self.counts[entry.event] += 1
        if entry.event == "received":
            self.names[entry.name] += 1
            self.open[entry.id] = entry
        elif entry.event in ENDS:
            self.open.pop(entry.id, None)

    def report(self) -> dict[str, Any]:
        """The figures as plain data."""
        tasks = {event: self.counts[event] for event in ("received", *sorted(ENDS))}
        return {"tasks": {**tasks, "incomplete": len(self.open)}, "names": dict(self.names.most_common())}


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of a log, each with its further lines."""
    block: list[str] = []
    for line in lines:
        clean = _COLOURS.sub("", line.rstrip("\n"))
        is_json = clean.startswith("{")
        if block and (is_json or _START.match(clean) or block[0].startswith("{")):
            yield _entry(block)
            block = []
        block.append(clean)
    if block:
        yield _entry(block)


def _entry(block: list[str]) -> Entry:
    text = "\n".join(block)
    said: dict[str, Any] = {}
    if text.startswith("{"):
        try:
            loaded = json.loads(text)
            said = loaded if isinstance(loaded, dict) else {}
        except ValueError:
            pass  # a line that only looks like JSON is text
    sentence = str(said.get("message", block[0]))
    traceback = "exception" in said or any(line.startswith("Traceback (most recent call last)") for line in block)
    for event, pattern in _EVENTS:
        found = pattern.search(sentence)
        if found:
            # Where a task has another name in the log (`shadow`), the sentence has it.
            return Entry(text, event, found["name"], found["id"], traceback)
    return Entry(text, has_traceback=traceback)
