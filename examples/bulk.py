"""Many calls at once: `app.send_tasks` sends them in one trip to the broker. Celery does not have this."""

import time

import running
from celerylite import Celery

app = Celery("bulk")
COUNT = 2000


@app.task
def square(number):
    """The square."""
    return number * number


def main():
    with running.redis(), running.worker(app, "-c", "2"):
        square.delay(0).get(timeout=20)
        started = time.perf_counter()
        for number in range(COUNT):
            square.apply_async((number,), ignore_result=True)
        one_by_one = time.perf_counter() - started

        started = time.perf_counter()
        results = app.send_tasks((square, (number,)) for number in range(COUNT))
        bulk = time.perf_counter() - started
        print(f"{COUNT} calls one by one took {one_by_one:.2f} s, in bulk {bulk:.2f} s")
        print("sum:", sum(result.get(timeout=60) for result in results))


if __name__ == "__main__":
    main()
