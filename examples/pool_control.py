"""A worker that is steered while it runs: its pool grows with the load, a queue is added, a running task is ended."""

import time

import running
from celerylite import Celery
from celerylite.exceptions import TaskRevokedError

app = Celery("pool_control")


@app.task
def work(seconds):
    """Takes its time."""
    time.sleep(seconds)
    return "done"


def until(question):
    """Ask until the answer is yes."""
    while not question():
        time.sleep(0.05)


def stats():
    """What the one worker tells of itself."""
    return next(iter(app.control.inspect(limit=1).stats().values()))


def main():
    with running.redis(), running.worker(app, "--autoscale=4,1"):
        print("at first:", stats()["autoscaler"]["current"])
        results = [work.delay(1) for _ in range(4)]
        until(lambda: stats()["autoscaler"]["current"] == 4)
        print("with four tasks:", stats()["autoscaler"]["current"], [result.get(timeout=20) for result in results])

        app.control.add_consumer("urgent", reply=True)
        print("from another queue:", work.apply_async((0,), queue="urgent").get(timeout=20))

        endless = work.delay(3600)
        until(lambda: any(app.control.inspect(limit=1).active().values()))
        app.control.revoke(endless.id, terminate=True)
        try:
            endless.get(timeout=20)
        except TaskRevokedError as exc:
            print("ended:", exc)


if __name__ == "__main__":
    main()
