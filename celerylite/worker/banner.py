"""What a worker prints when it starts: its settings, queues and tasks, with passwords masked."""

from __future__ import annotations

import logging
import platform
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import celerylite
from celerylite import brokers

if TYPE_CHECKING:
    from celerylite.worker import WorkController

#: Stands to the left of the text.
ART = (
    r"",
    r"        ____",
    r"       /   /",
    r"      /   /",
    r"     /   /__",
    r"    /__    /",
    r"      /   /",
    r"     /  /",
    r"    / /",
    r"   //",
)
WIDTH = 16
#: Behind the URL of the broker that is used where none is configured.
DEFAULT = " (no broker_url is set)"
MARGIN = " " * WIDTH


def banner(worker: WorkController) -> str:
    """The text that is printed before the worker connects."""
    app = worker.app
    text = [
        "",
        f"{worker.hostname} v{celerylite.VERSION_BANNER}",
        "",
        f"{platform.platform()} {datetime.now():%Y-%m-%d %H:%M:%S}",
        "",
        "[config]",
        _entry("app", f"{app.main or '__main__'}:{id(app):#x}"),
        _entry("transport", brokers.as_uri(app.connection_for_read()) + (DEFAULT if app.without_broker else "")),
        _entry("results", app.backend.as_uri()),
        _entry("concurrency", f"{_concurrency(worker)} ({worker.pool_cls})"),
        _entry("task events", "ON" if worker.task_events else "OFF (enable -E to monitor tasks in this worker)"),
        "",
        "[queues]",
        *(line.strip() for line in app.amqp.queues.format(indent=0, indent_first=False).splitlines()),
    ]
    lines = (f"{art:<{WIDTH}}{line}".rstrip() for art, line in zip_longest(ART, text, fillvalue=""))
    return "\n".join(lines) + "\n"


def extra_info(worker: WorkController) -> str:
    """The tasks, for log level INFO and lower (`celery.…` ones for DEBUG only); empty otherwise."""
    level = worker.loglevel
    if not isinstance(level, int) or level > logging.INFO:
        return ""
    names = sorted(name for name in worker.app.tasks if level <= logging.DEBUG or not name.startswith("celery."))
    return "\n".join(["[tasks]", *(f"  . {name}" for name in names)]) + "\n"


def _concurrency(worker: WorkController) -> str:
    if worker.autoscale is None:
        return str(worker.concurrency)
    most, fewest = worker.autoscale
    return f"{{min={fewest}, max={most}}}"


def _entry(name: str, value: Any) -> str:
    return f".> {name + ':':<12} {value}"
