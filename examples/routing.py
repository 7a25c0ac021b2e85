"""Which queue a task goes to, which queues a worker serves, and priorities inside a queue.

On Redis, as with Celery, 0 is the highest priority and 9 the lowest, in four steps: 0, 3, 6, 9.
"""

import time

import running
from celerylite import Celery

app = Celery("routing")
app.conf.task_routes = {"routing.resize": {"queue": "images"}}


@app.task
def resize(name):
    """Goes to the queue `images`, by `task_routes`."""
    return f"{name} resized"


@app.task
def report(name):
    """Goes to the default queue, or where the caller says."""
    return name, time.time()


def main():
    with running.redis():
        waiting = [
            report.apply_async((f"priority {priority}",), priority=priority) for priority in (9, 3, 0, 6)
        ]
        with running.worker(app, "-Q", "celery", "-c", "1", "-n", "default@%h"):
            ran = sorted((result.get(timeout=20) for result in waiting), key=lambda pair: pair[1])
            print("order:", ", ".join(name for name, _ in ran))
        with running.worker(app, "-Q", "images,reports", "-c", "1", "-n", "images@%h"):
            print("by task_routes:", resize.delay("cat.png").get(timeout=20))
            print("by the caller:", report.apply_async(("monthly",), queue="reports").get(timeout=20)[0])


if __name__ == "__main__":
    main()
