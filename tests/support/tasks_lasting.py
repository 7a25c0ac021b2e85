"""Support tasks about acknowledgement and time: they reject, die, wait for a gate, run into limits."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

from .task_tools import spin, wait_for_key


def acking_tasks(app: Any, exceptions: Any, ledger: Any) -> None:
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

    @app.task(shared=False, name="t.fail_late", bind=True, acks_late=True, acks_on_failure_or_timeout=False)
    def fail_late(self: Any) -> None:
        ledger.start(self.request.id)
        raise ValueError("not acknowledged")

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


def slow_tasks(app: Any, exceptions: Any, ledger: Any) -> None:
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

    @app.task(shared=False, name="t.own_id", bind=True)
    def own_id(self: Any, gate: str) -> list[str]:
        """What this call is called, before and after others ran beside it."""
        before = self.request.id
        ledger.start(before)
        wait_for_key(self.app, gate)
        return [before, self.request.id, app.current_worker_task.request.id, *self.request.args]

    @app.task(shared=False, name="t.soft", bind=True)
    def soft(self: Any, seconds: float = 30.0) -> str:
        ledger.start(self.request.id)
        try:
            spin(seconds)
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
                spin(0.2)
            except exceptions.SoftTimeLimitExceeded:
                ledger.write("soft", self.request.id)
        return "not killed"

    @app.task(shared=False, name="t.hang", bind=True)
    def hang(self: Any, seconds: float = 30.0) -> str:
        ledger.start(self.request.id)
        time.sleep(seconds)  # one call into C that no Python signal handler may leave unfinished
        return "not killed"

    @app.task(shared=False, name="t.crunch", bind=True)
    def crunch(self: Any) -> str:
        ledger.start(self.request.id)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # no Python, and so no signal handler, for many minutes
        return "not killed"

    @app.task(shared=False, name="t.limited", bind=True, time_limit=1, soft_time_limit=None)
    def limited(self: Any, seconds: float = 30.0) -> str:
        ledger.start(self.request.id)
        spin(seconds)
        return "not killed"

    @app.task(shared=False, name="t.eat")
    def eat(megabytes: int) -> int:
        eat.kept = b"x" * (megabytes << 20)  # kept, so that the process stays big
        return os.getpid()
