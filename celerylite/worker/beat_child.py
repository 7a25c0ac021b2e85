"""What the process of `worker -B` does: beat, until the worker's parent says stop or is gone."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from celerylite.beat import Service

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.worker.children import Line


def run_beat_child(app: Celery, hostname: str, schedule_filename: str | None, scheduler: Any, line: Line) -> int:
    """Tick until SIGTERM, SIGINT or the end of the line to the parent; returns the exit status."""
    app.log.setup_process(hostname=hostname)
    service = Service(app, schedule_filename=schedule_filename, scheduler_cls=scheduler, remote_control=False)

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit()

    def follow_parent() -> None:
        while line.receive() is not None:
            pass  # it has nothing to say but goodbye
        service.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, stop)
    threading.Thread(target=follow_parent, name="parent", daemon=True).start()
    service.start(embedded_process=True)
    return 0
