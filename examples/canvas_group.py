"""Groups: tasks that run at the same time, and their results together."""

import running
from celerylite import Celery, group
from celerylite.result import GroupResult

app = Celery("canvas_group")


@app.task
def square(number):
    """The square."""
    return number * number


@app.task
def odd_only(number):
    """Fails for even numbers."""
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def main():
    with running.redis(), running.worker(app, "-c", "2"):
        result = group(square.s(number) for number in range(1000)).delay()  # sent in one trip
        print("sum of squares:", sum(result.get(timeout=60)))
        print("completed:", result.completed_count(), "of", len(result))

        # The group can be found again by its id.
        result.save()
        print("restored:", GroupResult.restore(result.id, app=app).get()[:4])
        result.delete()

        result = group(odd_only.s(number) for number in (1, 2, 3)).delay()
        print("with errors:", result.get(timeout=20, propagate=False))
        print("failed:", result.failed())


if __name__ == "__main__":
    main()
