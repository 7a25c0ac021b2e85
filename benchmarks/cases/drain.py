"""How fast one task process empties a full queue of no-ops.

The queue is filled while no worker runs: warm-up tasks, a mark, N no-ops, a mark. The marks are tasks too:
they write down the time and the CPU time when they run, so start-up and warm-up are not counted, and the
count of the no-ops between them proves that all were run. One process takes in order: the last mark is last.
"""

from __future__ import annotations

from support import (
    CELERY,
    CELERY_SOLO,
    CELERY_TUNED,
    CELERYLITE,
    Bench,
    BenchmarkError,
    Case,
    Contestant,
    Figure,
)

TASKS = {"celery": 4_000, "celerylite": 30_000}
WARM_UP = {"celery": 400, "celerylite": 3_000}


def measure_early(bench: Bench, contestant: Contestant) -> dict[str, float]:
    return _drain(bench, contestant, "noop")


def measure_late(bench: Bench, contestant: Contestant) -> dict[str, float]:
    return _drain(bench, contestant, "noop_late")


def _drain(bench: Bench, contestant: Contestant, task: str) -> dict[str, float]:
    n = TASKS[contestant.library]
    bench.client(contestant, "fill", n=n, task=task, warm_up=WARM_UP[contestant.library])
    with bench.worker(contestant) as worker:
        begin = bench.wait_for_mark("begin", 60, worker)
        end = bench.wait_for_mark("end", 120, worker)
    if end["runs"] - begin["runs"] != n:
        raise BenchmarkError(f"{contestant.name}: {end['runs'] - begin['runs']} of {n} tasks were run")
    return {
        "per_s": n / (end["start"] - begin["start"]),
        "task_process_us": (end["cpu"] - begin["cpu"]) / n * 1e6,
        "worker_us": (end["worker_cpu"] - begin["worker_cpu"]) / n * 1e6,
        "redis_us": (end["redis_cpu"] - begin["redis_cpu"]) / n * 1e6,
    }


def _figures(bar: float) -> tuple[Figure, ...]:
    return (
        Figure("per_s", "tasks/s", bar=bar),
        Figure("task_process_us", "CPU µs a task, task process", "less", at_most=50),
        Figure("worker_us", "CPU µs a task, whole worker", "less"),
        Figure("redis_us", "CPU µs a task, Redis", "less"),
    )


CONTESTANTS = (CELERY, CELERY_TUNED, CELERY_SOLO, CELERYLITE)
CASES = (
    Case(
        "drain_early", "drain of no-ops by one task process, early ack, ignore_result", _figures(20),
        measure_early, CONTESTANTS,
    ),
    Case(
        "drain_late", "drain of no-ops by one task process, acks_late, ignore_result", _figures(16),
        measure_late, CONTESTANTS,
    ),
)
