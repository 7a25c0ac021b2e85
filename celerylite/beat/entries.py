"""The schedule at run time, `app.schedule_entries`: see, add, change, disable and remove entries while beats run.

Beside the code's own entries (`beat_schedule`) there are stored ones, on the broker. Beats see changes in a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from celerylite.beat import definitions, ticks
from celerylite.beat.entry import EDITABLE, ScheduleEntry, evaluated
from celerylite.beat.ledger import LocalLedger, choose
from celerylite.beat.runs import Run
from celerylite.beat.scheduler import Scheduler
from celerylite.brokers.values import Claim
from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.uuids import uuid

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.beat.ledger import Ledger
    from celerylite.result import AsyncResult


class UnknownEntry(KeyError):
    """There is no entry of this name."""

    def __str__(self) -> str:
        return f"there is no schedule entry {self.args[0]!r}"


@dataclass(frozen=True)
class EntryView:
    """One entry, as it is now."""

    name: str
    task: str
    schedule: Any
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    enabled: bool = True
    start: datetime | None = None
    end: datetime | None = None
    #: "skip", "once" or "all".
    missed: str = "once"
    #: Seconds.
    jitter: float = 0.0
    #: Where it stands: "code", "stored", or "changed" for one of the code with changes that are stored.
    source: str = "code"
    #: The last tick that was sent; None if none was.
    last_run_at: datetime | None = None
    #: The next tick; None if there is none, or only the schedule's own code knows it.
    next_run_at: datetime | None = None
    total_run_count: int = 0
    last_task_id: str | None = None


#: (The class below has a `list` of its own.)
Moments = list[datetime]


class Entries:
    """The entries of an app. What is written is there for all beats of the app; all raise kombu's `OperationalError`
    when the broker cannot be reached, and `ImproperlyConfigured` where it cannot store entries.
    """

    def __init__(self, app: Celery, clock: Callable[[], float] = time.time) -> None:
        self.app = app
        self.clock = clock

    # -- looking

    def list(self) -> list[EntryView]:
        """All entries, by name."""
        ledger = self._ledger()
        runs, notes = ledger.runs.read()[1], ledger.entries.read()[1]
        own = self._own()
        found = {**own, **definitions.combined(_Builder(self.app), own, notes)}
        return [_view(found[name], runs.get(name), notes, own, self.clock()) for name in sorted(found)]

    def get(self, name: str) -> EntryView:
        """One entry; raises `UnknownEntry`, a KeyError."""
        entry, notes, own = self._entry(name)
        return _view(entry, self._ledger().runs.look([name])[0], notes, own, self.clock())

    def next(self, name: str, count: int = 5) -> Moments:
        """When an entry is sent next, `count` times; fewer where it ends."""
        entry, _, _ = self._entry(name)
        note = self._ledger().runs.look([name])[0]
        if not entry.enabled or not ticks.is_computed(entry):
            return []
        now = self.clock()
        last = Run.read(note).tick if note else now
        coming = islice(ticks.upcoming(entry, last, now), count)
        return [ticks.moment(due).astimezone(self.app.timezone) for due in coming]

    # -- changing

    def add(
        self,
        name: str,
        task: Any,
        schedule: Any,
        args: Any = (),
        kwargs: Any = None,
        options: Any = None,
        **fields: Any,
    ) -> EntryView:
        """Store a new entry, or replace a stored one.

        `task` is a task or its name; `schedule` a number of seconds, a timedelta, a cron line, or a schedule of this
        package; `fields` are the others of `ScheduleEntry` (enabled, start, end, missed, jitter …). Its first tick is
        the first after now. ValueError and TypeError for a schedule that cannot be read or stored.
        """
        if name in self._own():
            raise ValueError(f"{name!r} is an entry of the code: change it, or choose another name")
        given = {"schedule": schedule, "args": list(args), "kwargs": kwargs or {}, "options": options or {}, **fields}
        self._write(name, {"task": getattr(task, "name", task), **given, "since": self.clock()})
        return self.get(name)

    def change(self, name: str, **fields: Any) -> EntryView:
        """Change fields of an entry, one of the code included: there the change is stored, and goes over the code."""
        entry, notes, _ = self._entry(name)
        before = definitions.loads(notes[name]) if name in notes else {}
        if "schedule" in fields or (fields.get("enabled") and not entry.enabled):
            fields.setdefault("since", self.clock())
        self._write(name, {**before, **fields})
        return self.get(name)

    def enable(self, name: str) -> EntryView:
        """Send the entry again; the ticks that passed meanwhile are not made up for."""
        return self.change(name, enabled=True)

    def disable(self, name: str) -> EntryView:
        """Send the entry no more, until it is enabled again."""
        return self.change(name, enabled=False)

    def remove(self, name: str) -> None:
        """Remove a stored entry; from one of the code, what was changed at run time.

        ValueError for one of the code that was not changed: `disable` is what it takes.
        """
        _, notes, _ = self._entry(name)
        if name not in notes:
            raise ValueError(f"{name!r} stands in the code, and can only be disabled")
        # The note of its runs stays: a beat that has not yet seen the change must not take it for a new entry.
        self._ledger().entries.change(drop=[name])

    def run_now(self, name: str) -> AsyncResult[Any]:
        """Send the task of an entry at once, beside its schedule."""
        entry, _, _ = self._entry(name)
        sender = Scheduler(self.app, lazy=True)
        options = {"task_id": uuid(), **(entry.options or {})}
        task = self.app.tasks.get(entry.task)
        if task is not None:
            result = task.apply_async(evaluated(entry.args), evaluated(entry.kwargs), **options)
        else:
            result = sender.send_task(entry.task, evaluated(entry.args), evaluated(entry.kwargs), **options)
        self._count(name, result.id)
        return result

    def _count(self, name: str, task_id: str) -> None:
        """Let the list show the run; the ticks go on as they were."""
        ledger, now = self._ledger(), self.clock()
        for _ in range(10):  # beats write to the same note
            note = ledger.runs.look([name])[0]
            if note is None:
                return  # no beat has seen the entry yet
            run = Run.read(note)
            after = Run(run.tick, now, run.count + 1, task_id, uuid())
            if ledger.publish([Claim(ledger.runs_book, name, note, after.note())])[0] is None:
                return

    # -- parts

    def _ledger(self) -> Ledger:
        ledger = choose(self.app)
        if isinstance(ledger, LocalLedger):
            raise ImproperlyConfigured(
                "Neither the broker nor the result store can keep schedule entries; Redis and SQLite can"
            )
        return ledger

    def _own(self) -> dict[str, Any]:
        """The entries of the code, by name."""
        builder = _Builder(self.app)
        builder.setup_schedule()
        return builder.data

    def _entry(self, name: str) -> tuple[Any, dict[str, bytes], dict[str, Any]]:
        own, notes = self._own(), self._ledger().entries.read()[1]
        entry = own.get(name)
        if name in notes:
            entry = definitions.build(_Builder(self.app), name, entry, definitions.loads(notes[name]))
        if entry is None:
            raise UnknownEntry(name)
        return entry, notes, own

    def _write(self, name: str, fields: Mapping[str, Any]) -> None:
        unknown = set(fields) - {"task", *EDITABLE}
        if unknown:
            raise TypeError(f"an entry has no fields {', '.join(sorted(unknown))}; it has {', '.join(EDITABLE)}")
        note = definitions.dumps(fields)
        # What beats could not read must not be written.
        definitions.build(_Builder(self.app), name, self._own().get(name), definitions.loads(note))
        self._ledger().entries.change({name: note})


class _Builder(Scheduler):
    """Makes entries of settings as beat does; ticks nothing."""

    def __init__(self, app: Celery) -> None:
        super().__init__(app, lazy=True)


def _view(
    entry: ScheduleEntry, note: bytes | None, notes: Mapping[str, bytes], own: Mapping[str, Any], now: float
) -> EntryView:
    run = Run.read(note) if note else None
    zone = entry.app.timezone
    due = None
    if entry.enabled and ticks.is_computed(entry):
        last = run.tick if run is not None else now
        found = ticks.outlook(entry, last, now)
        due = found.send[0] if found.send else found.next
        due = None if due is None else ticks.due(entry, due)
    stored = entry.name in notes
    return EntryView(
        entry.name, entry.task, entry.schedule, list(entry.args or ()), dict(entry.kwargs or {}),
        dict(entry.options or {}), entry.enabled, entry.start, entry.end, entry.missed, entry.jitter,
        source="code" if not stored else "changed" if entry.name in own else "stored",
        last_run_at=None if run is None or run.sent is None else ticks.moment(run.sent).astimezone(zone),
        next_run_at=None if due is None else ticks.moment(due).astimezone(zone),
        total_run_count=run.count if run is not None else 0,
        last_task_id=run.task_id if run is not None else None,
    )  # fmt: skip
