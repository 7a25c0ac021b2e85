"""Chords: when all tasks of a group have returned, another gets the list of their results."""

import running
from celerylite import Celery, chord, group
from celerylite.exceptions import ChordError

app = Celery("canvas_chord")


@app.task
def count_words(text):
    """How many words the text has."""
    if not isinstance(text, str):
        raise TypeError("not a text")
    return len(text.split())


@app.task
def total(numbers):
    """Their sum."""
    return sum(numbers)


@app.task
def double(number):
    """Twice as much."""
    return 2 * number


@app.task
def on_chord_error(request, exc, traceback):
    """Called in the worker, with the request of the body that was not called."""
    print(f"the body {request.id} was not called: {exc}")


def main():
    texts = ["to be or not to be", "that is the question"]
    with running.redis(), running.worker(app, "-c", "2"):
        result = chord([count_words.s(text) for text in texts], total.s()).delay()
        print("words:", result.get(timeout=20))
        print("each:", result.parent.get())

        # A group that is followed by something is the header of a chord.
        result = (group(count_words.s(text) for text in texts) | total.s() | double.s()).delay()
        print("twice:", result.get(timeout=20))

        # Chords in chords, chains in headers.
        inner = chord([count_words.s(text) for text in texts], total.s())
        result = chord([inner, count_words.s("three more words") | double.s()], total.s()).delay()
        print("nested:", result.get(timeout=20))

        result = chord([count_words.s("fine"), count_words.s(None)], total.s().on_error(on_chord_error.s())).delay()
        try:
            result.get(timeout=20, follow_parents=False)
        except ChordError as exc:
            print("ChordError:", "not a text" in str(exc))


if __name__ == "__main__":
    main()
