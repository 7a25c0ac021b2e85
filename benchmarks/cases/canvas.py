"""Workflows: a group sent, a chord and a chain from end to end, the results of a group read."""

from __future__ import annotations

from support import CELERY, CELERY_TUNED, CELERYLITE, Bench, Case, Contestant, Figure

GROUP = 1_000
HEADER = 1_000
STEPS = 100
RESULTS = 2_000
#: Repetitions within one measurement, for what is short.
REPEAT = {"celery": 3, "celerylite": 10}


def measure_group(bench: Bench, contestant: Contestant) -> dict[str, float]:
    return bench.client(contestant, "group_apply_async", n=GROUP, repeat=REPEAT[contestant.library])


def measure_chord(bench: Bench, contestant: Contestant) -> dict[str, float]:
    with bench.worker(contestant):
        return bench.client(contestant, "chord_end_to_end", n=HEADER, repeat=2)


def measure_chain(bench: Bench, contestant: Contestant) -> dict[str, float]:
    with bench.worker(contestant):
        return bench.client(contestant, "chain_end_to_end", n=STEPS, repeat=5)


def measure_group_get(bench: Bench, contestant: Contestant) -> dict[str, float]:
    with bench.worker(contestant):
        return bench.client(contestant, "group_get", n=RESULTS, repeat=REPEAT[contestant.library])


CONTESTANTS = (CELERY, CELERY_TUNED, CELERYLITE)
CASES = (
    Case(
        "canvas_group",
        f"group of {GROUP:,}: apply_async, the group itself made before",
        (
            Figure("per_s", "tasks/s", bar=12),
            Figure("ms", "ms a group", "less"),
            Figure("build_ms", "ms to make the group", "less"),
        ),
        measure_group,
        (CELERY, CELERYLITE),
    ),
    Case(
        "canvas_chord",
        f"chord of {HEADER:,} no-ops from apply_async to the body's result; one task process",
        (Figure("ms", "ms a chord", "less", bar=8), Figure("per_s", "header tasks/s")),
        measure_chord,
        CONTESTANTS,
    ),
    Case(
        "canvas_chain",
        f"chain of {STEPS} from apply_async to the last result; one task process",
        (Figure("ms", "ms a chain", "less", bar=5), Figure("per_s", "steps/s")),
        measure_chain,
        CONTESTANTS,
    ),
    Case(
        "canvas_group_get",
        f"GroupResult.get() of {RESULTS:,} results that are there",
        (Figure("ms", "ms", "less", bar=10), Figure("per_s", "results/s")),
        measure_group_get,
        (CELERY, CELERYLITE),
    ),
)
