"""Stamps: headers that mark all calls of a canvas."""

import running
from celerylite import Celery, group
from celerylite.canvas import StampingVisitor

app = Celery("canvas_stamps")


@app.task(bind=True)
def which(self, *values):
    """The stamps of this call."""
    return self.request.stamps


class Depth(StampingVisitor):
    """Marks each call with how deep it stands in groups."""

    def __init__(self):
        self.depth = 0

    def on_group_start(self, group, **headers):
        self.depth += 1
        return {}

    def on_group_end(self, group, **headers):
        self.depth -= 1

    def on_signature(self, sig, **headers):
        return {"depth": self.depth}


def main():
    with running.redis(), running.worker(app, "-c", "1"):
        canvas = which.s() | group(which.s(), which.s())
        canvas.stamp(tenant="blue")
        canvas.stamp(Depth())
        result = canvas.delay()
        print("first:", sorted(result.parent.get(timeout=20).items()))
        print("group:", [sorted(stamps.items()) for stamps in result.get(timeout=20)])


if __name__ == "__main__":
    main()
