"""Callbacks and errbacks: `link`, `link_error` and `on_error`."""

import running
from celerylite import Celery

app = Celery("canvas_links")


@app.task
def divide(x, y):
    """Fails for y = 0."""
    return x / y


@app.task
def on_result(value, label):
    """A callback: gets the result before its own arguments."""
    return f"{label} {value}"


@app.task
def on_failure(request, exc, traceback):
    """An errback with three arguments is called in the worker that ran the task."""
    print(f"errback in place: {request.task} failed: {exc!r}")


@app.task(bind=True)
def on_failure_elsewhere(self, task_id):
    """An errback with one argument is a task of its own."""
    print(f"errback as a task: {app.AsyncResult(task_id).state}")


def main():
    with running.redis(), running.worker(app, "-c", "1", show_log=True):
        result = divide.apply_async((10, 4), link=on_result.s("the result is"))
        print("result:", result.get(timeout=20))
        (callback,) = result.children
        print("callback:", callback.get(timeout=20))

        failing = divide.s(1, 0).on_error(on_failure.s()).on_error(on_failure_elsewhere.s())
        print("failing:", repr(failing.delay().get(timeout=20, propagate=False)))
        on_result.delay(1, "last").get(timeout=20)  # after the errback


if __name__ == "__main__":
    main()
