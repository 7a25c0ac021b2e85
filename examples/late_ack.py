"""Late acknowledgement: the message is done with after the task, so a task whose process dies runs again.

Such a task may run twice; write it so that this does no harm. One that kills every worker is set aside
after `worker_delivery_limit` deliveries.
"""

import os
import signal

import running
from celerylite import Celery

app = Celery("late_ack")


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def dies_once(self):
    """The first time, its process is killed, as the kernel does when memory runs out."""
    if not self.request.delivery_info["redelivered"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return "ran again and finished"


def main():
    with running.redis(), running.worker(app, "-c", "1"):
        print("dies_once:", dies_once.delay().get(timeout=20))


if __name__ == "__main__":
    main()
