"""What it costs to be there at all: imports, a worker's start, an idle worker's memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import procfs
from support import CELERY, CELERY_TUNED, CELERYLITE, Bench, Case, Contestant, Figure

IMPORTS = 7
PROGRAMS = {
    "bare": "pass",
    "package": "import {lib}",
    "app": "from {lib} import Celery",
    "project": "from {lib} import Celery\napp = Celery('p')\n@app.task\ndef f(): pass\nf.name",
    "first_call": "import tasks\ntasks.noop.delay(1, 2)",
}


def measure_imports(bench: Bench, contestant: Contestant) -> dict[str, float]:
    """Medians of several interpreters, less the interpreter itself."""
    environment = bench.environment(contestant)
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for number in range(IMPORTS + 1):
        for name, program in PROGRAMS.items():
            command = [sys.executable, "-c", program.format(lib=contestant.library)]
            start = time.perf_counter()
            subprocess.run(command, env=environment, cwd=bench.directory, check=True)
            if number:  # the first time writes the byte code
                times[name].append((time.perf_counter() - start) * 1e3)
    middle = {name: statistics.median(values) for name, values in times.items()}
    return {f"{name}_ms": middle[name] - middle["bare"] for name in PROGRAMS if name != "bare"}


def measure_idle_memory(bench: Bench, contestant: Contestant) -> dict[str, float]:
    with bench.worker(contestant, concurrency=2) as worker:
        bench.wait_for_mark("ready", 30, worker)
        time.sleep(3)
        pids = worker.pids()
        return {
            "pss_mb": procfs.pss_bytes(pids) / 1e6,
            "rss_mb": procfs.rss_bytes(pids) / 1e6,
            "processes": len(pids),
        }


def measure_startup(bench: Bench, contestant: Contestant) -> dict[str, float]:
    """From the command to the signal worker_ready, and to the start of a task that waits in the queue."""
    bench.client(contestant, "fill", n=0)
    with bench.worker(contestant, concurrency=2) as worker:
        ready = bench.wait_for_mark("ready", 30, worker)
        first = bench.wait_for_mark("begin", 30, worker)
        cpu = procfs.cpu_seconds(worker.pids())
        return {
            "ready_s": ready["at"] - worker.started,
            "first_task_s": first["start"] - worker.started,
            "cpu_s": cpu,
        }


CASES = (
    Case(
        "import_time",
        f"imports, wall time without the interpreter's own, medians of {IMPORTS}",
        (
            # Celery's package object is lazy: `import celery` alone does not import the app.
            Figure("package_ms", "import X, ms", "less", bar=4, at_most=60),
            Figure("app_ms", "from X import Celery, ms", "less", bar=4, at_most=60),
            Figure("project_ms", "the same + an app with a task, ms", "less"),
            # What is imported late is paid for here: a script that sends one task and ends.
            Figure("first_call_ms", "script that sends one task, ms", "less"),
        ),
        measure_imports,
    ),
    Case(
        "idle_pss",
        "memory of an idle worker -c 2, 3 s after it is ready",
        (
            Figure("pss_mb", "PSS of all its processes, MB", "less", bar=2),
            Figure("rss_mb", "RSS of all its processes, MB", "less"),
            Figure("processes", "processes", "less"),
        ),
        measure_idle_memory,
        (CELERY, CELERYLITE),
    ),
    Case(
        "startup",
        "start of a worker -c 2",
        (
            Figure("first_task_s", "command to first task, s", "less", at_most=0.5),
            Figure("ready_s", "command to worker_ready, s", "less"),
            Figure("cpu_s", "CPU s used until then", "less"),
        ),
        measure_startup,
        (CELERY, CELERY_TUNED, CELERYLITE),
    ),
)
