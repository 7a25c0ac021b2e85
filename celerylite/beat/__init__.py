"""Beat: sends the tasks of a schedule when their time has come.

`schedules` says when that is, `ticks` which ticks that makes for an entry, `ledger` who sends them.
"""

from __future__ import annotations

from celerylite.beat.entries import Entries, EntryView, UnknownEntry
from celerylite.beat.entry import BeatLazyFunc, ScheduleEntry, SchedulingError, event_t
from celerylite.beat.pidbox import NODENAME_DEFAULT, BeatPidbox, beat_nodename
from celerylite.beat.scheduler import DEFAULT_MAX_INTERVAL, Scheduler
from celerylite.beat.service import EmbeddedService, Service
from celerylite.beat.shared import SharedScheduler
from celerylite.beat.store import PersistentScheduler

__all__ = (
    "DEFAULT_MAX_INTERVAL",
    "NODENAME_DEFAULT",
    "BeatLazyFunc",
    "BeatPidbox",
    "EmbeddedService",
    "Entries",
    "EntryView",
    "PersistentScheduler",
    "ScheduleEntry",
    "Scheduler",
    "SchedulingError",
    "Service",
    "SharedScheduler",
    "UnknownEntry",
    "beat_nodename",
    "event_t",
)

# Files, settings and banners name them as Celery's are named.
for _public in (BeatLazyFunc, PersistentScheduler, ScheduleEntry, Scheduler, SchedulingError, Service, event_t):
    _public.__module__ = __name__
