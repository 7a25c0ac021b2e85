"""The caller's side of the benchmarks, in an interpreter of its own: `python client.py NAME '{"n": 1000}'`.

Each function publishes or calls with the library that QUEUE_LIB names and returns its figures, which are
printed as one JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone

import tasks

WARM_UP = 200


class Stopwatch:
    """Wall and CPU time of this process over a `with` block."""

    def __enter__(self) -> Stopwatch:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu

    def figures(self, n: int) -> dict[str, float]:
        return {"per_s": n / self.wall, "cpu_us": self.cpu / n * 1e6}


def publish_delay(n: int) -> dict[str, float]:
    """delay() without a result to come: nobody subscribes to anything."""
    delay = tasks.noop.delay
    for i in range(WARM_UP):
        delay(i, 2)
    with Stopwatch() as watch:
        for i in range(n):
            delay(i, 2)
    return watch.figures(n)


def publish_delay_results(n: int) -> dict[str, float]:
    """delay() of a task that stores its result, with the AsyncResults kept, as one who will ask for them."""
    delay = tasks.add.delay
    for i in range(WARM_UP):
        delay(i, 2)
    with Stopwatch() as watch:
        results = [delay(i, 2) for i in range(n)]
    return watch.figures(len(results))


def publish_bulk(n: int) -> dict[str, float]:
    """Many calls in one: app.send_tasks where the library has it, else delay() one by one."""
    if not hasattr(tasks.app, "send_tasks"):
        return publish_delay(n)
    noop = tasks.noop
    tasks.app.send_tasks([(noop, (i, 2), {}) for i in range(WARM_UP)])
    with Stopwatch() as watch:
        tasks.app.send_tasks([(noop, (i, 2), {}) for i in range(n)])
    return watch.figures(n)


def fill(n: int, task: str = "noop", warm_up: int = 0) -> dict[str, float]:
    """Fill the queue for a drain: warm-up, mark "begin", n no-ops, mark "end". Its speed is not measured."""
    task_object = getattr(tasks, task)
    _send_many(task_object, warm_up)
    tasks.mark.delay("begin")
    _send_many(task_object, n)
    tasks.mark.delay("end")
    return {"sent": n}


def _send_many(task: object, n: int) -> None:
    if hasattr(tasks.app, "send_tasks"):
        tasks.app.send_tasks([(task, (), {}) for _ in range(n)])
        return
    for _ in range(n):
        task.delay()  # type: ignore[attr-defined]


def roundtrip(n: int) -> dict[str, float]:
    """n calls sent with delay(), then every result read with get()."""
    _check_sums([tasks.add.delay(i, 2) for i in range(WARM_UP)])
    with Stopwatch() as watch:
        _check_sums([tasks.add.delay(i, 2) for i in range(n)])
    return watch.figures(n)


def roundtrip_bulk(n: int) -> dict[str, float]:
    """The same, sent with app.send_tasks where the library has it."""
    if not hasattr(tasks.app, "send_tasks"):
        return roundtrip(n)
    add = tasks.add
    _check_sums(tasks.app.send_tasks([(add, (i, 2), {}) for i in range(WARM_UP)]))
    with Stopwatch() as watch:
        _check_sums(tasks.app.send_tasks([(add, (i, 2), {}) for i in range(n)]))
    return watch.figures(n)


def _check_sums(results: list) -> None:
    for i, result in enumerate(results):
        value = result.get(timeout=120)
        if value != i + 2:
            raise AssertionError(f"wrong result {value!r} for call {i}")


def idle_latency(n: int, pause: float) -> dict[str, float]:
    """delay().get() one at a time, with a pause before each, so that everything is idle when it is sent."""
    for i in range(30):
        tasks.add.delay(i, 2).get(timeout=30)
    times = []
    for i in range(n):
        time.sleep(pause)
        start = time.perf_counter()
        tasks.add.delay(i, 2).get(timeout=30)
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    return {"p50_ms": times[n // 2], "p99_ms": times[int(n * 0.99)], "max_ms": times[-1]}


def first_tasks(n: int) -> dict[str, float]:
    """Let the worker run some tasks, so that it has allocated what it needs for work before it is weighed."""
    _check_sums([tasks.add.delay(i, 2) for i in range(n)])
    return {"sent": n}


def sleepers(n: int, countdown: float) -> dict[str, float]:
    """n tasks that are due long after the benchmark has ended."""
    for _ in range(n):
        tasks.due_at.apply_async((0.0,), countdown=countdown)
    return {"sent": n}


def due_soon(n: int, first: float, span: float) -> dict[str, float]:
    """n tasks, due at even distances over `span` seconds, the first of them `first` seconds from now."""
    start = time.time() + first
    for i in range(n):
        due = start + i * span / n
        tasks.due_at.apply_async((due,), eta=datetime.fromtimestamp(due, timezone.utc))
    if time.time() > start:
        raise AssertionError("sending took longer than the time to the first due moment")
    return {"last_due_in": start + span - time.time()}


def group_apply_async(n: int, repeat: int) -> dict[str, float]:
    """Groups of n calls, sent; making them is timed apart."""
    group, add = tasks.queue_lib.group, tasks.add
    group([add.s(i, 2) for i in range(WARM_UP)]).apply_async()
    with Stopwatch() as build:
        groups = [group([add.s(i, 2) for i in range(n)]) for _ in range(repeat)]
    with Stopwatch() as watch:
        results = [each.apply_async() for each in groups]
    if sum(map(len, results)) != n * repeat:
        raise AssertionError("some calls were not sent")
    return {
        **watch.figures(n * repeat), "ms": watch.wall / repeat * 1e3, "build_ms": build.wall / repeat * 1e3,
    }


def chord_end_to_end(n: int, repeat: int) -> dict[str, float]:
    """Chords of n no-ops, each from apply_async to the result of its body."""
    chord, nothing, count = tasks.queue_lib.chord, tasks.nothing, tasks.count

    def run(size: int) -> None:
        got = chord([nothing.s() for _ in range(size)], count.s()).apply_async().get(timeout=120)
        if got != size:
            raise AssertionError(f"the body got {got} values of {size}")

    run(WARM_UP)
    with Stopwatch() as watch:
        for _ in range(repeat):
            run(n)
    return {**watch.figures(n * repeat), "ms": watch.wall / repeat * 1e3}


def chain_end_to_end(n: int, repeat: int) -> dict[str, float]:
    """Chains of n steps, each from apply_async to its last result."""
    chain, add = tasks.queue_lib.chain, tasks.add

    def run(size: int) -> None:
        got = chain(add.s(0, 1), *[add.s(1) for _ in range(size - 1)]).apply_async().get(timeout=120)
        if got != size:
            raise AssertionError(f"{got} at the end of {size} steps")

    run(20)
    with Stopwatch() as watch:
        for _ in range(repeat):
            run(n)
    return {**watch.figures(n * repeat), "ms": watch.wall / repeat * 1e3}


def group_get(n: int, repeat: int) -> dict[str, float]:
    """get() of a group whose n results are all there; every time with objects that know nothing of them yet."""
    result = tasks.queue_lib.group([tasks.add.s(i, 2) for i in range(n)]).apply_async()
    expected = [i + 2 for i in range(n)]
    if result.get(timeout=120) != expected:
        raise AssertionError("wrong results")
    ids, spent = [each.id for each in result.results], 0.0
    for _ in range(repeat):
        fresh = type(result)(result.id, [tasks.app.AsyncResult(each) for each in ids], app=tasks.app)
        with Stopwatch() as watch:
            got = fresh.get(timeout=120)
        if got != expected:
            raise AssertionError("wrong results")
        spent += watch.wall
    return {"ms": spent / repeat * 1e3, "per_s": n * repeat / spent}


FUNCTIONS: dict[str, Callable[..., dict[str, float]]] = {
    function.__name__: function
    for function in (
        publish_delay, publish_delay_results, publish_bulk, fill, roundtrip, roundtrip_bulk,
        idle_latency, first_tasks, sleepers, due_soon,
        group_apply_async, chord_end_to_end, chain_end_to_end, group_get,
    )
}

if __name__ == "__main__":
    print(json.dumps(FUNCTIONS[sys.argv[1]](**json.loads(sys.argv[2]))))
