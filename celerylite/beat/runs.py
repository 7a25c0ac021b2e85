"""What beats share of an entry: the last tick that is done, and what was sent for it. One note in a notebook."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace


@dataclass(slots=True, frozen=True)
class Run:
    """How far an entry has come. Times are seconds since the epoch."""

    #: The last tick that is done, sent or skipped; for a new entry, when it was first seen.
    tick: float
    #: The last tick that was sent.
    sent: float | None = None
    #: How often it was sent.
    count: int = 0
    #: The id of the last task.
    task_id: str | None = None
    #: Which beat wrote this, so that no two beats write the same.
    by: str = ""

    @classmethod
    def read(cls, note: bytes) -> Run:
        """A note; one that cannot be read raises ValueError."""
        try:
            return cls(**json.loads(note))
        except TypeError as exc:
            raise ValueError(f"not the note of a run: {note!r}") from exc

    def note(self) -> bytes:
        """As it stands in the notebook."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields, separators=(",", ":")).encode()

    def skipped(self, tick: float, by: str) -> Run:
        """After a tick for which nothing was sent."""
        return replace(self, tick=tick, by=by)

    def after(self, tick: float, task_id: str | None, by: str) -> Run:
        """After a tick that was sent."""
        return Run(tick, tick, self.count + 1, task_id, by)
