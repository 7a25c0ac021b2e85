"""Where the time goes, in one process: `python benchmarks/profile_task.py delay|bulk|worker|chain|get`.

`delay` profiles a loop of delay(), `bulk` one app.send_tasks, `worker` a solo worker that empties a full
queue of no-ops (--task add stores results, --task noop_late acknowledges late), `chain` one that runs chains
of 100 one after the other (the cost of a step), `get` reads results. Two ways to look: samples of the stack
taken by a CPU timer, or with --wall by the clock (little distortion: time per function and line), and --calls
(cProfile: how many Python calls a task costs; its times are distorted).
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from support import CELERY, CELERYLITE, Bench

INTERVAL = 0.001
TOP = 25
#: Steps of a chain.
STEPS = 100
PACKAGES = ("celerylite", "celery", "kombu", "redis", "vine", "billiard", "benchmarks")


Clock = Callable[[], float]


class Sampler:
    """Notes the main thread's Python stack at every tick of a timer."""

    def __init__(self, wall: bool) -> None:
        self.timer, self.signal = (
            (signal.ITIMER_REAL, signal.SIGALRM) if wall else (signal.ITIMER_PROF, signal.SIGPROF)
        )
        self.unit = "µs of time" if wall else "µs of CPU"
        self.samples = 0
        self.inside: Counter[str] = Counter()
        """Function → samples with it anywhere on the stack."""
        self.itself: Counter[str] = Counter()
        """Function → samples with it on top."""
        self.lines: Counter[str] = Counter()
        """Line → samples with it on top."""

    def __enter__(self) -> Sampler:
        signal.signal(self.signal, self._sample)
        signal.setitimer(self.timer, INTERVAL, INTERVAL)
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.setitimer(self.timer, 0)

    def _sample(self, signum: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self.samples += 1
        self.lines[f"{place(frame)}:{frame.f_lineno}"] += 1
        self.itself[function_name(frame)] += 1
        stack = set()
        while frame is not None:
            stack.add(function_name(frame))
            frame = frame.f_back
        self.inside.update(stack)

    def report(self, n: int, spent: float) -> None:
        a_sample = spent / max(self.samples, 1) / n * 1e6
        print(f"{self.samples} samples; {spent / n * 1e6:.1f} {self.unit} each")
        for title, counter in (("inside", self.inside), ("itself", self.itself), ("line", self.lines)):
            print(f"\n{'µs':>8} {'%':>6}  {title}")
            for name, count in counter.most_common(TOP * (2 if counter is self.inside else 1)):
                print(f"{count * a_sample:8.1f} {count / self.samples:6.1%}  {name}")


class CallCounter:
    """cProfile, summed up by package."""

    def __init__(self) -> None:
        self.profile = cProfile.Profile()

    def __enter__(self) -> CallCounter:
        self.profile.enable()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.profile.disable()

    def report(self, n: int, spent: float) -> None:
        packages: Counter[str] = Counter()
        functions = []
        for (filename, line, name), row in pstats.Stats(self.profile).stats.items():  # type: ignore[attr-defined]
            calls, own_time = row[1], row[2]
            package = "built in" if filename == "~" else package_of(filename)
            packages[package] += calls
            functions.append((calls / n, own_time / n * 1e6, f"{short(filename)}:{line} {name}"))
        print(f"{spent / n * 1e6:.1f} µs of CPU each, with the profiler's own\n\ncalls each, by package")
        for package, calls in packages.most_common(15):
            print(f"{calls / n:8.1f}  {package}")
        print(f"\n{'calls':>8} {'own µs':>8}  function")
        for calls, own_time, name in sorted(functions, key=lambda row: -row[1])[: TOP * 2]:
            print(f"{calls:8.2f} {own_time:8.2f}  {name}")


def short(filename: str) -> str:
    """The path from the package on."""
    parts = Path(filename).parts
    for root in ("site-packages", "benchmarks"):
        if root in parts:
            return "/".join(parts[parts.index(root) + (root == "site-packages") :])
    return "/".join(parts[parts.index("celerylite") :] if "celerylite" in parts else parts[-2:])


def package_of(filename: str) -> str:
    name = short(filename).split("/")[0]
    return name if name in PACKAGES else "other"


def place(frame: FrameType) -> str:
    return short(frame.f_code.co_filename)


def function_name(frame: FrameType) -> str:
    name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)  # qualified since Python 3.11
    return f"{place(frame)} {name}"


def profile_delay(n: int, task: str, watch: Sampler | CallCounter, clock: Clock) -> float:
    """A loop of delay(); the worker side plays no part."""
    import tasks  # after main() has set the environment

    delay = getattr(tasks, task).delay
    for _ in range(200):
        delay(1, 2)
    start = clock()
    with watch:
        for _ in range(n):
            delay(1, 2)
    return clock() - start


def profile_bulk(n: int, task: str, watch: Sampler | CallCounter, clock: Clock) -> float:
    """All calls in one."""
    import tasks

    if not hasattr(tasks.app, "send_tasks"):
        raise SystemExit(f"{tasks.LIBRARY} has no app.send_tasks")
    task_object = getattr(tasks, task)
    tasks.app.send_tasks([(task_object, (1, 2), {}) for _ in range(200)])
    calls: list[tuple[object, ...]] = [(task_object, (i, 2), {}) for i in range(n)]
    start = clock()
    with watch:
        tasks.app.send_tasks(calls)
    return clock() - start


def profile_worker(n: int, task: str, watch: Sampler | CallCounter, clock: Clock) -> float:
    """The queue holds n tasks and a last one that asks this process to stop."""
    import tasks

    times = []

    @tasks.app.task(name="profile.begin", ignore_result=True)
    def begin() -> None:
        times.append(clock())
        watch.__enter__()

    @tasks.app.task(name="profile.end", ignore_result=True)
    def end() -> None:
        watch.__exit__()
        times.append(clock())
        os.kill(os.getpid(), signal.SIGTERM)

    task_object = getattr(tasks, task)
    begin.delay()
    for _ in range(n):
        task_object.delay(1, 2)
    end.delay()
    run_worker(tasks.app)
    return times[1] - times[0]


def profile_chain(n: int, task: str, watch: Sampler | CallCounter, clock: Clock) -> float:
    """The last step of each chain sends the next one, so that there is never more than one message."""
    import tasks

    times: list[float] = []
    steps = [tasks.add.s(1) for _ in range(STEPS - 1)]

    @tasks.app.task(name="profile.again", ignore_result=True)
    def again(left: int) -> None:
        if left == n // STEPS:
            times.append(clock())
            watch.__enter__()
        if left:
            tasks.queue_lib.chain(tasks.add.s(0, 1), *steps, again.si(left - 1)).apply_async()
            return
        watch.__exit__()
        times.append(clock())
        os.kill(os.getpid(), signal.SIGTERM)

    again.delay(n // STEPS)
    run_worker(tasks.app)
    return times[1] - times[0]


def run_worker(app: Any) -> None:
    """A solo worker in this process, until something asks it to stop."""
    app.conf.worker_redirect_stdouts = False
    try:
        app.Worker(pool="solo", concurrency=1, loglevel="WARNING", without_gossip=True).start()
    except SystemExit:
        pass  # how Celery's worker ends


def profile_get(n: int, task: str, watch: Sampler | CallCounter, clock: Clock) -> float:
    """Sent and run by a worker in another process; the reading is profiled."""
    import tasks

    command = [sys.executable, "-m", tasks.LIBRARY, "-A", "tasks", "worker", "-c", "1"]
    worker = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        results = [tasks.add.delay(i, 2) for i in range(n)]
        results[-1].get(timeout=120)
        start = clock()
        with watch:
            for result in results[:-1]:
                result.get(timeout=60)
        return clock() - start
    finally:
        worker.terminate()
        worker.wait(20)


PROFILES: dict[str, Callable[[int, str, Sampler | CallCounter, Clock], float]] = {
    "delay": profile_delay, "bulk": profile_bulk, "worker": profile_worker,
    "chain": profile_chain, "get": profile_get,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("what", choices=PROFILES)
    parser.add_argument("--library", choices=["celery", "celerylite"], default="celerylite")
    parser.add_argument("--task", choices=["noop", "noop_late", "add"], default="noop")
    parser.add_argument("--calls", action="store_true", help="count calls with cProfile instead of sampling")
    parser.add_argument("--wall", action="store_true", help="sample by the clock: shows waiting too")
    parser.add_argument("-n", type=int, default=20_000, help="how many tasks (default 20000)")
    parser.add_argument("--broker", help="a broker's URL, in place of a private Redis")
    chosen = parser.parse_args()
    bench = Bench()
    bench.broker_url = chosen.broker
    try:
        os.environ.update(bench.environment(CELERY if chosen.library == "celery" else CELERYLITE))
        sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
        watch: Sampler | CallCounter = CallCounter() if chosen.calls else Sampler(chosen.wall)
        clock = time.perf_counter if chosen.wall else time.process_time
        spent = PROFILES[chosen.what](chosen.n, chosen.task, watch, clock)
        watch.report(chosen.n, spent)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
