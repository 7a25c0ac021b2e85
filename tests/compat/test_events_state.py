"""`State` beside Celery's own: the same events, in order and out of order, give the same picture."""

from __future__ import annotations

import random
from typing import Any

import celery.events.state as theirs
import pytest

import celerylite.events.state as ours

KINDS = ("sent", "received", "started", "succeeded", "failed", "retried", "revoked", "rejected", "custom")
WORKERS = ("w1@h", "w2@h")


def worker_event(rng: random.Random, number: int) -> dict[str, Any]:
    kind = rng.choice(("online", "heartbeat", "offline"))
    return {
        "type": f"worker-{kind}", "hostname": rng.choice(WORKERS), "pid": 3, "freq": 2.0, "active": number,
        "processed": number, "sw_ver": "5",
    }  # fmt: skip


def task_event(rng: random.Random, number: int) -> dict[str, Any]:
    kind, uuid = rng.choice(KINDS), f"t{rng.randrange(6)}"
    event = {
        "type": f"task-{kind}", "uuid": uuid, "hostname": "client@h" if kind == "sent" else rng.choice(WORKERS),
    }  # fmt: skip
    if kind in ("sent", "received"):
        parent = rng.choice((None, "t0", "t1")) if uuid not in ("t0", "t1") else None
        event |= {
            "name": f"n.{uuid}", "args": f"({number},)", "kwargs": "{}", "retries": number, "eta": None,
            "expires": None, "root_id": uuid, "parent_id": parent,
        }  # fmt: skip
    event |= {
        "sent": {"queue": "q", "exchange": "", "routing_key": "k"},
        "succeeded": {"result": str(number), "runtime": 0.5 * number},
        "failed": {"exception": f"E({number})", "traceback": "tb"},
        "retried": {"exception": f"E({number})", "traceback": "tb"},
        "revoked": {"terminated": True, "signum": 15, "expired": False},
    }.get(kind, {})
    return event


def stream(seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    events = []
    for number in range(1, rng.randint(2, 40)):
        event = worker_event(rng, number) if rng.random() < 0.25 else task_event(rng, number)
        now = 1000.0 + number
        events.append(event | {"timestamp": now, "local_received": now, "clock": number, "utcoffset": 0})
    if seed % 2:
        rng.shuffle(events)
    return events


def picture(state: Any, *, heartbeats: bool) -> dict[str, Any]:
    """Everything that can be asked of a state."""
    return {
        "tasks": {uuid: of_task(task) for uuid, task in state.tasks.items()},
        "workers": {
            name: {f: getattr(worker, f) for f in worker._fields if heartbeats or f != "heartbeats"}
            for name, worker in state.workers.items()
        },
        "newest first": [uuid for uuid, _ in state.tasks_by_time()],
        "oldest first": [uuid for uuid, _ in state.tasks_by_timestamp(reverse=False)],
        "of a type": [uuid for uuid, _ in state.tasks_by_type("n.t0")],
        "types": state.task_types(),
        "counts": (state.event_count, state.task_count, str(state)),
        "alive": list(state.alive_workers()),
    }


def of_task(task: Any) -> dict[str, Any]:
    fields = task.as_dict()
    worker = fields.pop("worker")
    fields["children"] = sorted(fields["children"])
    more = {"info": task.info(), "origin": task.origin, "ready": task.ready, "text": repr(task)}
    return fields | more | {"on": worker and worker.hostname, "signum": getattr(task, "signum", None)}


@pytest.mark.parametrize("seed", range(40))
def test_the_same_picture(seed: int) -> None:
    events = stream(seed)
    there, here = theirs.State(), ours.State()
    for event in events:
        (_, new_there), subject_there = there.event(dict(event))
        (_, new_here), subject_here = here.event(dict(event))
        assert (new_here, subject_here) == (new_there, subject_there), event
    # Of heartbeats out of order we keep the newest, Celery the first ones.
    in_order = seed % 2 == 0
    assert picture(here, heartbeats=in_order) == picture(there, heartbeats=in_order)


def test_clearing_as_there() -> None:
    events = stream(2)
    for ready in (True, False):
        left = []
        for module in (theirs, ours):
            state = module.State()
            for event in events:
                state.event(dict(event))
            state.clear(ready)
            left.append((sorted(state.tasks), list(state.workers), state.event_count))
        assert left[0] == left[1]


def test_nodes_come_and_go_as_there() -> None:
    told: dict[Any, list[str]] = {}
    for module in (theirs, ours):
        told[module] = []
        state = module.State(
            on_node_join=lambda worker, to=told[module]: to.append(f"+{worker.hostname}"),
            on_node_leave=lambda worker, to=told[module]: to.append(f"-{worker.hostname}"),
        )
        for event in stream(4) + stream(6):
            state.event(dict(event))
        told[module].append(str(sorted(state.workers)))
    assert told[ours] == told[theirs]
    assert len(told[ours]) > 3
