"""A task that can be asked to stop: it looks now and then, and ends as it sees fit."""

import time

import running
from celerylite import Celery
from celerylite.contrib.abortable import AbortableTask

app = Celery("abortable")


@app.task(bind=True, base=AbortableTask, track_started=True)
def count(self, up_to):
    """Counts slowly, and says how far it came."""
    for number in range(up_to):
        if self.is_aborted():  # a trip to the result store: not in each round of a tight loop
            return f"stopped before {up_to}: {number < up_to}"
        time.sleep(0.05)
    return f"counted to {up_to}"


def main():
    with running.redis(), running.worker(app, "-c", "1"):
        result = count.delay(1000)
        while result.state != "STARTED":
            time.sleep(0.05)
        result.abort()
        print("asked:", result.get(timeout=20))
        print("not asked:", count.delay(2).get(timeout=20))


if __name__ == "__main__":
    main()
