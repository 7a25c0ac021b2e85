"""From times on a wall clock to moments: what becomes of 02:30 when the clocks jump over it, or strike it twice.

- A rule that names hours means the clock on the wall. A time that is jumped over is due as much later as the clocks
  jumped (02:30 at 03:30); a time that comes twice is due the first time. Either way it is due once.
- A rule for every hour means time that passes: nothing is owed for the hour that is missing, and both of the doubled
  hours count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone, tzinfo

UTC = timezone.utc
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)

#: Earlier moments are taken for this one: they stand for "never", and there is no day before the first.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)

#: From a naive time to the first one of the rule that is later, whole seconds only; None: there is none.
Walls = Callable[[datetime], "datetime | None"]


def moment_of(wall: datetime, zone: tzinfo, fold: int = 0) -> datetime:
    """The moment in UTC at which the clocks of `zone` show `wall` (for the second time, with `fold=1`)."""
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def next_moment(walls: Walls, moment: datetime, zone: tzinfo, every_hour: bool) -> datetime | None:
    """The first moment strictly after `moment` that the rule `walls` means in `zone`, in UTC."""
    moment = max(moment, EARLIEST)
    if zone is UTC:
        due = walls(moment.astimezone(UTC).replace(tzinfo=None))
        return None if due is None else due.replace(tzinfo=UTC)
    candidates = _passing_time(walls, moment, zone) if every_hour else _wall_clock(walls, moment, zone)
    return min(candidates, default=None)


def _wall_clock(walls: Walls, moment: datetime, zone: tzinfo) -> Iterator[datetime]:
    local = moment.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    start = wall
    if local.fold:
        # All that is shown a second time has been due the first time.
        start = _changed_span(wall, zone)[1] - SECOND
    else:
        skipped = wall - _jump_before(local)
        if _is_changed(skipped, zone):
            # The clocks have just jumped, and what they jumped over may still be owed.
            start = skipped
    due = walls(start)
    if due is not None and _is_missing(due, zone):
        yield moment_of(due, zone)
        # It is owed for later than some times that do exist after the jump.
        start = max(_changed_span(due, zone)[1] - SECOND, wall)
        due = walls(start)
    elif start < wall:
        due = walls(wall)
    if due is not None:
        yield moment_of(due, zone)


def _passing_time(walls: Walls, moment: datetime, zone: tzinfo) -> Iterator[datetime]:
    local = moment.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    due = walls(wall)
    if not local.fold and _is_changed(wall, zone):
        earliest, latest = _changed_span(wall, zone)
        again = walls(earliest - SECOND)
        if again is not None and again < latest:
            yield moment_of(again, zone, fold=1)
    if due is not None and _is_missing(due, zone):
        due = walls(_changed_span(due, zone)[1] - SECOND)
    if due is not None:
        yield moment_of(due, zone, fold=local.fold)


def _jump_before(local: datetime) -> timedelta:
    """By how much the clocks were put forward within the last day."""
    moment, zone = local.astimezone(UTC), local.tzinfo
    assert zone is not None
    return max(_offset(moment, zone) - _offset(moment - DAY, zone), timedelta())


def _is_changed(wall: datetime, zone: tzinfo) -> bool:
    """Whether the clocks show this time twice, or never."""
    return wall.replace(tzinfo=zone, fold=0).utcoffset() != wall.replace(tzinfo=zone, fold=1).utcoffset()


def _is_missing(wall: datetime, zone: tzinfo) -> bool:
    """Whether the clocks never show this time."""
    return moment_of(wall, zone, 0) > moment_of(wall, zone, 1)


def _changed_span(wall: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """From which time on, and before which, the clocks show what `wall` is an example of: times twice, or never."""
    before, after = sorted(moment_of(wall, zone, fold).replace(microsecond=0) for fold in (0, 1))
    old = _offset(before, zone)
    # The change lies after `before` and not after `after`, as a rule an hour apart: halved down to the second.
    while after - before > SECOND:
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if _offset(middle, zone) == old:
            before = middle
        else:
            after = middle
    shown = (after.replace(tzinfo=None) + offset for offset in sorted((old, _offset(after, zone))))
    earliest, latest = shown
    return earliest, latest


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
