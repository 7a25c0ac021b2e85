"""What the process of `worker -B` does: beat, until the worker's parent says stop or is gone."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from celerylite.beat import Service
from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.log import get_logger

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.worker.children import Line

logger = get_logger("celery.beat")


def run_beat_child(app: Celery, hostname: str, schedule_filename: str | None, scheduler: Any, line: Line) -> int:
    """Tick until SIGTERM, SIGINT or the end of the line to the parent; returns the exit status."""
    app.log.setup_process(hostname=hostname)
    service = Service(app, schedule_filename=schedule_filename, scheduler_cls=scheduler, remote_control=False)

    def follow_parent() -> None:
        while line.receive() is not None:
            pass  # it has nothing to say but goodbye
        service.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, service.interrupt)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=follow_parent, name="parent", daemon=True).start()
    try:
        service.start(embedded_process=True)
    except ImproperlyConfigured as exc:
        # Starting anew would not help, and the worker's tasks go on.
        logger.critical("beat: Nothing is sent until the worker is started anew: %s", exc, extra={"action": "no_beat"})
        service.sleep()
    return 0
