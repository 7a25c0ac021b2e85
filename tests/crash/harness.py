"""Workers, servers and clients as real processes, for tests that kill them. No tests and no assertions here."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.crash.project import make_app
from tests.crash.tally import Tally
from tests.support.ledger import Ledger
from tests.support.proxy import ChunkHook, Proxy
from tests.support.redis_server import RedisServer
from tests.support.worker import WorkerProcess

READY_WITHIN = 30.0

#: Settings of the two ways to acknowledge; the late one as users who must not lose anything set it.
MODES: dict[str, dict[str, Any]] = {
    "early": {},
    "late": {"task_acks_late": True, "task_reject_on_worker_lost": True},
}


#: Parameters for tests of which one mode is enough in the quick suite.
EARLY_QUICK = ["early", pytest.param("late", marks=pytest.mark.slow)]
LATE_QUICK = [pytest.param("early", marks=pytest.mark.slow), "late"]


def poll(condition: Callable[[], Any], timeout: float, every: float = 0.02) -> Any:
    """Wait until the condition holds; its last value, falsy when the time ran out: the test asserts."""
    deadline = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return value


def outlast(seconds: float) -> None:
    """Let an outage last. Only for faults that have a length; whatever can be seen is polled for."""
    time.sleep(seconds)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Worker(WorkerProcess):
    """A worker of the suite's project, whose processes can be told apart and killed one by one."""

    def __init__(
        self, tally: Tally, name: str, concurrency: int, pool: str, env: dict[str, str], log_file: Path
    ) -> None:
        options = ("-l", "INFO", "-c", str(concurrency), "-P", pool, "-n", f"{name}@crash")
        super().__init__("tests.crash.project", *options, env=env, log_file=log_file)
        self.tally = tally
        #: How many task processes it has when it is whole.
        self.processes = {"prefork": concurrency, "threads": 1}.get(pool, 0)

    def wait_ready(self, timeout: float = READY_WITHIN) -> Worker:
        """Return when it has said that it is ready and its task processes stand."""
        super().wait_ready(timeout)
        poll(lambda: len(self.task_processes()) >= self.processes, timeout)
        return self

    def task_processes(self) -> list[int]:
        """The live processes that run tasks, by their own word (the signal `worker_process_init`); the parent never."""
        said = {event.pid for event in self.tally.read().others["process"]}
        return [pid for pid in self.children() if pid in said]

    def control_process(self) -> int | None:
        """The child that runs no tasks; Celery has none."""
        others = set(self.children()) - set(self.task_processes())
        return min(others, default=None)

    def wait_other_control(self, old: int | None, timeout: float) -> bool:
        """Wait until there is a control process that is not the old one, and the worker is whole."""

        def replaced() -> bool:
            return self.control_process() not in (None, old) and len(self.task_processes()) == self.processes

        return bool(poll(replaced, timeout))

    def wait_gone(self, timeout: float) -> bool:
        """Wait until no process is left."""
        return bool(poll(lambda: not self.tree(), timeout))

    def signal_tree(self, signum: int) -> None:
        """Send a signal to each process, the parent first, so that it cannot fork another meanwhile."""
        for pid in self.tree():
            send_signal(pid, signum)


def send_signal(pid: int, signum: int) -> bool:
    """Send a signal; False if the process had gone already, which is what most kills here are for."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


class Lab:
    """One test's world: a ledger, a client app, and the workers it started, all of them killed at the end."""

    def __init__(self, server: RedisServer | None, url: str, directory: Path, rng: random.Random) -> None:
        self.server = server
        self.broker_url = self.backend_url = url
        self.directory = directory
        self.rng = rng
        self.ledger = Ledger(directory / "ledger")
        self._tally = Tally(self.ledger)
        self.workers: list[Worker] = []
        self.settings: dict[str, Any] = {"broker_connection_retry_on_startup": True, "worker_lease": 2.0}
        self._app: Any = None
        self._before_send = 0

    def setup(self, mode: str, **settings: Any) -> Lab:
        """Choose how tasks are acknowledged, and any other setting, for client and workers alike."""
        self.settings = {**self.settings, **MODES[mode], **settings}
        return self

    @property
    def app(self) -> Any:
        """The client's app; it talks to the server directly, never through a proxy."""
        if self._app is None:
            self._app = make_app(self.broker_url, self.backend_url, self.ledger, self.settings)
        return self._app

    def worker(
        self,
        name: str = "w1",
        *,
        concurrency: int = 2,
        pool: str = "prefork",
        broker_url: str | None = None,
        wait: bool = True,
        commit: str | None = None,
        **settings: Any,
    ) -> Worker:
        """Start a worker, and by default wait until it is ready; for `commit` see `tests.crash.sqlite.points`."""
        env = self.environment(broker_url, settings)
        if commit is not None:
            env["CRASH_COMMIT"] = commit
        log_file = self.directory / f"{name}-{len(self.workers)}.log"
        worker = Worker(self._tally, name, concurrency, pool, env, log_file)
        self.workers.append(worker)
        worker.start()
        return worker.wait_ready() if wait else worker

    def environment(self, broker_url: str | None, settings: dict[str, Any]) -> dict[str, str]:
        """What `tests.crash.project` reads in another process."""
        # Results take the same road as messages, where a test puts no other server there.
        shared = broker_url is not None and self.backend_url == self.broker_url
        return {
            "CRASH_BROKER": broker_url or self.broker_url,
            "CRASH_BACKEND": str(broker_url) if shared else self.backend_url,
            "CRASH_LEDGER": str(self.ledger.directory),
            "CRASH_SETTINGS": json.dumps({**self.settings, **settings}),
        }

    def proxy(self, on_chunk: ChunkHook | None = None) -> Proxy:
        """A proxy before the server, healthy as yet."""
        assert self.server is not None, "a file has no network before it"
        return Proxy(("127.0.0.1", self.server.port), on_chunk=on_chunk)

    def through(self, proxy: Proxy) -> str:
        """The broker's URL, by way of the proxy."""
        return proxy.url(self.broker_url.rpartition("/")[2])

    # -- sending and counting ---------------------------------------------------------------------------------------

    def send(self, count: int, *args: Any, task: str = "crash.work", **options: Any) -> list[str]:
        """Send tasks; their ids. In bulk where the library can."""
        self._before_send = len(self.tally().starts)
        if hasattr(self.app, "send_tasks"):
            calls: list[tuple[Any, ...]] = [(task, args, {}, options) for _ in range(count)]
            return [result.id for result in self.app.send_tasks(calls)]
        send = self.app.tasks[task].apply_async
        return [send(args, **options).id for _ in range(count)]

    def tally(self) -> Tally:
        """What the ledger says now."""
        return self._tally.read()

    def records(self, ids: Iterable[str]) -> dict[str, dict[str, Any] | None]:
        """The stored results, read straight from the server, or the SQLite file."""
        keys = list(ids)
        if self.backend_url.startswith("sqlite:///"):
            return _records_in(Path(self.backend_url.removeprefix("sqlite:///")), keys)
        with redis.Redis.from_url(self.backend_url) as client:
            found = client.mget([f"celery-task-meta-{key}" for key in keys]) if keys else []
        return {key: json.loads(raw) if raw else None for key, raw in zip(keys, found, strict=True)}

    def open_records(self, ids: Iterable[str]) -> set[str]:
        """Those without a final result."""
        final = ("SUCCESS", "FAILURE")
        return {key for key, record in self.records(ids).items() if record is None or record["status"] not in final}

    def open_tasks(self, ids: Iterable[str]) -> set[str]:
        """Those that neither came to their end nor died with the process that had started them last."""
        tally = self.tally()
        waiting = tally.unfinished(ids)
        return {key for key in waiting if key not in tally.starts or alive(tally.starts[key][-1].pid)}

    def wait_started(self, count: int, timeout: float) -> bool:
        """Wait until `count` tasks have started since the last `send` began; looks often, to be close to the moment."""
        return self._wait_starts(self._before_send + count, timeout)

    def wait_more_starts(self, count: int, timeout: float) -> bool:
        """The same, counted from now."""
        return self._wait_starts(len(self.tally().starts) + count, timeout)

    def _wait_starts(self, target: int, timeout: float) -> bool:
        return bool(poll(lambda: len(self.tally().starts) >= target, timeout, every=0.0005))

    def wait_finished(self, ids: Iterable[str], timeout: float) -> set[str]:
        """Wait until every one came to its last line; those that did not."""
        wanted = set(ids)
        poll(lambda: not self.tally().unfinished(wanted), timeout, every=0.05)
        return self.tally().unfinished(wanted)

    def wait_over(self, ids: Iterable[str], timeout: float, *, spare: int = 0) -> set[str]:
        """Wait until every one ended, or started and died with its process; those that did not.

        Up to `spare` may be gone for good (acknowledged, and killed before their first line): when so few are left,
        waiting ends after the ledger has been quiet for longer than any lease.
        """
        wanted = set(ids)
        enough = self.settings["worker_lease"] + 1.5
        last, since = -1, time.monotonic()
        deadline = since + timeout
        while left := self.open_tasks(wanted):
            now = time.monotonic()
            if self._tally.total != last:
                last, since = self._tally.total, now
            if now > deadline or (len(left) <= spare and now - since > enough):
                break
            time.sleep(0.05)
        return left

    def wait_records(self, ids: Iterable[str], timeout: float) -> set[str]:
        """Wait until every one has a final result; those that have none."""
        wanted = set(ids)
        poll(lambda: not self.open_records(wanted), timeout, every=0.05)
        return self.open_records(wanted)

    def wait_quiet(self, seconds: float, timeout: float = 60) -> None:
        """Wait until the ledger has not grown for so long; a second run of a task shows itself in this time."""
        last, since = self.tally().total, time.monotonic()
        deadline = since + timeout
        while time.monotonic() - since < seconds and time.monotonic() < deadline:
            time.sleep(0.05)
            if (total := self.tally().total) != last:
                last, since = total, time.monotonic()

    def close(self) -> None:
        """Leave no process behind, stopped ones included."""
        for worker in self.workers:
            worker.kill_tree()
        if self._app is not None:
            self._app.close()

    def logs(self) -> str:
        """The end of the last workers' logs."""
        return "\n".join(f"--- {worker.log_file.name}\n{worker.tail(2500)}" for worker in self.workers[-4:])


def _records_in(file: Path, keys: list[str]) -> dict[str, dict[str, Any] | None]:
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(keys)
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        for key in keys:
            name = f"celery-task-meta-{key}".encode()
            rows = connection.execute("SELECT value FROM result WHERE key = ?", (name,)).fetchall()
            found[key] = json.loads(rows[0][0]) if rows else None
    return found


def lost(record: dict[str, Any] | None) -> bool:
    """Whether the stored result says that the process died under the task."""
    return record is not None and record["status"] == "FAILURE" and record["result"]["exc_type"] == "WorkerLostError"


def kill(pids: Sequence[int], rng: random.Random) -> int | None:
    """SIGKILL one of these processes, by chance; which one, None if there was none."""
    if not pids:
        return None
    victim = rng.choice(pids)
    send_signal(victim, signal.SIGKILL)
    return victim
