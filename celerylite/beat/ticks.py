"""Which ticks of an entry have come, which of them are sent, and when the next one comes.

Nothing here reads a clock or keeps a state: all beats that know the same last tick come to the same answer. Times are
seconds since the epoch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from hashlib import sha1
from typing import TYPE_CHECKING, NamedTuple
from uuid import NAMESPACE_OID, uuid5

from celerylite import schedules
from celerylite.schedules.crontabs import CalendarSchedule

if TYPE_CHECKING:
    from celerylite.beat.entry import ScheduleEntry

#: With `missed="skip"`, a tick that is later than so many seconds was missed.
MISSED_AFTER = 10.0

#: Most steps through a schedule with `missed="all"` (a task for each second of a day).
STEPS = 100_000

UTC = timezone.utc


class Outlook(NamedTuple):
    """What is to be done about an entry."""

    #: The ticks to send now, the oldest first.
    send: list[float]
    #: The last tick that has come, sent or not; None where none has.
    passed: float | None
    #: The next one to come; None if there is none any more.
    next: float | None


def outlook(entry: ScheduleEntry, last: float, now: float, deadline: float | None = None) -> Outlook:
    """What is to be done at `now` about an entry whose ticks up to `last` are done.

    `deadline` is `beat_cron_starting_deadline`.
    """
    first = _first(entry, last)
    if first is None or due(entry, first) > now:
        return Outlook([], None, first)
    latest, upcoming = _latest(entry, first, now)
    if entry.missed == "all":
        came = _recent(entry, first, latest)
    else:
        came = [latest]
    return Outlook([tick for tick in came if not _too_late(entry, tick, now, deadline)], latest, upcoming)


def upcoming(entry: ScheduleEntry, last: float, now: float) -> Iterator[float]:
    """The ticks after `now`, one by one, as they will be due."""
    tick = outlook(entry, last, now).next
    while tick is not None:
        yield due(entry, tick)
        tick = _after(entry, tick)


def due(entry: ScheduleEntry, tick: float) -> float:
    """When a tick is sent: a part of the jitter later, the same in every beat."""
    if not entry.jitter:
        return tick
    digest = sha1(f"{entry.name}\0{tick:.6f}".encode()).digest()
    return tick + entry.jitter * int.from_bytes(digest[:8], "big") / 2**64


def task_id(app: str, entry: str, tick: float, number: int = 0) -> str:
    """The id of the task that a tick sends: whoever sends it, it is the same."""
    return str(uuid5(NAMESPACE_OID, f"celerylite beat\0{app}\0{entry}\0{tick:.6f}\0{number}"))


def is_computed(entry: ScheduleEntry) -> bool:
    """Whether the schedule is one of ours, which tell their next tick; others are only asked whether they are due."""
    kind = type(entry.schedule)
    own = schedules.__name__ + "."
    functions = (getattr(kind, "next_after", None), kind.is_due, kind.remaining_estimate)
    if getattr(functions[0], "__qualname__", "").startswith("BaseSchedule."):
        return False
    return all((getattr(function, "__module__", None) or "").startswith(own) for function in functions)


def moment(seconds: float) -> datetime:
    """Seconds since the epoch as a date."""
    return datetime.fromtimestamp(seconds, UTC)


def _after(entry: ScheduleEntry, last: float) -> float | None:
    """The first tick after `last`, within `start` and `end`."""
    every = interval(entry)
    if every is not None:
        tick: float | None = round(last + every, 6)
    else:
        tick = _seconds(entry.schedule.next_after(moment(last)))
    start = entry.start.timestamp() if entry.start is not None else None
    if start is not None and (tick is None or tick < start):
        just_before = moment(start) - timedelta(microseconds=1)
        tick = start if every is not None else _seconds(entry.schedule.next_after(just_before))
    if tick is not None and tick <= last:
        tick = last + 0.001  # an interval of nothing: as often as beat can, but it must get ahead
    if tick is None or (entry.end is not None and tick > entry.end.timestamp()):
        return None
    return tick


def _first(entry: ScheduleEntry, last: float) -> float | None:
    """The first tick that is not done, which ticks from before the entry was enabled are."""
    tick = _after(entry, last)
    if tick is None or entry.since is None or tick > entry.since:
        return tick
    return _latest(entry, tick, entry.since, jittered=False)[1]


def _latest(entry: ScheduleEntry, first: float, now: float, *, jittered: bool = True) -> tuple[float, float | None]:
    """The last tick from `first` on that has come by `now`, and the one after it."""
    at = due if jittered else _unchanged
    latest, following = first, _after(entry, first)
    if following is None or at(entry, following) > now:
        return latest, following
    surely = now - (entry.jitter if jittered else 0.0)
    if entry.end is not None:
        surely = min(surely, entry.end.timestamp())
    latest = max(latest, _near(entry, following, surely, following - first))
    following = _after(entry, latest)
    while following is not None and at(entry, following) <= now:
        latest, following = following, _after(entry, following)
    return latest, following


def _near(entry: ScheduleEntry, first: float, now: float, gap: float) -> float:
    """A tick from `first` on, not after `now` if `first` is not, with few others up to `now`."""
    every = interval(entry)
    if every is not None:
        return round(first + max(0, int((now - first) / every)) * every, 6) if every else first
    back = max(gap, 1.0)
    while now - back > first:
        tick = _after(entry, now - back)
        if tick is not None and tick <= now:
            return tick
        back *= 2
    return first


def _recent(entry: ScheduleEntry, first: float, latest: float) -> list[float]:
    """The ticks from `first` to `latest`, the most recent `missed_limit` of them."""
    every = interval(entry)
    if every:
        first = max(first, round(latest - (entry.missed_limit - 1) * every, 6))
    found: deque[float] = deque(maxlen=entry.missed_limit)
    tick: float | None = first
    for _ in range(STEPS):
        if tick is None or tick > latest - 1e-6:
            break
        found.append(tick)
        tick = _after(entry, tick)
    found.append(latest)
    return list(found)


def _too_late(entry: ScheduleEntry, tick: float, now: float, deadline: float | None) -> bool:
    late = now - due(entry, tick)
    if entry.missed == "skip" and late > MISSED_AFTER:
        return True
    return deadline is not None and late > deadline and isinstance(entry.schedule, CalendarSchedule)


def interval(entry: ScheduleEntry) -> float | None:
    """The seconds between two ticks where that is all there is to know."""
    schedule = entry.schedule
    if type(schedule) is schedules.schedule and not schedule.relative:
        return schedule.seconds
    return None


def _unchanged(entry: ScheduleEntry, tick: float) -> float:
    return tick


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
