"""What every benchmark needs: a private Redis, workers and clients in their own processes, marks and numbers.

Knows nothing of the single benchmarks; those are in cases/.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import procfs

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent


class BenchmarkError(Exception):
    """A benchmark could not be measured."""


@dataclass(frozen=True)
class Contestant:
    """A library with the way it is started."""

    name: str
    """The column in the report."""
    library: str
    """The package: celery or celerylite."""
    worker_flags: tuple[str, ...] = ()
    """Options of the worker's command line."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the app that differ from the defaults."""
    counts: bool = True
    """Whether the bar is measured against it; others are shown for information."""


CELERY = Contestant("celery", "celery")
CELERY_TUNED = Contestant(
    "celery tuned",
    "celery",
    ("--without-gossip", "--without-mingle", "--without-heartbeat", "--prefetch-multiplier", "128"),
    {"worker_disable_rate_limits": True, "worker_enable_remote_control": False},
)
# No process pool at all: no time limits, and a crashing task takes the worker with it.
CELERY_SOLO = Contestant(
    "celery solo", "celery", ("-P", "solo", *CELERY_TUNED.worker_flags), CELERY_TUNED.settings, counts=False
)
CELERYLITE = Contestant("celerylite", "celerylite")


@dataclass(frozen=True)
class Figure:
    """One number of a benchmark, and what it has to be."""

    key: str
    """Its name in what the measuring function returns."""
    label: str
    """What the report calls it, with its unit."""
    better: str = "more"
    """more | less: which way is better."""
    bar: float | None = None
    """How many times better than Celery's it has to be."""
    compared: bool = True
    """Whether a ratio means anything."""
    at_most: float | None = None
    """Our own figure may not be above this."""
    at_least: float | None = None
    """Our own figure may not be below this."""


@dataclass(frozen=True)
class Case:
    """A benchmark."""

    name: str
    title: str
    figures: tuple[Figure, ...]
    measure: Callable[[Bench, Contestant], dict[str, float]]
    contestants: tuple[Contestant, ...] = (CELERY, CELERYLITE)
    most_rounds: int = 100
    """A long benchmark is repeated fewer times."""


class Bench:
    """A private Redis without persistence, a directory, and the processes that use them."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="benchmark-"))
        self.marks_path = self.directory / "marks"
        self.port = _free_port()
        command = [
            *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)),
            *("--save", "", "--appendonly", "no"),
        ]
        self.redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        #: The broker, where it is not this Redis.
        self.broker_url: str | None = None
        self.url = f"redis://127.0.0.1:{self.port}/0"
        # An installed package has its byte code; this repository may not have it yet.
        compileall.compile_dir(str(REPOSITORY / "celerylite"), quiet=1)
        wait_until(lambda: self.redis_command("PING") == "+PONG", 10, "Redis to answer")

    def close(self) -> None:
        self.redis.terminate()
        self.redis.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)

    def redis_command(self, *words: str) -> str:
        """One command, its reply as it came (the first line)."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(" ".join(words).encode() + b"\r\n")
                return connection.recv(4096).decode().strip()
        except ConnectionRefusedError:
            return ""

    def reset(self) -> None:
        """Nothing of the last measurement is left."""
        self.redis_command("FLUSHALL")
        self.marks_path.unlink(missing_ok=True)

    def environment(self, contestant: Contestant) -> dict[str, str]:
        path = os.pathsep.join([str(HERE), str(REPOSITORY)])
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {
            **inherited,
            "PYTHONPATH": path,
            "QUEUE_LIB": contestant.library,
            "BENCH_REDIS_URL": self.url,
            "BENCH_BROKER_URL": self.broker_url or self.url,
            "BENCH_REDIS_PID": str(self.redis.pid),
            "BENCH_SETTINGS": json.dumps(contestant.settings),
            "BENCH_MARKS": str(self.marks_path),
        }

    def client(self, contestant: Contestant, function: str, **arguments: object) -> dict[str, float]:
        """Run one function of client.py in its own interpreter."""
        done = subprocess.run(
            [sys.executable, str(HERE / "client.py"), function, json.dumps(arguments)],
            env=self.environment(contestant), cwd=self.directory, capture_output=True, text=True, timeout=300,
        )
        if done.returncode:
            raise BenchmarkError(f"{contestant.name}: client {function} failed\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def worker(self, contestant: Contestant, concurrency: int = 1) -> Iterator[Worker]:
        """A worker in its own session; stopped warm, and killed when that takes too long."""
        words = ("-A", "tasks", "worker", "-c", str(concurrency), *contestant.worker_flags)
        worker = Worker(self, contestant, words)
        try:
            yield worker
        finally:
            worker.stop()

    @contextmanager
    def beat(self, contestant: Contestant, schedule: dict[str, Any]) -> Iterator[Worker]:
        """A beat with the schedule that beat_tasks.py makes of `schedule`; stopped at the end."""
        file = self.directory / f"{contestant.library}-schedule"
        for path in self.directory.glob(f"{file.name}*"):
            path.unlink()
        words = ("-A", "beat_tasks", "beat", "-s", str(file), "--pidfile", "")
        beat = Worker(self, contestant, words, BENCH_SCHEDULE=json.dumps(schedule))
        try:
            yield beat
        finally:
            beat.stop()

    def marks(self, label: str) -> list[dict[str, Any]]:
        """What the tasks have written so far under this label."""
        if not self.marks_path.exists():
            return []
        lines = self.marks_path.read_text().splitlines()
        return [mark for mark in map(json.loads, lines) if mark["label"] == label]

    def wait_for_mark(self, label: str, timeout: float, worker: Worker) -> dict[str, Any]:
        def is_there() -> bool:
            worker.check()
            return bool(self.marks(label))

        wait_until(is_there, timeout, f"{worker.contestant.name}: mark {label!r}\n{worker.log()}")
        return self.marks(label)[0]


class Worker:
    """A running worker, or beat, with its child processes."""

    def __init__(self, bench: Bench, contestant: Contestant, words: tuple[str, ...], **environment: str) -> None:
        self.contestant = contestant
        self._log_path = bench.directory / f"{contestant.name.replace(' ', '-')}.log"
        with self._log_path.open("wb") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                [sys.executable, "-m", contestant.library, *words],
                env={**bench.environment(contestant), **environment}, cwd=bench.directory,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )

    def pids(self) -> list[int]:
        return procfs.session_pids(self.process.pid)

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")[-3000:]

    def check(self) -> None:
        if self.process.poll() is not None:
            raise BenchmarkError(f"{self.contestant.name}: the worker ended\n{self.log()}")

    def wait_until_settled(self, timeout: float = 120) -> None:
        """Until all its processes together use less than a twentieth of a core for a second."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.check()
            before = procfs.cpu_seconds(self.pids())
            time.sleep(1)
            if procfs.cpu_seconds(self.pids()) - before <= 0.05:
                return
        raise BenchmarkError(f"{self.contestant.name}: the worker did not become idle")

    def stop(self, patience: float = 10) -> None:
        self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            pass  # killed below, with whatever else is left of its session
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited {timeout:.0f} s for {what}")
        time.sleep(0.02)


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of every figure over the rounds."""
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]} if rounds else {}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
