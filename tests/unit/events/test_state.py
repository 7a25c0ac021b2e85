"""`State`: bounded in memory, in order, and it can be pickled. The comparison with Celery's is in tests/compat."""

from __future__ import annotations

import gc
import pickle
import time
from typing import Any

import pytest

from celerylite.events.state import State, Task, Worker, heartbeat_expires


def event(kind: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    now = 1000.0 + number
    return {"type": kind, "timestamp": now, "local_received": now, "clock": number, "hostname": "w@h", **fields}


def test_no_more_tasks_and_workers_are_kept_than_was_said() -> None:
    state = State(max_tasks_in_memory=10, max_workers_in_memory=3)
    for number in range(200):
        state.event(event("task-sent", number, uuid=str(number), name=f"n{number}", hostname=f"client{number}"))
        state.event(event("task-received", number, uuid=str(number), name=f"n{number}", hostname=f"w{number % 7}"))
    assert list(state.tasks) == [str(number) for number in range(190, 200)]
    assert len(state.workers) == 3
    assert len(state._taskheap) <= 10 * state.heap_multiplier
    # what was forgotten is in no index any more, and nothing else holds it
    assert len(state.tasks_by_type) == 10
    assert len(state.tasks_by_worker) <= 10 + 7
    assert [uuid for uuid, _ in state.tasks_by_time(limit=2)] == ["199", "198"]


def test_a_forgotten_task_is_freed_at_once() -> None:
    state = State(max_tasks_in_memory=2)
    gc.disable()
    try:
        for number in range(50):
            state.event(event("task-received", number, uuid=str(number), name="n", parent_id="0", root_id="0"))
        alive = sum(type(found) is Task and found.cluster_state is state for found in gc.get_objects())
    finally:
        gc.enable()
    assert alive == 2


def test_a_smaller_limit_takes_effect() -> None:
    """As Flower sets it after it has read a state from its file."""
    state = State()
    for number in range(20):
        state.event(event("task-received", number, uuid=str(number), name="n"))
    state.max_tasks_in_memory = state.tasks.limit = 5
    state.tasks.update()
    assert list(state.tasks) == ["15", "16", "17", "18", "19"]


def test_a_pickled_state_is_the_same() -> None:
    state = State()
    state.event(event("worker-online", 1, freq=2.0, pid=7))
    state.event(event("task-received", 2, uuid="p", name="n", root_id="p"))
    state.event(event("task-received", 3, uuid="c", name="m", root_id="p", parent_id="p"))
    back: State = pickle.loads(pickle.dumps(state))
    assert list(back.tasks) == ["p", "c"]
    assert back.tasks["c"].parent is back.tasks["p"]
    assert list(back.tasks["p"].children) == [back.tasks["c"]]
    assert back.workers["w@h"].pid == 7
    assert [uuid for uuid, _ in back.tasks_by_time()] == ["c", "p"]
    assert {task.uuid for task in back.tasks_by_type["m"]} == {"c"}


def test_a_child_that_is_heard_of_first_finds_its_parent() -> None:
    state = State()
    state.event(event("task-received", 1, uuid="c", name="n", root_id="p", parent_id="p"))
    assert state.tasks["c"].parent is None
    state.event(event("task-sent", 2, uuid="p", name="n", root_id="p"))
    assert state.tasks["c"].parent is state.tasks["p"]
    assert list(state.tasks["p"].children) == [state.tasks["c"]]


def test_a_worker_lives_as_long_as_its_heartbeats_come() -> None:
    worker = Worker("w@h", freq=2.0)
    assert not worker.alive
    worker.event("heartbeat", time.time(), time.time(), {"active": 1})
    assert worker.alive and worker.status_string == "ONLINE" and worker.active == 1
    assert worker.heartbeat_expires == heartbeat_expires(worker.heartbeats[-1], 2.0) == worker.heartbeats[-1] + 4.0
    worker.event("offline", time.time(), time.time(), {})
    assert not worker.alive


def test_fields_cannot_take_the_place_of_methods() -> None:
    state = State()
    state.event(event("task-received", 1, uuid="a", name="n", event="no", ready="no", as_dict=1, cluster_state=2))
    (task, _), _ = state.event(event("task-started", 2, uuid="a"))
    assert task.state == "STARTED" and task.as_dict()["name"] == "n" and task.cluster_state is state


def test_a_handler_of_another_group() -> None:
    state = State()
    state.handlers["disk"] = lambda subject, found: (subject, found["free"])
    assert state.event({"type": "disk-full", "free": 0}) == ("full", 0)
    assert state.event({"type": "door-open"}) is None


def test_freeze_while_clears_afterwards() -> None:
    state = State()
    state.event(event("task-succeeded", 1, uuid="a"))
    assert state.freeze_while(lambda: len(state.tasks), clear_after=True) == 1
    assert not state.tasks and state.event_count == 0


def test_an_event_that_lacks_its_task_raises() -> None:
    with pytest.raises(KeyError, match="uuid"):
        State().event(event("task-received"))
