"""The tasks that test workers run, written once for both libraries. Their names begin with `t.`.

What they do is seen in their results and, where a ledger is given, in the ledger.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import time
from typing import Any

from .errors import Broken, Expected, Odd, Unprintable
from .ledger import Ledger


def define_tasks(app: Any, lib: str, ledger: Ledger | None = None) -> None:
    """Register all support tasks on `app`."""
    exceptions = importlib.import_module(f"{lib}.exceptions")
    _plain_tasks(app, lib)
    _failing_tasks(app, exceptions, ledger or _NoLedger())
    _retrying_tasks(app, lib, ledger or _NoLedger())
    _acking_tasks(app, exceptions, ledger or _NoLedger())
    _slow_tasks(app, exceptions, ledger or _NoLedger())
    _hooked_tasks(app, ledger or _NoLedger())


class _NoLedger:
    """In a client's process nothing runs, so nothing is written."""

    def write(self, name: str, key: str = "", /, **data: Any) -> None:
        raise AssertionError("tasks that write need TEST_LEDGER")

    start = finish = write


def _plain_tasks(app: Any, lib: str) -> None:
    @app.task(shared=False, name="t.add")
    def add(x: Any, y: Any = 0) -> Any:
        return x + y

    @app.task(shared=False, name="t.echo")
    def echo(*args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    @app.task(shared=False, name="t.same")
    def same(value: Any) -> Any:
        return value

    @app.task(shared=False, name="t.size")
    def size(value: Any) -> int:
        return len(value)

    @app.task(shared=False, name="t.noop", ignore_result=True)
    def noop(*args: Any, **kwargs: Any) -> None:
        return None

    @app.task(shared=False, name="t.who", bind=True)
    def who(self: Any) -> dict[str, Any]:
        return {
            "lib": lib,
            "pid": os.getpid(),
            "host": self.request.hostname,
            "thread": threading.get_ident(),
        }

    @app.task(shared=False, name="t.now")
    def now() -> float:
        return time.time()

    @app.task(shared=False, name="t.request", bind=True)
    def request(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return request_fields(self.request)

    @app.task(shared=False, name="t.header", bind=True)
    def header(self: Any, name: str) -> Any:
        return getattr(self.request, name, "no such header")

    @app.task(shared=False, name="t.progress", bind=True)
    def progress(self: Any, wait_key: str | None = None) -> str:
        self.update_state(state="PROGRESS", meta={"done": 3, "of": 4})
        if wait_key:
            wait_for_key(self.app, wait_key)
        return "end"

    @app.task(shared=False, name="t.parent", bind=True)
    def parent(self: Any, names: list[str]) -> list[str]:
        return [self.app.tasks["t.same"].delay(name).id for name in names]

    @app.task(shared=False, name="t.unencodable")
    def unencodable() -> Any:
        return threading.Lock()

    @app.task(shared=False, name="t.big")
    def big(length: int) -> str:
        return "x" * length

    @app.task(shared=False, name="t.print")
    def print_(out: str, err: str) -> None:
        print(out)
        print(err, file=sys.stderr)

    @app.task(shared=False, name="t.orphan")
    def orphan() -> str:
        """Leave a grandchild behind, which becomes a child of process 1 when its parent ends."""
        subprocess.run(["sh", "-c", "sleep 0.2 &"], check=True)
        return "left alone"

    @app.task(shared=False, name="t.log")
    def log(words: str) -> None:
        importlib.import_module(f"{lib}.utils.log").get_task_logger("support.tasks").info(words)


REQUEST_FIELDS = (
    "id",
    "args",
    "kwargs",
    "root_id",
    "parent_id",
    "group",
    "group_index",
    "correlation_id",
    "reply_to",
    "origin",
    "delivery_info",
    "eta",
    "expires",
    "retries",
    "timelimit",
    "shadow",
    "ignore_result",
    "is_eager",
    "called_directly",
    "hostname",
    "callbacks",
    "errbacks",
    "chain",
    "chord",
    "utc",
    "taskset",
    "replaced_task_nesting",
    "stamps",
    "stamped_headers",
    "headers",
    "properties",
    "argsrepr",
    "kwargsrepr",
    "lang",
    "task",
    "loglevel",
    "logfile",
)


def request_fields(request: Any) -> dict[str, Any]:
    """What a running task sees of itself."""
    return {name: getattr(request, name, "—") for name in REQUEST_FIELDS}


def wait_for_key(app: Any, key: str, timeout: float = 30.0) -> None:
    """Block until somebody pushes to the Redis list `key`, so that a test decides when a task goes on."""
    import redis  # here, because the client that sends needs none of it

    with redis.Redis.from_url(os.environ["TEST_BROKER"], socket_timeout=timeout + 5) as client:
        if client.blpop([key], timeout=timeout) is None:
            raise AssertionError(f"nobody opened {key}")


def _failing_tasks(app: Any, exceptions: Any, ledger: Any) -> None:
    @app.task(shared=False, name="t.fail")
    def fail(kind: str, *args: Any) -> None:
        classes = {
            "Broken": Broken,
            "Odd": Odd,
            "Unprintable": Unprintable,
            "ValueError": ValueError,
            "KeyError": KeyError,
            "MemoryError": MemoryError,
            "SystemExit": SystemExit,
            "KeyboardInterrupt": KeyboardInterrupt,
            "GeneratorExit": GeneratorExit,
        }
        raise (classes.get(kind) or getattr(exceptions, kind))(*args)

    @app.task(shared=False, name="t.fail_local")
    def fail_local(words: str) -> None:
        class Local(Exception):
            """Nobody else can import it."""

        Local.__module__ = "a.module.that.is.nowhere"
        raise Local(words)

    @app.task(shared=False, name="t.fail_there")
    def fail_there(words: str) -> None:
        from .errors_there import There  # here, because a client that imports these tasks must not know it

        raise There(words)

    @app.task(shared=False, name="t.fail_cause")
    def fail_cause() -> None:
        try:
            raise KeyError("first")
        except KeyError as exc:
            raise ValueError("second") from exc

    @app.task(shared=False, name="t.throws", throws=(Expected,))
    def throws() -> None:
        raise Expected("as foreseen")

    @app.task(shared=False, name="t.deep")
    def deep(depth: int = 10_000_000) -> int:
        return deep(depth - 1)

    @app.task(shared=False, name="t.errback")
    def errback(request: Any, exc: BaseException, traceback: Any) -> None:
        ledger.write("errback", request.id, exc=repr(exc), traceback=str(traceback))

    @app.task(shared=False, name="t.quiet_fail", ignore_result=True, store_errors_even_if_ignored=True)
    def quiet_fail() -> None:
        raise ValueError("kept")


def _retrying_tasks(app: Any, lib: str, ledger: Any) -> None:
    @app.task(shared=False, name="t.flaky", bind=True, max_retries=5)
    def flaky(self: Any, times: int, countdown: float = 0.05) -> list[Any]:
        if self.request.retries < times:
            raise self.retry(countdown=countdown)
        return [self.request.retries, self.request.root_id, self.request.id, time.time()]

    @app.task(shared=False, name="t.hop", bind=True, max_retries=10)
    def hop(self: Any, path: list[str], queues: list[str], **kwargs: Any) -> dict[str, Any]:
        path = [*path, lib]
        if queues:
            raise self.retry(args=[path, queues[1:]], kwargs=kwargs, queue=queues[0], countdown=0)
        return {"path": path, "retries": self.request.retries, "kwargs": kwargs, "id": self.request.id}

    @app.task(shared=False, name="t.retry_request", bind=True)
    def retry_request(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not self.request.retries:
            raise self.retry(countdown=0.1)
        return request_fields(self.request)

    @app.task(shared=False, name="t.mark", bind=True)
    def mark(self: Any, marker: str) -> str:
        ledger.start(str(self.request.id), marker=marker)
        return marker

    @app.task(shared=False, name="t.hopeless", bind=True, max_retries=1, default_retry_delay=0)
    def hopeless(self: Any, with_exc: bool = True) -> None:
        if with_exc:
            raise self.retry(exc=Broken(7, "still"), countdown=0)
        raise self.retry(countdown=0)

    @app.task(
        shared=False,
        name="t.auto",
        bind=True,
        autoretry_for=(KeyError,),
        max_retries=3,
        default_retry_delay=0,
    )
    def auto(self: Any, times: int) -> int:
        if self.request.retries < times:
            raise KeyError("again")
        return self.request.retries

    @app.task(
        shared=False,
        name="t.backoff",
        bind=True,
        autoretry_for=(KeyError,),
        retry_backoff=1,
        retry_jitter=False,
        max_retries=2,
    )
    def backoff(self: Any, times: list[float]) -> list[float]:
        times.append(time.time())
        if len(times) < 3:
            raise self.retry(exc=KeyError("again"), args=[times], countdown=len(times) * 0.3)
        return times

    @app.task(shared=False, name="t.waits_retry", bind=True, max_retries=3)
    def waits_retry(self: Any, countdown: float) -> list[float]:
        sent_at = float(self.request.get("sent_at") or 0)
        if not self.request.retries:
            raise self.retry(countdown=countdown, exc=Broken(1, "later"), headers={"sent_at": time.time()})
        return [sent_at, time.time()]


def _acking_tasks(app: Any, exceptions: Any, ledger: Any) -> None:
    @app.task(shared=False, name="t.ignore", bind=True)
    def ignore(self: Any) -> None:
        ledger.start(self.request.id)
        raise exceptions.Ignore()

    @app.task(shared=False, name="t.reject", bind=True, acks_late=True)
    def reject(self: Any, requeue: bool, times: int = 1) -> str:
        ledger.start(self.request.id, redelivered=bool((self.request.delivery_info or {}).get("redelivered")))
        if ledger.count("start", self.request.id) <= times:
            raise exceptions.Reject("not me", requeue=requeue)
        return "done"

    @app.task(shared=False, name="t.die", bind=True)
    def die(self: Any, times: int = 1, how: str = "kill") -> str:
        return _die(self, times, how)

    @app.task(shared=False, name="t.die_late", bind=True, acks_late=True)
    def die_late(self: Any, times: int = 1, how: str = "kill") -> str:
        return _die(self, times, how)

    @app.task(shared=False, name="t.die_late_reject", bind=True, acks_late=True, reject_on_worker_lost=True)
    def die_late_reject(self: Any, times: int = 1, how: str = "kill") -> str:
        return _die(self, times, how)

    def _die(self: Any, times: int, how: str) -> str:
        redelivered = (self.request.delivery_info or {}).get("redelivered")
        ledger.start(self.request.id, redelivered=bool(redelivered), retries=self.request.retries)
        if ledger.count("start", self.request.id) <= times:
            if how == "exit":
                os._exit(3)
            os.kill(os.getpid(), {"kill": 9, "segv": 11, "abort": 6, "term": 15}[how])
            time.sleep(30)
        ledger.finish(self.request.id)
        return "survived"


def _slow_tasks(app: Any, exceptions: Any, ledger: Any) -> None:
    def work(self: Any, gate: str | None, seconds: float) -> str:
        ledger.start(self.request.id, redelivered=bool((self.request.delivery_info or {}).get("redelivered")))
        if gate:
            wait_for_key(self.app, gate)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.01)
        ledger.finish(self.request.id)
        return "worked"

    @app.task(shared=False, name="t.work", bind=True)
    def work_early(self: Any, gate: str | None = None, seconds: float = 0.0) -> str:
        return work(self, gate, seconds)

    @app.task(shared=False, name="t.work_late", bind=True, acks_late=True)
    def work_late(self: Any, gate: str | None = None, seconds: float = 0.0) -> str:
        return work(self, gate, seconds)

    @app.task(shared=False, name="t.work_tracked", bind=True, track_started=True)
    def work_tracked(self: Any, gate: str | None = None, seconds: float = 0.0) -> str:
        return work(self, gate, seconds)

    @app.task(shared=False, name="t.soft", bind=True)
    def soft(self: Any, seconds: float = 30.0) -> str:
        ledger.start(self.request.id)
        try:
            _spin(seconds)
        except exceptions.SoftTimeLimitExceeded as exc:
            ledger.write("soft", self.request.id)
            return f"cleaned up after {exc!r}"
        return "not interrupted"

    @app.task(shared=False, name="t.stubborn", bind=True)
    def stubborn(self: Any, seconds: float = 30.0) -> str:
        ledger.start(self.request.id)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                _spin(0.2)
            except exceptions.SoftTimeLimitExceeded:
                ledger.write("soft", self.request.id)
        return "not killed"

    @app.task(shared=False, name="t.hang", bind=True)
    def hang(self: Any, seconds: float = 30.0) -> str:
        ledger.start(self.request.id)
        time.sleep(seconds)  # one call into C that no Python signal handler may leave unfinished
        return "not killed"

    @app.task(shared=False, name="t.limited", bind=True, time_limit=1, soft_time_limit=None)
    def limited(self: Any, seconds: float = 30.0) -> str:
        ledger.start(self.request.id)
        _spin(seconds)
        return "not killed"

    @app.task(shared=False, name="t.eat")
    def eat(megabytes: int) -> int:
        eat.kept = b"x" * (megabytes << 20)  # kept, so that the process stays big
        return os.getpid()


def _spin(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)


def _hooked_tasks(app: Any, ledger: Any) -> None:
    class Hooked(app.Task):  # type: ignore[name-defined, misc]
        """Writes each hook into the ledger."""

        abstract = True

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            ledger.write("before_start", task_id, args=list(args), kwargs=kwargs)

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            ledger.write("on_success", task_id, retval=retval)

        def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            ledger.write("on_failure", task_id, exc=repr(exc), einfo=str(einfo)[:30])

        def on_retry(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            ledger.write("on_retry", task_id, exc=repr(exc))

        def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            ledger.write("after_return", task_id, status=status)

    @app.task(shared=False, name="t.hooked", bind=True, base=Hooked, max_retries=2)
    def hooked(self: Any, how: str) -> str:
        ledger.write("run", self.request.id)
        if how == "retry" and not self.request.retries:
            raise self.retry(exc=KeyError("once"), countdown=0)
        if how == "fail":
            raise ValueError("boom")
        return "fine"
