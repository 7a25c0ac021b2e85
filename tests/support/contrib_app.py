"""The support app (`-A tests.support.contrib_app`) with tasks that can be asked to stop, or stop for a debugger."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from tests.support.app import app
from tests.support.ledger import Ledger
from tests.support.task_tools import wait_for_key

LIB = os.environ["QUEUE_LIB"]
abortable = importlib.import_module(f"{LIB}.contrib.abortable")
rdb = importlib.import_module(f"{LIB}.contrib.rdb")
ledger = Ledger(os.environ["TEST_LEDGER"])


@app.task(bind=True, base=abortable.AbortableTask, name="c.patient")
def patient(self: Any, gate: str, seconds: float = 60.0) -> str:
    """Work until somebody asks it to stop; end when the gate opens."""
    ledger.start(self.request.id)
    deadline = time.monotonic() + seconds
    while not self.is_aborted():
        if time.monotonic() > deadline:
            return "nobody asked"
        time.sleep(0.02)
    ledger.write("heard", self.request.id)
    wait_for_key(self.app, gate)
    return "asked to stop"


@app.task(name="c.debugged")
def debugged(number: int) -> int:
    """Stop for whoever connects, who may change the number."""
    rdb.set_trace()
    return number
