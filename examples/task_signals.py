"""Signals: code that is told what happens, without touching the tasks."""

import time

import running
from celerylite import Celery
from celerylite.signals import (
    after_task_publish,
    before_task_publish,
    task_failure,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_ready,
)

app = Celery("task_signals")
app.conf.worker_redirect_stdouts = False


@app.task(bind=True)
def add(self, x, y):
    """Returns the sum, and the header that the client added."""
    return x + y, self.request.sent_by


@app.task
def broken():
    """Raises."""
    raise KeyError("gone")


@before_task_publish.connect
def add_header(sender=None, headers=None, **kwargs):
    """In the client: every header becomes an attribute of `task.request`."""
    headers["sent_by"] = "the example"


@after_task_publish.connect
def sent(sender=None, headers=None, routing_key=None, **kwargs):
    print(f"after_task_publish: {sender} to {routing_key}")


@worker_ready.connect
def ready(sender=None, **kwargs):
    print(f"worker_ready: {type(sender).__name__}")


@worker_process_init.connect
def open_connections(**kwargs):
    print("worker_process_init: once in each task process, before its first task")


started = {}


@task_prerun.connect
def start_clock(task_id=None, task=None, **kwargs):
    started[task_id] = time.monotonic()


@task_postrun.connect
def stop_clock(task_id=None, task=None, state=None, **kwargs):
    print(f"task_postrun: {task.name} {state} after {time.monotonic() - started.pop(task_id):.3f} s")


@task_failure.connect(sender=broken)
def alarm(sender=None, exception=None, **kwargs):
    print(f"task_failure: {sender.name} raised {exception!r}")


def main():
    with running.redis(), running.worker(app, "-c", "1", show_log=True):
        print("add:", add.delay(2, 3).get(timeout=20))
        broken.delay().get(timeout=20, propagate=False)


if __name__ == "__main__":
    main()
