"""The support app with signed messages, for workers (`-A tests.support.signed`) and a client that tries all of it once.

What is accepted is decided for a whole process, so a test that signs does it in one of its own: `python -m
tests.support.signed` prints what it got as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from typing import Any

from tests.support.app import app

app.setup_security()


def try_everything() -> dict[str, Any]:
    """Calls, workflows, retries, remote control and events, each with what came back."""
    canvas = importlib.import_module(os.environ["QUEUE_LIB"])
    tasks, control = app.tasks, app.control
    add, same = tasks["t.add"], tasks["t.same"]
    calls = {
        "call": add.delay(2, 3),
        "big": tasks["t.size"].delay("ä" * 100_000),
        "countdown": add.apply_async((3, 4), countdown=0.3),
        "retry": tasks["t.flaky"].delay(2),
        "chain": canvas.chain(add.s(1, 1), add.s(2), add.s(3)).apply_async(),
        "group": canvas.group(add.s(n, n) for n in range(3)).apply_async(),
        "chord": canvas.chord([add.s(1, 1), add.s(2, 2)], same.s()).apply_async(),
    }
    report = {name: result.get(timeout=30) for name, result in calls.items()}
    report["retry"] = report["retry"][0]
    failure = tasks["t.fail"].delay("ValueError", "as foreseen")
    report["failure"] = repr(failure.get(timeout=30, propagate=False))
    report["ping"] = [answer for worker in control.ping(timeout=20, limit=1) for answer in worker.values()]
    report["event"] = told_of(tasks["t.noop"])
    return report


def told_of(task: Any) -> str:
    """The type of the event that a worker sends when this task has run."""
    with app.connection_for_read() as connection:
        found: list[str] = []

        def heard(event: dict[str, Any]) -> None:
            found.append(event["type"])
            receiver.should_stop = True

        receiver = app.events.Receiver(connection, handlers={"task-succeeded": heard})
        consuming = receiver.itercapture(limit=None, timeout=30, wakeup=False)
        next(consuming)  # from now on it listens
        task.delay()
        deadline = time.monotonic() + 30
        for _ in consuming:  # heartbeats come, too
            if found or time.monotonic() > deadline:
                break
    return found[0]


if __name__ == "__main__":
    print(json.dumps(try_everything()))
