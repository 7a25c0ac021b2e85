"""The whole way: sent, run, stored, read back; many at once, and one at a time while all is idle."""

from __future__ import annotations

from support import CELERY, CELERY_TUNED, CELERYLITE, Bench, Case, Contestant, Figure

CALLS = 3_000
LATENCY_CALLS = 300
PAUSE = 0.01


def measure_roundtrip(bench: Bench, contestant: Contestant) -> dict[str, float]:
    with bench.worker(contestant):
        return bench.client(contestant, "roundtrip", n=CALLS)


def measure_roundtrip_bulk(bench: Bench, contestant: Contestant) -> dict[str, float]:
    with bench.worker(contestant):
        return bench.client(contestant, "roundtrip_bulk", n=CALLS)


def measure_idle_latency(bench: Bench, contestant: Contestant) -> dict[str, float]:
    with bench.worker(contestant):
        return bench.client(contestant, "idle_latency", n=LATENCY_CALLS, pause=PAUSE)


CONTESTANTS = (CELERY, CELERY_TUNED, CELERYLITE)
CASES = (
    Case(
        "roundtrip",
        f"{CALLS:,} × delay(), then get() of each result; one task process",
        (Figure("per_s", "round trips/s", bar=12), Figure("cpu_us", "CPU µs a round trip, client", "less")),
        measure_roundtrip,
        CONTESTANTS,
    ),
    Case(
        "roundtrip_bulk",
        f"{CALLS:,} calls with app.send_tasks, then get() of each; Celery with delay()",
        (Figure("per_s", "round trips/s"), Figure("cpu_us", "CPU µs a round trip, client", "less")),
        measure_roundtrip_bulk,
    ),
    Case(
        "idle_latency",
        f"delay().get() one at a time, {PAUSE * 1e3:.0f} ms of pause before each",
        (
            Figure("p50_ms", "p50 ms", "less", bar=1, at_most=1.0),
            Figure("p99_ms", "p99 ms", "less"),
            Figure("max_ms", "max ms", "less"),
        ),
        measure_idle_latency,
    ),
)
