"""One call, a copy for every worker: `Broadcast`.

Every worker that is there when the call is made runs it once. The client has the same `task_queues`, to know that
the queue is a broadcast; results are ignored, because all copies have one task id.
"""

import os
import tempfile
import time
from pathlib import Path

from kombu import Queue
from kombu.common import Broadcast

import running
from celerylite import Celery

app = Celery("broadcast")
app.conf.task_queues = (Queue("celery"), Broadcast("everybody"))
app.conf.task_routes = {"broadcast.reload_cache": {"queue": "everybody"}}


@app.task(bind=True, ignore_result=True)
def reload_cache(self, directory):
    """Leaves a file with the worker's name."""
    (Path(directory) / self.request.hostname.partition("@")[0]).touch()


def main():
    with (
        running.redis(),
        tempfile.TemporaryDirectory() as directory,
        running.worker(app, "-c", "2", "-n", "ann@%h"),
        running.worker(app, "-c", "2", "-n", "bob@%h"),
    ):
        reload_cache.delay(directory)
        deadline = time.monotonic() + 20
        while len(os.listdir(directory)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        print("reloaded by:", ", ".join(sorted(os.listdir(directory))))


if __name__ == "__main__":
    main()
