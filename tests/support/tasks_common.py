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

from .ledger import Ledger
from .task_tools import NoLedger, request_fields, wait_for_key
from .tasks_canvas import workflow_tasks
from .tasks_endings import badly_hooked_tasks, failing_tasks, hooked_tasks, retrying_tasks
from .tasks_lasting import acking_tasks, slow_tasks


def define_tasks(app: Any, lib: str, ledger: Ledger | None = None) -> None:
    """Register all support tasks on `app`."""
    exceptions = importlib.import_module(f"{lib}.exceptions")
    _plain_tasks(app)
    _seeing_tasks(app, lib)
    failing_tasks(app, exceptions, ledger or NoLedger())
    retrying_tasks(app, lib, ledger or NoLedger())
    acking_tasks(app, exceptions, ledger or NoLedger())
    slow_tasks(app, exceptions, ledger or NoLedger())
    badly_hooked_tasks(app)
    hooked_tasks(app, ledger or NoLedger())
    workflow_tasks(app, lib, ledger or NoLedger())


def _plain_tasks(app: Any) -> None:
    """Tasks that return what they were given, more or less."""

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


def _seeing_tasks(app: Any, lib: str) -> None:
    """Tasks that say what they see: their process, request, log."""

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

    @app.task(shared=False, name="t.tell", bind=True)
    def tell(self: Any, type_: str, **fields: Any) -> None:
        self.send_event(type_, **fields)

    @app.task(shared=False, name="t.progress", bind=True)
    def progress(self: Any, wait_key: str | None = None) -> str:
        self.update_state(state="PROGRESS", meta={"done": 3, "of": 4})
        if wait_key:
            wait_for_key(self.app, wait_key)
        return "end"

    @app.task(shared=False, name="t.parent", bind=True)
    def parent(self: Any, names: list[str]) -> list[str]:
        return [self.app.tasks["t.same"].delay(name).id for name in names]

    @app.task(shared=False, name="t.waits_for_other", bind=True)
    def waits_for_other(self: Any, queue: str, allowed: bool = True) -> Any:
        result = self.app.tasks["t.add"].apply_async((2, 3), queue=queue)
        return result.get(timeout=10, disable_sync_subtasks=not allowed)

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
