"""Chains: each task gets what the one before returned."""

import running
from celerylite import Celery, chain

app = Celery("canvas_chain")


@app.task
def add(x, y):
    """The sum."""
    return x + y


@app.task
def report(text):
    """Takes nothing from the task before it, if it is called as `report.si(…)`."""
    return text


@app.task
def broken(value):
    """Always fails."""
    raise ValueError(f"cannot use {value}")


def main():
    with running.redis(), running.worker(app, "-c", "1"):
        result = (add.s(2, 2) | add.s(4) | add.s(8)).delay()
        print("2 + 2 + 4 + 8:", result.get(timeout=20))
        print("on the way:", [result.parent.parent.get(), result.parent.get()])

        # A chain without its first argument: it is given when it is called.
        plus_three = chain(add.s(1), add.s(2))
        print("10 + 1 + 2:", plus_three.delay(10).get(timeout=20))

        print("immutable:", chain(add.s(1, 1), report.si("done")).delay().get(timeout=20))

        result = chain(add.s(1, 1), broken.s(), add.s(1)).delay()
        try:
            result.get(timeout=20)
        except ValueError as exc:
            print("failed:", exc, "| the step after it:", result.state)


if __name__ == "__main__":
    main()
