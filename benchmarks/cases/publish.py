"""How fast a program can send: delay() in a loop, and many calls in one."""

from __future__ import annotations

from support import CELERYLITE, Bench, Case, Contestant, Figure

CALLS = {"celery": 3_000, "celerylite": 10_000}
BULK_CALLS = {"celery": 3_000, "celerylite": 40_000}


def measure_delay(bench: Bench, contestant: Contestant) -> dict[str, float]:
    return bench.client(contestant, "publish_delay", n=CALLS[contestant.library])


def measure_delay_results(bench: Bench, contestant: Contestant) -> dict[str, float]:
    return bench.client(contestant, "publish_delay_results", n=CALLS[contestant.library])


def measure_bulk(bench: Bench, contestant: Contestant) -> dict[str, float]:
    return bench.client(contestant, "publish_bulk", n=BULK_CALLS[contestant.library])


CASES = (
    Case(
        "publish_delay",
        "delay() in a loop, task with ignore_result (Celery's cheapest call: no subscription)",
        (
            Figure("per_s", "calls/s", bar=4),
            Figure("cpu_us", "CPU µs a call", "less", at_most=80),
        ),
        measure_delay,
    ),
    Case(
        "publish_delay_results",
        "delay() in a loop, task with a stored result",
        (Figure("per_s", "calls/s", bar=4), Figure("cpu_us", "CPU µs a call", "less", at_most=80)),
        measure_delay_results,
    ),
    Case(
        "publish_bulk",
        f"{BULK_CALLS[CELERYLITE.library]:,} calls with app.send_tasks, against Celery's delay() one by one",
        (Figure("per_s", "calls/s", bar=20), Figure("cpu_us", "CPU µs a call", "less", at_most=25)),
        measure_bulk,
    ),
)
