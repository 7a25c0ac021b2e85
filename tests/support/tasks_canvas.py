"""Support tasks for workflows: they write what they were called with, and return a text made of it.

`run` names the workflow, `label` the task in it (see tests/canvas/workflow.py). Names begin with `w.`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from typing import Any

from .errors import StepFailed


def workflow_tasks(app: Any, lib: str, ledger: Any) -> None:
    signature = importlib.import_module(lib).signature

    @app.task(shared=False, name="w.step", bind=True)
    def step(self: Any, *args: Any, run: str, label: str) -> str:
        ledger.write("run", self.request.id, run=run, label=label, args=args)
        return value_of(label, args)

    @app.task(shared=False, name="w.fail", bind=True)
    def fail(self: Any, *args: Any, run: str, label: str) -> None:
        ledger.write("run", self.request.id, run=run, label=label, args=args)
        raise StepFailed(label)

    @app.task(shared=False, name="w.replace", bind=True)
    def replace(self: Any, *args: Any, run: str, label: str, becomes: Any) -> Any:
        ledger.write("run", self.request.id, run=run, label=label, args=args)
        return self.replace(signature(becomes, app=self.app))

    @app.task(shared=False, name="w.errback_new")
    def errback_new(request: Any, exc: BaseException, traceback: Any, run: str, label: str) -> None:
        ledger.write("errback", request.id, run=run, label=label, exc=repr(exc))

    @app.task(shared=False, name="w.errback_old")
    def errback_old(task_id: str, run: str, label: str) -> None:
        ledger.write("errback", task_id, run=run, label=label)


def value_of(label: str, args: Any) -> str:
    """What a task returns: short however long the way to it, and different for different arguments."""
    digest = hashlib.sha1(json.dumps(args, sort_keys=True).encode()).hexdigest()[:8]
    return f"{label}#{digest}"
