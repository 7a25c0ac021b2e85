"""Support tasks that fail, retry, or watch their own end through hooks."""

from __future__ import annotations

import time
from typing import Any

from .errors import Broken, Expected, Odd, Unprintable
from .task_tools import request_fields


def failing_tasks(app: Any, exceptions: Any, ledger: Any) -> None:
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


def retrying_tasks(app: Any, lib: str, ledger: Any) -> None:
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


def badly_hooked_tasks(app: Any) -> None:
    def raising(name: str) -> Any:
        def hook(self: Any, *args: Any) -> None:
            raise RuntimeError(f"bad {name}")

        return type(f"Bad_{name}", (app.Task,), {name: hook, "abstract": True})

    for name in ("before_start", "on_success", "on_failure", "on_retry", "after_return"):

        @app.task(shared=False, name=f"t.bad_{name}", bind=True, base=raising(name), max_retries=1)
        def badly_hooked(self: Any, how: str) -> str:
            if how == "retry" and not self.request.retries:
                raise self.retry(countdown=0)
            if how == "fail":
                raise ValueError("boom")
            return "fine"


def hooked_tasks(app: Any, ledger: Any) -> None:
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
