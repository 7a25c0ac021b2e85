"""celerylite on SQLite, the embedded default: `python benchmarks/sqlite.py [--rounds N]`. Linux only.

One task process on a fresh file each time. Celery stands not beside it: its SQLAlchemy transport is experimental.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import procfs
from cases import drain
from cases.roundtrip import PAUSE
from support import CELERYLITE, Bench, medians

IDLE = 10.0
MANY = 100_000


class FileBench(Bench):
    """A directory with the file, and no server."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="benchmark-", dir=os.environ.get("BENCH_DIR")))
        self.marks_path = self.directory / "marks"
        self.url = self.broker_url = f"sqlite:///{self.directory}/celerylite.db"
        self.redis = self  # for the environment: the "server" is this process, which does nothing
        self.pid = os.getpid()

    def reset(self) -> None:
        """A new file."""
        for path in self.directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def size(self) -> int:
        """Bytes of the file and its log."""
        return sum(path.stat().st_size for path in self.directory.glob("celerylite.db*") if path.is_file())


def latency(bench: FileBench) -> dict[str, float]:
    with bench.worker(CELERYLITE):
        return bench.client(CELERYLITE, "idle_latency", n=300, pause=PAUSE)


def idle_cpu(bench: FileBench) -> dict[str, float]:
    """CPU of a worker with two task processes that has nothing to do, in percent of a core."""
    with bench.worker(CELERYLITE, concurrency=2) as worker:
        bench.client(CELERYLITE, "first_tasks", n=20)
        worker.wait_until_settled()
        before = procfs.cpu_seconds(worker.pids())
        time.sleep(IDLE)
        return {"percent": (procfs.cpu_seconds(worker.pids()) - before) / IDLE * 100}


def size_after(bench: FileBench) -> dict[str, float]:
    """The file while 100,000 messages wait, and after they were run."""
    bench.client(CELERYLITE, "fill", n=MANY)
    full = bench.size()
    with bench.worker(CELERYLITE, concurrency=2) as worker:
        bench.wait_for_mark("end", 120, worker)
        worker.wait_until_settled()
    return {"waiting_mb": full / 1e6, "after_mb": bench.size() / 1e6}


MEASURES: dict[str, Any] = {
    "publish, delay()": lambda bench: bench.client(CELERYLITE, "publish_delay", n=2_000),
    "publish, app.send_tasks": lambda bench: bench.client(CELERYLITE, "publish_bulk", n=20_000),
    "drain, early ack": drain.measure_early,
    "drain, late ack": drain.measure_late,
    "round trips in bulk": lambda bench: _with_worker(bench, "roundtrip_bulk"),
    "idle delay().get()": latency,
    "idle worker": idle_cpu,
    f"file, {MANY:,} tasks": size_after,
}


def _with_worker(bench: FileBench, function: str) -> dict[str, float]:
    with bench.worker(CELERYLITE):
        return bench.client(CELERYLITE, function, n=5_000)


def measure(name: str) -> dict[str, float]:
    bench = FileBench()
    try:
        args = (bench, CELERYLITE) if name.startswith("drain") else (bench,)
        return MEASURES[name](*args)
    finally:
        bench.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(MEASURES))
    chosen = parser.parse_args()
    for name in chosen.only or MEASURES:
        found = medians([measure(name) for _ in range(chosen.rounds)])
        found.pop("redis_us", None)  # there is none
        print(f"{name:<26}", "  ".join(f"{key} {value:,.1f}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
