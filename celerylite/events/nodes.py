"""What `State` remembers of one worker, and of one task."""

from __future__ import annotations

import logging
import time
from bisect import insort
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from celerylite import states

if TYPE_CHECKING:
    from celerylite.events.state import State

logger = logging.getLogger("celery.events.state")

#: Percent of the time between two heartbeats after which a worker counts as gone.
HEARTBEAT_EXPIRE_WINDOW = 200
#: Seconds that an event may differ from our clock without a word of warning.
HEARTBEAT_DRIFT_MAX = 16

DRIFT_WARNING = "Substantial drift from %s may mean clocks are out of sync: it is %s seconds. [orig: %s recv: %s]"

#: The state that a task is in after an event; other types name theirs (`task-progress`: PROGRESS).
TASK_EVENT_TO_STATE = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "succeeded": states.SUCCESS,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
}


def heartbeat_expires(
    timestamp: float, freq: float = 60, expire_window: float = HEARTBEAT_EXPIRE_WINDOW, **_: Any
) -> float:
    """When a worker counts as gone whose last heartbeat came at `timestamp`, and which sends one every `freq` s."""
    return float(timestamp) + float(freq or 60) * (float(expire_window) / 100.0)


@lru_cache(1000)
def _warn_of_drift(hostname: str | None, drift: int, received: str, sent: str) -> None:
    logger.warning(DRIFT_WARNING, hostname, drift, sent, received, extra={"action": "clock_drift"})


class Worker:
    """A worker: what its last heartbeat said, and when the last ones came."""

    heartbeat_max = 4
    expire_window = HEARTBEAT_EXPIRE_WINDOW

    _fields = (
        "hostname", "pid", "freq", "heartbeats", "clock", "active", "processed", "loadavg", "sw_ident", "sw_ver",
        "sw_sys",
    )  # fmt: skip
    __slots__ = (*_fields, "__dict__", "__weakref__")
    _updated = frozenset(_fields) - {"hostname", "heartbeats"}

    def __init__(
        self,
        hostname: str | None = None,
        pid: int | None = None,
        freq: float = 60,
        heartbeats: list[float] | None = None,
        clock: int = 0,
        active: int | None = None,
        processed: int | None = None,
        loadavg: Any = None,
        sw_ident: str | None = None,
        sw_ver: str | None = None,
        sw_sys: str | None = None,
    ) -> None:
        self.hostname, self.pid, self.freq, self.clock = hostname, pid, freq, clock
        #: When the last heartbeats came, by our clock.
        self.heartbeats: list[float] = [] if heartbeats is None else heartbeats
        self.active, self.processed, self.loadavg = active, processed, loadavg
        self.sw_ident, self.sw_ver, self.sw_sys = sw_ident, sw_ver, sw_sys

    def event(
        self,
        type_: str | None,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Take an event in; one without a type is a sign of life."""
        for name, value in (fields or {}).items():
            if name in self._updated:
                setattr(self, name, value)
        if type_ == "offline":
            self.heartbeats.clear()
            return
        if not timestamp or not local_received:
            return
        drift = round(abs(float(local_received) - float(timestamp)))
        if drift > HEARTBEAT_DRIFT_MAX:
            _warn_of_drift(self.hostname, drift, _clock_time(local_received), _clock_time(timestamp))
        beats = self.heartbeats
        if len(beats) < self.heartbeat_max or local_received >= beats[0]:
            insort(beats, local_received)
            del beats[: -self.heartbeat_max]

    def update(self, f: dict[str, Any], **kw: Any) -> None:
        """Set these attributes."""
        for name, value in {**f, **kw}.items():
            setattr(self, name, value)

    @property
    def heartbeat_expires(self) -> float:
        """When it counts as gone, if nothing is heard of it until then; IndexError where nothing ever was."""
        return heartbeat_expires(self.heartbeats[-1], self.freq, self.expire_window)

    @property
    def alive(self) -> bool:
        """Whether a heartbeat has come in time."""
        return bool(self.heartbeats) and time.time() < self.heartbeat_expires

    @property
    def status_string(self) -> str:
        """ONLINE or OFFLINE."""
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def id(self) -> str:
        """Host name and process."""
        return f"{self.hostname}.{self.pid}"

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, name) for name in self._fields)

    def __eq__(self, other: object) -> bool:
        return self.hostname == other.hostname if isinstance(other, Worker) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string} clock:{self.clock})"


def _clock_time(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))


class Task:
    """A task: every field that an event about it has brought is an attribute. Times are None until they happen."""

    name = None
    received = sent = started = succeeded = failed = retried = revoked = rejected = None
    args = kwargs = eta = expires = retries = None
    worker: Worker | None = None
    result = exception = timestamp = runtime = traceback = None
    exchange = routing_key = None
    root_id: str | None = None
    parent_id: str | None = None
    client: str | None = None
    state: str = states.PENDING
    clock: int | None = 0

    _fields = (
        "uuid", "name", "state", "received", "sent", "started", "rejected", "succeeded", "failed", "retried",
        "revoked", "args", "kwargs", "eta", "expires", "retries", "worker", "result", "exception", "timestamp",
        "runtime", "traceback", "exchange", "routing_key", "clock", "client", "root", "root_id", "parent",
        "parent_id", "children",
    )  # fmt: skip
    _info_fields = (
        "args", "kwargs", "retries", "result", "eta", "runtime", "expires", "exception", "exchange", "routing_key",
        "root_id", "parent_id",
    )  # fmt: skip
    __slots__ = ("__dict__", "__weakref__")

    #: Fields that are of use even if the event comes after later ones.
    merge_rules = {
        states.RECEIVED: ("name", "args", "kwargs", "parent_id", "root_id", "retries", "eta", "expires"),
    }

    def __init__(
        self, uuid: str | None = None, cluster_state: State | None = None, children: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        self.uuid = uuid
        self.cluster_state = cluster_state
        known = cluster_state.tasks if cluster_state is not None else {}
        found = (known.get(child) if isinstance(child, str) else child for child in children or ())
        #: The tasks that it has called, as long as the state remembers them.
        self.children: WeakSet[Task] = WeakSet(child for child in found if child is not None)
        self._take(kwargs)

    def _take(self, fields: dict[str, Any]) -> None:
        # Not by `setattr`: a field named like a method must not take its place.
        self.__dict__.update((name, value) for name, value in fields.items() if name not in _METHODS)

    def event(
        self,
        type_: str,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Take an event in. One that comes late (by its state) does not turn the state back."""
        fields = fields or {}
        state = TASK_EVENT_TO_STATE.get(type_) or type_.upper()
        if type_ in TASK_EVENT_TO_STATE:
            self.__dict__[type_] = timestamp
        late = (
            state != states.RETRY
            and self.state != states.RETRY
            and states.precedence(state) > states.precedence(self.state)
        )
        if late:
            wanted = self.merge_rules.get(state, fields)
            self._take({name: fields.get(name) for name in wanted})
        else:
            self._take({**fields, "state": state, "timestamp": timestamp})

    def info(self, fields: Iterable[str] | None = None, extra: Iterable[str] = ()) -> dict[str, Any]:
        """What is known of these fields (the usual ones by default, and `extra`); what is None is left out."""
        names = (*(self._info_fields if fields is None else fields), *(extra or ()))
        found = ((name, getattr(self, name, None)) for name in names)
        return {name: value for name, value in found if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """All fields; other tasks by their ids."""
        found = {name: getattr(self, name, None) for name in self._fields if name not in ("root", "parent")}
        found["children"] = [child.id for child in self.children]
        found["root"], found["parent"] = self.root_id, self.parent_id
        return {name: found[name] for name in self._fields}

    @property
    def id(self) -> str | None:
        """Its id (`uuid`)."""
        return self.uuid

    @property
    def origin(self) -> str | None:
        """Who told of it first: the client, or else the worker."""
        return self.client if self.worker is None else self.worker.id

    @property
    def ready(self) -> bool:
        """Whether it has ended."""
        return self.state in states.READY_STATES

    @property
    def parent(self) -> Task | None:
        """The task that has called it, if the state remembers it."""
        return self._known(self.parent_id)

    @property
    def root(self) -> Task | None:
        """The first task of its workflow, if the state remembers it."""
        return self._known(self.root_id)

    def _known(self, uuid: str | None) -> Task | None:
        return self.cluster_state.tasks.get(uuid) if uuid and self.cluster_state is not None else None

    def __reduce__(self) -> Any:
        return _depickle_task, (type(self), self.as_dict())

    def __eq__(self, other: object) -> bool:
        return self.uuid == other.uuid if isinstance(other, Task) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state} clock:{self.clock}>"


_METHODS = frozenset(
    name for name, value in vars(Task).items() if callable(value) or isinstance(value, property)
) | {"cluster_state", "children", "_fields", "merge_rules"}  # fmt: skip


def _depickle_task(cls: type[Task], fields: dict[str, Any]) -> Task:
    """A task as it was pickled; its children are ids until its state is back (`State._adopt`)."""
    fields = {name: value for name, value in fields.items() if name not in ("root", "parent")}
    children = fields.pop("children", None) or ()
    task = cls(**fields)
    task.__dict__["_child_ids"] = tuple(children)
    return task
