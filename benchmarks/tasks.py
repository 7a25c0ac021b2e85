"""The one task module that both libraries run; QUEUE_LIB says which of them this process uses.

Tasks write what the benchmark wants to know into one file, a JSON object a line (O_APPEND), so that the
figures do not pass through the library that is being measured.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from typing import Any

import procfs

LIBRARY = os.environ["QUEUE_LIB"]
REDIS_URL = os.environ["BENCH_REDIS_URL"]
SETTINGS = json.loads(os.environ.get("BENCH_SETTINGS", "{}"))
MARKS_PATH = os.environ.get("BENCH_MARKS")

queue_lib = importlib.import_module(LIBRARY)
BROKER_URL = os.environ.get("BENCH_BROKER_URL", REDIS_URL)
app = queue_lib.Celery("tasks", broker=BROKER_URL, backend=REDIS_URL, set_as_current=True)
app.conf.update(SETTINGS)

_marks = os.open(MARKS_PATH, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if MARKS_PATH else None
_runs = 0


def record(label: str, **facts: Any) -> None:
    """Write one line into the marks file."""
    if _marks is not None:
        line = json.dumps({"label": label, "at": time.monotonic(), **facts})
        os.write(_marks, line.encode() + b"\n")


@app.task(ignore_result=True)
def noop(*args: object) -> None:
    """The cheapest task. The count proves that every message was run."""
    global _runs
    _runs += 1


@app.task(ignore_result=True, acks_late=True)
def noop_late(*args: object) -> None:
    """The same, acknowledged after it has run."""
    global _runs
    _runs += 1


@app.task
def add(x: int, y: int) -> int:
    """A task whose result is stored."""
    return x + y


@app.task
def nothing() -> None:
    """A no-op that may be part of a chord: its result is stored."""


@app.task
def count(values: list[object]) -> int:
    """The body of a chord."""
    return len(values)


@app.task(ignore_result=True)
def mark(label: str) -> None:
    """Note the time, the CPU time used so far, and how many no-ops this process has run."""
    at = time.monotonic()
    worker_cpu = procfs.cpu_seconds(procfs.session_pids(os.getsid(0)))
    redis_cpu = procfs.cpu_seconds([int(os.environ["BENCH_REDIS_PID"])])
    record(label, start=at, runs=_runs, cpu=time.process_time(), worker_cpu=worker_cpu, redis_cpu=redis_cpu)


@app.task(ignore_result=True)
def due_at(due: float) -> None:
    """An ETA task: how late (or early, below zero) it starts, in seconds."""
    record("due", late=time.time() - due)


def _note_ready(**kwargs: object) -> None:
    record("ready")


signals = importlib.import_module(LIBRARY + ".signals")
signals.worker_ready.connect(_note_ready, weak=False)
