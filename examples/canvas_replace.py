"""A task that decides at run time what is to be done in its place (`self.replace`)."""

import running
from celerylite import Celery, group

app = Celery("canvas_replace")


@app.task
def resize(image, size):
    """Pretends to resize."""
    return f"{image}@{size}"


@app.task
def join(names):
    """All names in one text."""
    return ", ".join(names)


@app.task(bind=True)
def thumbnails(self, image):
    """Runs as a group: whoever waits for this task, or follows it in a chain, gets the results of the group."""
    sizes = (64, 128) if image.endswith(".png") else (32,)
    return self.replace(group(resize.s(image, size) for size in sizes))


@app.task(bind=True)
def collect(self, images):
    """Each image becomes a part of the chord in whose header this task stands."""
    for image in images:
        self.add_to_chord(resize.s(image, 16))
    return f"{len(images)} more"


def main():
    with running.redis(), running.worker(app, "-c", "2"):
        print("replaced:", thumbnails.delay("cat.png").get(timeout=20))
        print("in a chain:", (thumbnails.s("dog.png") | join.s()).delay().get(timeout=20))
        parts = group(resize.s("bird.png", 16), collect.s(["fish.png", "frog.png"])) | join.s()
        print("more parts:", sorted(parts.delay().get(timeout=20).split(", ")))


if __name__ == "__main__":
    main()
