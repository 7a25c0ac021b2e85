"""`State` is a picture of the cluster, painted by its events: which workers live, which tasks there are, and how they
are. It is bounded: workers and tasks that were not heard of for longest are forgotten.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from weakref import WeakSet, ref

from kombu.clocks import timetuple

from celerylite import states
from celerylite.events import nodes
from celerylite.events.nodes import (
    HEARTBEAT_DRIFT_MAX,
    HEARTBEAT_EXPIRE_WINDOW,
    TASK_EVENT_TO_STATE,
    Task,
    Worker,
    _depickle_task,
    heartbeat_expires,
)
from celerylite.utils.functional import LRUCache

__all__ = ("State", "Task", "Worker", "heartbeat_expires")

# So that they are found, and pickled, by Celery's names.
for _public in (Task, Worker, _depickle_task, heartbeat_expires):
    _public.__module__ = __name__

_ = (HEARTBEAT_DRIFT_MAX, HEARTBEAT_EXPIRE_WINDOW, TASK_EVENT_TO_STATE)


class Index(defaultdict):
    """Sets of tasks by type or worker; called with a key, its tasks in the order of time."""

    def __init__(self, ordered: Callable[..., Iterator[tuple[str, Task]]]) -> None:
        super().__init__(WeakSet)
        self._ordered = ordered

    def __call__(self, key: str, limit: int | None = None, reverse: bool = True) -> Iterator[tuple[str, Task]]:
        return self._ordered(key, limit, reverse)

    def drop(self, key: str | None, task: Task) -> None:
        """The task is forgotten, and its key with the last one."""
        if key in self:
            self[key].discard(task)
            if not self[key]:
                del self[key]


class _Tasks(LRUCache):
    """Tasks by their ids; `forget` is told of each that has to go."""

    def __init__(self, limit: int | None, forget: Callable[[Task], None]) -> None:
        super().__init__(limit)
        self._forget = forget

    def popitem(self, last: bool = True) -> tuple[str, Task]:
        """Take one out."""
        uuid, task = super().popitem(last)
        self._forget(task)
        return uuid, task


class State:
    """What is known of a cluster.

    Give `event` to an event receiver as a handler. `callback` is called with the state and each event,
    `on_node_join` and `on_node_leave` with a worker. At most `max_workers_in_memory` and `max_tasks_in_memory` are
    remembered. Any thread may call.
    """

    Worker: Any = Worker
    Task: Any = Task
    event_count = 0
    task_count = 0
    #: Entries that are kept in the order of time, for each task.
    heap_multiplier = 4

    def __init__(
        self,
        callback: Callable[[State, dict[str, Any]], Any] | None = None,
        workers: Mapping[str, nodes.Worker] | None = None,
        tasks: Mapping[str, nodes.Task] | None = None,
        taskheap: list[Any] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10000,
        on_node_join: Callable[[nodes.Worker], Any] | None = None,
        on_node_leave: Callable[[nodes.Worker], Any] | None = None,
        tasks_by_type: Mapping[str, Iterable[Any]] | None = None,
        tasks_by_worker: Mapping[str, Iterable[Any]] | None = None,
    ) -> None:
        self.event_callback = callback
        self.max_workers_in_memory, self.max_tasks_in_memory = max_workers_in_memory, max_tasks_in_memory
        self.on_node_join, self.on_node_leave = on_node_join, on_node_leave
        self._mutex = threading.RLock()
        #: Further groups of events, for subclasses: functions of (type without the group, event).
        self.handlers: dict[str, Callable[[str, dict[str, Any]], Any]] = {}
        self.workers: Any = LRUCache(max_workers_in_memory)
        self.tasks: Any = _Tasks(max_tasks_in_memory, self._forget)
        self.tasks_by_type = Index(self._tasks_by_type)
        self.tasks_by_worker = Index(self._tasks_by_worker)
        self._seen_types: set[str] = set()
        #: Tasks whose parent was not heard of yet, by the parent's id.
        self._orphans: LRUCache = LRUCache(max_tasks_in_memory)
        self._taskheap: list[Any] = [] if taskheap is None else taskheap
        self._adopt(workers or {}, tasks or {})
        self._fill(self.tasks_by_type, tasks_by_type or {})
        self._fill(self.tasks_by_worker, tasks_by_worker or {})
        self._seen_types.update(self.tasks_by_type)
        if taskheap is None:
            self.rebuild_taskheap()

    def _adopt(self, workers: Mapping[str, nodes.Worker], tasks: Mapping[str, nodes.Task]) -> None:
        """Take over what another state knew."""
        for hostname, worker in workers.items():
            self.workers[hostname] = worker
        for uuid, task in tasks.items():
            task.cluster_state = self
            self.tasks[uuid] = task
        for task in tasks.values():
            for child_id in task.__dict__.pop("_child_ids", ()):
                if child_id in self.tasks:
                    task.children.add(self.tasks[child_id])

    def _fill(self, index: Index, found: Mapping[str, Iterable[Any]]) -> None:
        for key, tasks in found.items():
            for task in tasks:
                task = self.tasks.get(task) if isinstance(task, str) else task
                if task is not None:
                    index[key].add(task)

    # -- events

    def event(self, event: dict[str, Any]) -> Any:
        """Take an event in.

        Returns ((task or worker, whether it is new), type without the group), or what the handler of another group
        returns. KeyError for an event that lacks what it needs.
        """
        with self._mutex:
            self.event_count += 1
            if self.event_callback:
                self.event_callback(self, event)
            group, _, subject = event["type"].partition("-")
            if group == "task":
                return self._task_event(subject, event)
            if group == "worker":
                return self._worker_event(subject, event)
            handler = self.handlers.get(group)
            return handler(subject, event) if handler else None

    def _worker_event(self, subject: str, event: dict[str, Any]) -> Any:
        hostname, timestamp, received = event["hostname"], event["timestamp"], event["local_received"]
        worker = self.workers.get(hostname)
        created = worker is None and subject != "offline"
        worker = self.Worker(hostname) if worker is None else worker
        if created or hostname in self.workers:  # nothing is kept of one that is first heard of when it leaves
            self.workers[hostname] = worker
        worker.event(subject, timestamp, received, event)
        if subject == "offline":
            # One that has left stays to be seen, unless somebody does the accounts of who is there.
            if self.on_node_leave:
                self.workers.pop(hostname, None)
                self.on_node_leave(worker)
        elif self.on_node_join and (created or subject == "online"):
            self.on_node_join(worker)
        return (worker, created), subject

    def _task_event(self, subject: str, event: dict[str, Any]) -> Any:
        uuid, hostname = event["uuid"], event["hostname"]
        timestamp, received = event["timestamp"], event["local_received"]
        task, created = self.get_or_create_task(uuid)
        if subject == "sent":
            origin = task.client = hostname
        else:
            worker, _ = self.get_or_create_worker(hostname)
            worker.event(None, timestamp, received)
            if task.worker is not None and task.worker is not worker:
                self.tasks_by_worker.drop(task.worker.hostname, task)
            task.worker, origin = worker, worker.id
        self._note(task, event.get("clock") or 0, timestamp, origin)
        if subject == "received":
            self.task_count += 1
        before = task.name, task.parent_id
        task.event(subject, timestamp, received, event)
        if task.name is not None:
            if before[0] not in (None, task.name):
                self.tasks_by_type.drop(before[0], task)
            self._seen_types.add(task.name)
            self.tasks_by_type[task.name].add(task)
        self.tasks_by_worker[hostname].add(task)
        self._link(task, created, before[1])
        return (task, created), subject

    def _link(self, task: nodes.Task, created: bool, known_parent: str | None) -> None:
        """Bring a task together with its parent and its children."""
        if created:
            task.children.update(self._orphans.pop(task.uuid, ()))
        parent_id = task.parent_id
        if not parent_id or parent_id == known_parent:
            return
        if parent_id in self.tasks:
            self.tasks[parent_id].children.add(task)
            return
        if parent_id not in self._orphans:
            self._orphans[parent_id] = WeakSet()
        self._orphans[parent_id].add(task)

    def task_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """Take an event of the group `task` in; `event` does it too."""
        return self.event({**fields, "type": f"task-{type_}"})[0]

    def worker_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """Take an event of the group `worker` in; `event` does it too."""
        return self.event({**fields, "type": f"worker-{type_}"})[0]

    def get_or_create_worker(self, hostname: str, **kwargs: Any) -> tuple[nodes.Worker, bool]:
        """The worker of this name, with these fields, and whether it is new."""
        worker = self.workers.get(hostname)
        created = worker is None
        if created:
            worker = self.Worker(hostname, **kwargs)
        elif kwargs:
            worker.update(kwargs)
        self.workers[hostname] = worker
        return worker, created

    def get_or_create_task(self, uuid: str) -> tuple[nodes.Task, bool]:
        """The task of this id, and whether it is new."""
        try:
            return self.tasks[uuid], False
        except KeyError:
            task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
            return task, True

    # -- the order of time

    def _note(self, task: nodes.Task, clock: int, timestamp: float, origin: str | None) -> None:
        heap, entry = self._taskheap, timetuple(clock, timestamp, origin or "", ref(task))
        if heap and entry < heap[-1]:
            insort(heap, entry)
        else:
            heap.append(entry)
        if len(heap) > max(1, self.max_tasks_in_memory) * self.heap_multiplier:
            del heap[: max(1, len(heap) // 8)]  # the oldest; some at a time, because each time moves all others

    def rebuild_taskheap(self, timetuple: Any = timetuple) -> None:
        """Put all tasks in the order of their last events."""
        self._taskheap[:] = sorted(
            timetuple(task.clock or 0, task.timestamp or 0, task.origin, ref(task)) for task in self.tasks.values()
        )

    def tasks_by_time(self, limit: int | None = None, reverse: bool = True) -> Iterator[tuple[str, nodes.Task]]:
        """(id, task) in the order of time, the newest first; not `reverse`: the oldest first."""
        entries = list(self._taskheap)
        return islice(self._each_once(reversed(entries) if reverse else entries), limit)

    tasks_by_timestamp = tasks_by_time

    def _each_once(self, entries: Iterable[Any]) -> Iterator[tuple[str, nodes.Task]]:
        seen: set[str] = set()
        for entry in entries:
            task = entry[3]()
            if task is not None and task.uuid not in seen and task.uuid in self.tasks:
                seen.add(task.uuid)
                yield task.uuid, task

    def _tasks_by_type(
        self, name: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, nodes.Task]]:
        found = (entry for entry in self.tasks_by_time(reverse=reverse) if entry[1].name == name)
        return islice(found, 0, limit)

    def _tasks_by_worker(
        self, hostname: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, nodes.Task]]:
        found = (
            entry for entry in self.tasks_by_time(reverse=reverse)
            if entry[1].worker is not None and entry[1].worker.hostname == hostname
        )  # fmt: skip
        return islice(found, 0, limit)

    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, nodes.Task]]:
        """(id, task), in no order that means anything."""
        return islice(list(self.tasks.items()), limit)

    def task_types(self) -> list[str]:
        """The names of all tasks that were ever heard of."""
        return sorted(self._seen_types)

    def alive_workers(self) -> list[nodes.Worker]:
        """The workers that live, as far as can be told."""
        return [worker for worker in list(self.workers.values()) if worker.alive]

    # -- forgetting

    def _forget(self, task: nodes.Task) -> None:
        self.tasks_by_type.drop(task.name, task)
        for hostname in {task.client, task.worker.hostname if task.worker is not None else None}:
            self.tasks_by_worker.drop(hostname, task)

    def freeze_while(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function while no event is taken in; with `clear_after`, `clear` comes behind it."""
        clear_after = kwargs.pop("clear_after", False)
        with self._mutex:
            try:
                return fun(*args, **kwargs)
            finally:
                if clear_after:
                    self.clear()

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget the tasks that have ended; not `ready`: all of them."""
        with self._mutex:
            for uuid, task in list(self.tasks.items()):
                if not ready or task.state in states.READY_STATES:
                    del self.tasks[uuid]
                    self._forget(task)
            self._taskheap[:] = [
                entry for entry in self._taskheap if (task := entry[3]()) is not None and task.uuid in self.tasks
            ]

    def clear(self, ready: bool = True) -> None:
        """Forget the tasks that have ended (not `ready`: all), the workers, and the counts."""
        with self._mutex:
            self.workers.clear()
            self.clear_tasks(ready)
            self.event_count = self.task_count = 0

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"

    def __reduce__(self) -> Any:
        with self._mutex:
            by_type, by_worker = (
                {key: [task.id for task in tasks] for key, tasks in index.items()}
                for index in (self.tasks_by_type, self.tasks_by_worker)
            )
            return type(self), (
                self.event_callback, dict(self.workers), dict(self.tasks), None, self.max_workers_in_memory,
                self.max_tasks_in_memory, self.on_node_join, self.on_node_leave, by_type, by_worker,
            )  # fmt: skip
