"""Entries that were made or changed at run time: how they stand in their notebook, and how they go over the code's.

A note is a whole entry (it names a task), or what is changed in an entry of the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celerylite.beat.entry import EDITABLE
from celerylite.exceptions import ImproperlyConfigured
from celerylite.message import json_dumps, json_loads
from celerylite.schedules import maybe_schedule, to_line
from celerylite.utils.log import get_logger

if TYPE_CHECKING:
    from celerylite.brokers.base import Notebook

logger = get_logger("celery.beat")

FIELDS = ("task", *EDITABLE)


def dumps(fields: Mapping[str, Any]) -> bytes:
    """Fields of an entry as a note; TypeError and kombu's EncodeError for what cannot be stored."""
    written = dict(fields)
    if "schedule" in written:
        written["schedule"] = to_line(maybe_schedule(written["schedule"]))
    for name in ("start", "end"):
        if isinstance(written.get(name), datetime):
            written[name] = written[name].isoformat()
    return json_dumps(written).encode()


def loads(note: bytes) -> dict[str, Any]:
    """A note as fields of an entry."""
    return dict(json_loads(note))


def is_whole(fields: Mapping[str, Any]) -> bool:
    """Whether the fields are an entry by themselves, and not a change of the code's."""
    return "task" in fields


class Overlay:
    """Keeps a scheduler's entries what the code and the notes make of them."""

    def __init__(self, scheduler: Any, book: Notebook) -> None:
        self.scheduler = scheduler
        self.book = book
        #: What the code says, where notes hide it.
        self.own = dict(scheduler.schedule)
        self._noted: set[str] = set()
        self._version: int | None = None

    def read(self) -> bool:
        """See what was added, changed and removed at run time; False if it was nothing, and at the first call."""
        first = self._version is None
        if not first and self.book.version() == self._version:
            return False
        version, notes = self.book.read()
        found = combined(self.scheduler, self.own, notes)
        schedule = self.scheduler.schedule
        for name in self._noted - set(found):
            if name in self.own:
                schedule[name] = self.own[name]
            else:
                schedule.pop(name, None)
        changed = bool(found or self._noted)
        schedule.update(found)
        self._noted, self._version = set(found), version
        return changed and not first


def combined(scheduler: Any, own: Mapping[str, Any], notes: Mapping[str, bytes]) -> dict[str, Any]:
    """The entries that the notes make of the code's own; those that cannot be read are logged and left out."""
    found: dict[str, Any] = {}
    for name, note in notes.items():
        try:
            entry = build(scheduler, name, own.get(name), loads(note))
        except (ValueError, TypeError, KeyError, ImproperlyConfigured) as exc:
            logger.error(
                "Cannot add entry %r to schedule: %r. Contents: %r", name, exc, note, extra={"action": "bad_entry"}
            )
            continue
        if entry is not None:
            found[name] = entry
    return found


def build(scheduler: Any, name: str, own: Any, fields: Mapping[str, Any]) -> Any:
    """The entry of one note; None for changes of an entry that this code does not have."""
    unknown = set(fields) - set(FIELDS)
    if unknown:
        raise KeyError(f"unknown fields: {', '.join(sorted(unknown))}")
    if is_whole(fields):
        return scheduler._maybe_entry(name, dict(fields))
    if own is None:
        return None
    changed = copy(own)
    fresh = scheduler._maybe_entry(name, {"task": own.task, "schedule": own.schedule, **fields})
    for field in fields:
        setattr(changed, field, getattr(fresh, field))
    return changed


