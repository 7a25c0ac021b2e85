"""Beat with 10,000 entries: what it costs while nothing is due, and how punctual it is at 1,000 firings a second."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator

import redis

import procfs
from support import CELERY, CELERYLITE, Bench, BenchmarkError, Case, Contestant, Figure, Worker, percentile

ENTRIES = 10_000
IDLE = 30.0
EVERY = 10.0
#: Seconds before the first tick: both have read their schedule by then.
START = 25.0
SPAN = 30.0


def measure_idle(bench: Bench, contestant: Contestant) -> dict[str, float]:
    """CPU time over half a minute, once the schedule is read."""
    with bench.beat(contestant, {"kind": "resting", "count": ENTRIES}) as beat:
        beat.wait_until_settled()
        settled = procfs.cpu_seconds(beat.pids())
        redis_before = procfs.cpu_seconds([bench.redis.pid])
        time.sleep(IDLE)
        beat.check()
        pids = beat.pids()
        return {
            "cpu_percent": (procfs.cpu_seconds(pids) - settled) / IDLE * 100,
            "redis_percent": (procfs.cpu_seconds([bench.redis.pid]) - redis_before) / IDLE * 100,
            "start_cpu_s": settled,
            "pss_mb": procfs.pss_bytes(pids) / 1e6,
        }


def measure_firing(bench: Bench, contestant: Contestant) -> dict[str, float]:
    """How late each of the ticks of half a minute reaches the queue; a tick that is never sent counts as the span."""
    first = time.time() + START
    with bench.beat(contestant, {"kind": "firing", "count": ENTRIES, "every": EVERY, "first": first}) as beat:
        arrivals = list(_arrivals(bench, beat, until=first + SPAN))
        beat.check()
        cpu = procfs.cpu_seconds(beat.pids())
    rounds: dict[int, int] = defaultdict(int)
    late_ms = []
    for at, message in arrivals:
        number = int(json.loads(message)["headers"]["argsrepr"].strip("(,)[]"))
        due = first + number * EVERY / ENTRIES + rounds[number] * EVERY
        rounds[number] += 1
        late_ms.append((at - due) * 1e3)
    expected = int(SPAN / EVERY * ENTRIES)
    missing = [SPAN * 1e3] * max(0, expected - len(late_ms))
    if not late_ms:
        raise BenchmarkError(f"{contestant.name}: nothing was sent\n{beat.log()}")
    return {
        "sent_per_s": len(late_ms) / SPAN,
        "late_p50_ms": percentile(late_ms + missing, 50),
        "late_p99_ms": percentile(late_ms + missing, 99),
        "late_max_ms": max(late_ms),
        "late_min_ms": min(late_ms),
        "cpu_s": cpu,
    }


def _arrivals(bench: Bench, beat: Worker, until: float) -> Iterator[tuple[float, bytes]]:
    """The messages of the queue, each with the time at which it was there."""
    with redis.Redis.from_url(bench.url) as client:
        while (left := until - time.time()) > 0:
            beat.check()
            found = client.brpop(["celery"], timeout=min(left, 1.0))
            if found is not None:
                yield time.time(), found[1]


CASES = (
    Case(
        "beat_idle",
        f"beat with {ENTRIES:,} entries of which none is due, over {IDLE:.0f} s",
        (
            Figure("cpu_percent", "CPU, % of a core", "less", compared=False, at_most=1.0),
            Figure("redis_percent", "CPU of Redis, % of a core", "less", compared=False),
            Figure("start_cpu_s", "CPU s until it is idle", "less"),
            Figure("pss_mb", "PSS, MB", "less"),
        ),
        measure_idle,
        (CELERY, CELERYLITE),
        most_rounds=3,
    ),
    Case(
        "beat_firing",
        f"beat with {ENTRIES:,} entries, {ENTRIES / EVERY:,.0f} ticks a second for {SPAN:.0f} s",
        (
            Figure("sent_per_s", "sent a second"),
            Figure("late_p50_ms", "lateness p50, ms", "less"),
            Figure("late_p99_ms", "lateness p99, ms", "less", at_most=50),
            Figure("late_max_ms", "lateness max, ms", "less"),
            Figure("late_min_ms", "earliest, ms (below 0: too early)", "less", compared=False),
            Figure("cpu_s", "CPU s of beat, its start included", "less"),
        ),
        measure_firing,
        (CELERY, CELERYLITE),
        most_rounds=3,
    ),
)
