"""One task over many arguments: `map`, `starmap` and `chunks`."""

import running
from celerylite import Celery

app = Celery("canvas_map_chunks")


@app.task
def double(number):
    """Twice as much."""
    return 2 * number


@app.task
def add(x, y):
    """The sum."""
    return x + y


@app.task
def total(lists):
    """The sum of all numbers in all lists."""
    return sum(map(sum, lists))


def main():
    with running.redis(), running.worker(app, "-c", "2"):
        print("map:", double.map([1, 2, 3]).delay().get(timeout=20))
        print("starmap:", add.starmap([(1, 2), (3, 4)]).delay().get(timeout=20))

        # 100 additions in 10 tasks.
        result = add.chunks(zip(range(100), range(100), strict=True), 10).delay()
        print("chunks:", len(result), "tasks,", sum(map(sum, result.get(timeout=20))))

        # Chunks are a group: what follows them gets the results of all.
        print("followed:", (add.chunks([(1, 2), (3, 4), (5, 6)], 2) | total.s()).delay().get(timeout=20))


if __name__ == "__main__":
    main()
