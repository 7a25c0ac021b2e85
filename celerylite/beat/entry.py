"""What beat knows of one periodic task: `ScheduleEntry`, with Celery's fields and our policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import total_ordering
from typing import Any, NamedTuple

from celerylite._state import get_current_app
from celerylite.exceptions import ImproperlyConfigured
from celerylite.schedules import maybe_schedule
from celerylite.utils.time import maybe_iso8601, maybe_make_aware

#: What becomes of the ticks that nobody was there for.
MISSED = ("skip", "once", "all")

#: With `missed="all"`: the most recent so many are made up for.
MISSED_LIMIT = 100


class event_t(NamedTuple):  # noqa: N801 (Celery's name)
    """One place in beat's heap: when to look at the entry again, in seconds since the epoch."""

    time: float
    priority: int
    entry: Any


class SchedulingError(Exception):
    """Beat could not send the task of an entry."""


class BeatLazyFunc:
    """An argument of a periodic task that is worked out each time: `BeatLazyFunc(date.today)`."""

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        return self.delay()

    def delay(self) -> Any:
        """Call the function."""
        return self._func(*self._args, **self._kwargs)


@total_ordering
class ScheduleEntry:
    """A periodic task: which one, when, with what arguments and options, and when it ran last."""

    name: Any = None
    #: The name of the task.
    task: Any = None
    schedule: Any = None
    args: Any = None
    kwargs: Any = None
    #: Options of `apply_async`.
    options: Any = None
    #: The tick it was last sent for; for a new entry, when it was first seen.
    last_run_at: Any = None
    total_run_count: int = 0

    #: False: known, but not sent.
    enabled: bool = True
    #: No ticks before and after these; an interval's first tick is `start` itself.
    start: datetime | None = None
    end: datetime | None = None
    #: What becomes of ticks that nobody was there for: "skip" them, make up for them "once", or send them "all".
    missed: str = "once"
    missed_limit: int = MISSED_LIMIT
    #: Each tick is delayed by up to so many seconds, by an amount that all beats agree on.
    jitter: float = 0.0
    #: Ticks up to this moment (seconds since the epoch) count as done: when the entry was enabled or changed.
    since: float | None = None

    def __init__(
        self,
        name: str | None = None,
        task: str | None = None,
        last_run_at: datetime | None = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Any = (),
        kwargs: Any = None,
        options: Any = None,
        relative: bool = False,
        app: Any = None,
        *,
        enabled: bool = True,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        missed: str = "once",
        missed_limit: int = MISSED_LIMIT,
        jitter: float = 0.0,
        since: float | None = None,
    ) -> None:
        self.app = app or get_current_app()
        self.name = name
        self.task = task
        self.args = args or ()
        self.kwargs = kwargs or {}
        self.options = options or {}
        self.schedule = maybe_schedule(schedule, relative, app=self.app)
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0
        self.enabled = enabled
        self.start, self.end = _moment(start, self.app), _moment(end, self.app)
        self.missed, self.missed_limit, self.jitter = missed, missed_limit, jitter
        self.since = since
        self._check()

    def _check(self) -> None:
        if self.missed not in MISSED:
            raise ImproperlyConfigured(f"{self.name}: missed is {self.missed!r}; it must be one of {', '.join(MISSED)}")
        if self.jitter < 0 or self.missed_limit < 1:
            raise ImproperlyConfigured(f"{self.name}: jitter must not be negative, missed_limit at least 1")

    def default_now(self) -> datetime:
        """The present, by the schedule's clock."""
        return self.schedule.now() if self.schedule else self.app.now()

    _default_now = default_now

    def is_due(self) -> Any:
        """Whether it is time, and in how many seconds to ask again."""
        return self.schedule.is_due(self.last_run_at)

    def _next_instance(self, last_run_at: datetime | None = None) -> ScheduleEntry:
        """The entry as it is after one more run."""
        count = self.total_run_count + 1
        return type(self)(**{**vars(self), "last_run_at": last_run_at or self.default_now(), "total_run_count": count})

    __next__ = next = _next_instance

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def update(self, other: ScheduleEntry) -> None:
        """Take over all that people edit; when it ran stays as it is."""
        self.__dict__.update({name: getattr(other, name) for name in ("task", *EDITABLE) if hasattr(other, name)})

    def editable_fields_equal(self, other: ScheduleEntry) -> bool:
        """Whether the two say the same; when they ran does not count."""
        return all(getattr(self, name, None) == getattr(other, name, None) for name in ("task", *EDITABLE))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScheduleEntry) and self.editable_fields_equal(other)

    def __lt__(self, other: object) -> bool:
        # An order is all that a heap of equal times needs.
        return id(self) < id(other) if isinstance(other, ScheduleEntry) else NotImplemented

    def __reduce__(self) -> Any:
        own = {name: value for name, value in vars(self).items() if name not in ("app", "name")}
        return _rebuilt, (type(self), self.name, own)

    def __repr__(self) -> str:
        named = [f"{key}={value!r}" for key, value in (self.kwargs or {}).items()]
        call = ", ".join([*map(repr, self.args or ()), *named])
        return f"<{type(self).__name__}: {self.name} {self.task}({call}) {self.schedule}"


#: What people edit in an entry, beside its task.
EDITABLE = (
    "schedule", "args", "kwargs", "options", "enabled", "start", "end", "missed", "missed_limit", "jitter", "since",
)  # fmt: skip


def _rebuilt(cls: type[ScheduleEntry], name: str, fields: dict[str, Any]) -> ScheduleEntry:
    """An entry out of a file."""
    return cls(name, **fields)


def _moment(value: datetime | str | None, app: Any) -> datetime | None:
    """A date given as datetime or text; without a zone it is in the app's."""
    return None if value is None else maybe_make_aware(maybe_iso8601(value), app.timezone, naive_as_utc=False)


def evaluated(value: Any) -> Any:
    """Arguments with every `BeatLazyFunc` among them called."""
    if isinstance(value, dict):
        return {key: item() if isinstance(item, BeatLazyFunc) else item for key, item in value.items()}
    return [item() if isinstance(item, BeatLazyFunc) else item for item in value or ()]
