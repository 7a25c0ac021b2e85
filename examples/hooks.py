"""The hooks of a task class, in the order in which they run (a retry has no `after_return`, as in Celery).

What they print stands in the worker's log.
"""

import running
from celerylite import Celery, Task

app = Celery("hooks")
app.conf.worker_redirect_stdouts = False


class Told(Task):
    """Tells what happens to it."""

    def before_start(self, task_id, args, kwargs):
        print(f"before_start {self.name} {args}")

    def on_success(self, retval, task_id, args, kwargs):
        print(f"on_success {self.name} -> {retval}")

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        print(f"on_retry {self.name}: {exc}")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        print(f"on_failure {self.name}: {exc}")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        print(f"after_return {self.name} {status}")


@app.task(base=Told)
def divide(x, y):
    """Fails for y=0."""
    return x / y


@app.task(base=Told, bind=True)
def second_try(self):
    """Succeeds at the second attempt."""
    if not self.request.retries:
        raise self.retry(exc=ValueError("not yet"), countdown=0.1)
    return "now"


def main():
    with running.redis(), running.worker(app, "-c", "1", show_log=True):
        print("divide(6, 3):", divide.delay(6, 3).get(timeout=20))
        failed = divide.delay(1, 0)
        failed.get(timeout=20, propagate=False)
        print("divide(1, 0):", failed.state, type(failed.result).__name__)
        print("second_try():", second_try.delay().get(timeout=20))


if __name__ == "__main__":
    main()
