"""Calls that are taken back: by id, in a group, by a stamp; before a worker was there, and while one runs them."""

import time

import running
from celerylite import Celery, group
from celerylite.exceptions import TaskRevokedError

app = Celery("revoke")


@app.task
def greet(name):
    """Says hello."""
    return f"hello {name}"


@app.task
def sleep(seconds):
    """Takes its time."""
    time.sleep(seconds)


def main():
    with running.redis():
        # No worker lives that could hear of it. The broker remembers, so the worker that comes later does.
        one = greet.delay("Ann")
        one.revoke()
        several = group(greet.s("Bob"), greet.s("Cid")).apply_async()
        several.revoke()
        stamped = greet.apply_async(("Dan",), headers={"stamped_headers": ["tenant"], "stamps": {"tenant": "acme"}})
        app.control.revoke_by_stamped_headers({"tenant": ["acme"]})
        kept = greet.delay("Eve")

        with running.worker(app, "-c", "1"):
            print("kept:", kept.get(timeout=20))
            for result in (one, *several, stamped):
                try:
                    result.get(timeout=20)
                except TaskRevokedError:
                    print("not run:", result.state)
            running_now = sleep.delay(60)
            while not app.control.inspect(timeout=1, limit=1).active():
                time.sleep(0.1)
            running_now.revoke(terminate=True)
            try:
                running_now.get(timeout=20)
            except TaskRevokedError as exc:
                print("ended:", exc)


if __name__ == "__main__":
    main()
