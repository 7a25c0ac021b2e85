"""The tasks of `celerylite demo`; its worker imports them, the URLs come from the environment."""

from __future__ import annotations

import time
from typing import Any

from celerylite import Celery

app = Celery("demo")
app.conf.update(worker_hijack_root_logger=False, result_expires=300)


@app.task(name="demo.add")
def add(x: int, y: int) -> int:
    """The sum."""
    return x + y


@app.task(name="demo.flaky", bind=True, max_retries=3)
def flaky(self: Any) -> str:
    """Fails twice, then succeeds."""
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("the service is away"), countdown=0.25)
    return f"done at attempt {self.request.retries + 1}"


@app.task(name="demo.clock")
def clock() -> float:
    """The time at which it ran."""
    return time.time()


@app.task(name="demo.broken")
def broken() -> None:
    """Raises."""
    raise ValueError("this task is broken on purpose")
