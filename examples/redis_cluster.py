"""Redis Cluster: two queues on different nodes, a chord over both, a delay.

    CELERY_BROKER_URL=redis+cluster://host1:6379,host2:6379/ python examples/redis_cluster.py
"""

import os
import time

import running
from celerylite import Celery, chord

URL = os.environ.get("CELERY_BROKER_URL", "redis+cluster://localhost:6379/")
app = Celery("redis_cluster", broker=URL, backend=URL)
app.conf.task_routes = {"redis_cluster.resize": {"queue": "images"}}


@app.task
def resize(name):
    return f"{name} resized"


@app.task
def report(names):
    return ", ".join(sorted(names))


def main():
    with running.worker(app, "-c", "2", "-Q", "celery,images"):
        print("chord:", chord(resize.s(f"{name}.png") for name in ("cat", "dog"))(report.s()).get(timeout=20))
        began = time.time()
        resize.apply_async(("late.png",), countdown=1).get(timeout=20)
        print(f"delay: {time.time() - began:.1f} s, waited in the node that has the queue")
        waiting = {stats.queue: stats.waiting for stats in app.broker.queue_stats(["celery", "images"])}
        print("left in the queues:", waiting)


if __name__ == "__main__":
    main()
