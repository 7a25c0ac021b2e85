"""20,000 tasks that wait for their time: what they cost the worker, and how punctual others are meanwhile."""

from __future__ import annotations

import procfs
from support import Bench, BenchmarkError, Case, Contestant, Figure, Worker, percentile, wait_until

WAITING = 20_000
SAMPLE = 2_000
SPAN = 10.0
MEGABYTE = 1e6


def measure_eta(bench: Bench, contestant: Contestant) -> dict[str, float]:
    with bench.worker(contestant) as worker:
        bench.client(contestant, "first_tasks", n=500)
        worker.wait_until_settled()
        before = _memory(worker)
        bench.client(contestant, "sleepers", n=WAITING, countdown=7200)
        worker.wait_until_settled()
        waiting = _memory(worker)
        lateness = _lateness(bench, contestant, worker)
    return {
        "growth_mb": waiting["pss"] - before["pss"],
        "growth_rss_mb": waiting["rss"] - before["rss"],
        "pss_mb": waiting["pss"],
        **lateness,
    }


def _memory(worker: Worker) -> dict[str, float]:
    pids = worker.pids()
    return {"pss": procfs.pss_bytes(pids) / MEGABYTE, "rss": procfs.rss_bytes(pids) / MEGABYTE}


def _lateness(bench: Bench, contestant: Contestant, worker: Worker) -> dict[str, float]:
    sent = bench.client(contestant, "due_soon", n=SAMPLE, first=6.0, span=SPAN)
    wait_until(
        lambda: len(bench.marks("due")) >= SAMPLE, sent["last_due_in"] + 60,
        f"{contestant.name}: {SAMPLE} due tasks\n{worker.log()}",
    )
    late_ms = [mark["late"] * 1e3 for mark in bench.marks("due")]
    if len(late_ms) != SAMPLE:
        raise BenchmarkError(f"{contestant.name}: {len(late_ms)} runs of {SAMPLE} due tasks")
    return {
        "late_min_ms": min(late_ms),
        "late_p50_ms": percentile(late_ms, 50),
        "late_p99_ms": percentile(late_ms, 99),
        "late_max_ms": max(late_ms),
    }


CASES = (
    Case(
        "eta_20000",
        f"{WAITING:,} ETA tasks waiting, {SAMPLE:,} more due evenly over {SPAN:.0f} s; one task process",
        (
            # The allocator moves a few pages in any case; 20,000 messages are 20 MB and more.
            Figure("growth_mb", "growth of the worker's PSS, MB", "less", compared=False, at_most=2.0),
            Figure("growth_rss_mb", "growth of its RSS, MB", "less", compared=False),
            Figure("pss_mb", "PSS while they wait, MB", "less"),
            Figure("late_p50_ms", "lateness p50, ms", "less"),
            Figure("late_p99_ms", "lateness p99, ms", "less", at_most=100),
            Figure("late_max_ms", "lateness max, ms", "less"),
            Figure("late_min_ms", "earliest, ms (below 0: too early)", "less", compared=False, at_least=0),
        ),
        measure_eta,
        most_rounds=2,
    ),
)
