"""The app module that test workers load with `-A tests.support.app`, for either library.

Read from the environment: QUEUE_LIB (celery or celerylite), TEST_BROKER, TEST_BACKEND,
TEST_CONF (settings as JSON), TEST_LEDGER (a directory).
`make_app` builds the same app inside a test's process.
"""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

from kombu import Exchange, Queue
from kombu.common import Broadcast

from .ledger import Ledger
from .signal_log import (
    change_settings_on_init,
    configure_logging,
    connect_logging_signals,
    connect_signals,
    take_over_logging,
)
from .tasks_common import define_tasks

#: Task queues with exchanges of their own, for a worker and clients that set `"task_queues": "exchanges"`.
EXCHANGE_QUEUES = [
    Queue("celery", Exchange("celery", type="direct"), routing_key="celery"),
    Queue("q.direct", Exchange("ex.direct", type="direct"), routing_key="straight"),
    Queue("q.topic", Exchange("ex.topic", type="topic"), routing_key="animal.#"),
    Queue("q.star", Exchange("ex.topic", type="topic"), routing_key="*.rabbit"),
]


def make_app(
    lib: str,
    broker: str,
    backend: str | None = None,
    conf: dict[str, Any] | None = None,
    ledger: str | None = None,
) -> Any:
    """An app of library `lib` with all the support tasks."""
    package = importlib.import_module(lib)
    app = package.Celery("support", broker=broker, backend=backend or broker, set_as_current=False)
    settings = dict(conf or {})
    if settings.get("task_queues") == "exchanges":
        settings["task_queues"] = EXCHANGE_QUEUES
    elif settings.get("task_queues") == "broadcast":
        settings["task_queues"] = [Queue("celery"), Broadcast("everybody"), Broadcast("named", queue="shared.name")]
    elif isinstance(settings.get("task_queues"), list) and isinstance(settings["task_queues"][0], str):
        settings["task_queues"] = [Queue(name) for name in settings["task_queues"]]
    app.conf.update(settings)
    define_tasks(app, lib, Ledger(ledger) if ledger else None)
    return app


def _from_environment() -> Any:
    lib = os.environ["QUEUE_LIB"]
    ledger = os.environ.get("TEST_LEDGER")
    app = make_app(
        lib,
        os.environ.get("TEST_BROKER", "memory://"),
        os.environ.get("TEST_BACKEND"),
        json.loads(os.environ.get("TEST_CONF", "{}")),
        ledger,
    )
    groups = [group for group in os.environ.get("TEST_SIGNALS", "").split(",") if group]
    if ledger and "logging" in groups:
        connect_logging_signals(lib, Ledger(ledger))
    if ledger and os.environ.get("TEST_CELERYD_INIT"):
        change_settings_on_init(lib, Ledger(ledger))
    if "configured_logging" in groups:
        configure_logging()
    if "own_logging" in groups:
        take_over_logging(lib)
    if ledger:
        connect_signals(lib, Ledger(ledger), [group for group in groups if "logging" not in group])
    return app


if "QUEUE_LIB" in os.environ:
    app = _from_environment()
