"""A project with a schedule, for beats in processes of their own, of either library.

TEST_BROKER is the URL of broker and results, TEST_SCHEDULE the entries as JSON, TEST_CONF more settings.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.worker import OURS, WorkerProcess

MODULE = "tests.support.beat_project"


def make_app(library: str, url: str, schedule: dict[str, Any], conf: dict[str, Any] | None = None) -> Any:
    """The app, of one of the two libraries."""
    app = import_module(library).Celery("beat_project", broker=url, backend=url, set_as_current=False)
    app.conf.update(conf or {})
    app.conf.beat_schedule = schedule
    app.task(name="beat.echo")(echo)
    return app


def echo(value: Any = None) -> Any:
    """What the entries call."""
    return value


def entry(seconds: float, **fields: Any) -> dict[str, Any]:
    """An entry that calls `echo`."""
    return {"task": "beat.echo", "schedule": seconds, **fields}


def beat_process(
    directory: Path, url: str, schedule: dict[str, Any], *args: str, library: str = OURS, name: str = "beat",
    command: str = "beat", conf: dict[str, Any] | None = None, env: dict[str, str] | None = None,
) -> WorkerProcess:  # fmt: skip
    """`celerylite beat`, or another command of either library with this project; not started yet."""
    environment = {"TEST_BROKER": url, "TEST_SCHEDULE": json.dumps(schedule), "TEST_CONF": json.dumps(conf or {})}
    argv = [sys.executable, "-m", library, "-A", f"{MODULE}:app", command, *args]
    return WorkerProcess(
        None, program=library, argv=argv, env={**environment, **(env or {})}, log_file=directory / f"{name}.log"
    )


if "TEST_SCHEDULE" in os.environ:
    app = make_app(
        os.environ.get("QUEUE_LIB", OURS),
        os.environ["TEST_BROKER"],
        json.loads(os.environ["TEST_SCHEDULE"]),
        json.loads(os.environ.get("TEST_CONF") or "{}"),
    )
