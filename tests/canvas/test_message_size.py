"""How large the messages of a workflow are, and what is in them: linear, and nothing of what is over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from celerylite import Celery, chain, chord, group
from celerylite.contrib.testing.worker import start_worker
from celerylite.message import json_dumps
from celerylite.signals import before_task_publish


class Mail:
    """All messages of one workflow that were published, by this process and by its worker."""

    def __init__(self, run: str) -> None:
        self.label = re.compile(rf"{run}-\d+")
        self.texts: list[str] = []

    def take(self, sender: Any = None, body: Any = None, headers: Any = None, **kwargs: Any) -> None:
        text = json_dumps([body, headers])
        if self.label.search(text):
            self.texts.append(text)

    def labels(self) -> list[set[str]]:
        """The tasks that each message names: its own, and those that it carries."""
        return [set(self.label.findall(text)) for text in self.texts]

    def largest(self) -> int:
        return max(map(len, self.texts))

    def total(self) -> int:
        return sum(map(len, self.texts))


class Post:
    """An app with a worker in a thread; `send` runs a workflow and gives its mail."""

    def __init__(self, app: Celery) -> None:
        self.app = app

        @app.task(name="size.step", shared=False)
        def step(*args: Any, label: str = "") -> int:
            return 0

        self.step = step
        self.runs = self.number = 0

    def s(self) -> Any:
        """One more task; its label is in its message, and only there."""
        self.number += 1
        return self.step.s(label=f"run{self.runs:03}-{self.number:03}")

    def send(self, workflow: Any) -> Mail:
        """Run it to its end; the next task belongs to the next one."""
        mail = Mail(f"run{self.runs:03}")
        self.runs, self.number = self.runs + 1, 0
        before_task_publish.connect(mail.take, weak=False)
        try:
            workflow.apply_async().get(timeout=20)
        finally:
            before_task_publish.disconnect(mail.take)
        return mail


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    app = Celery("sizes", broker="memory://sizes", backend="cache+memory://", set_as_current=False)
    post = Post(app)
    with start_worker(app, perform_ping_check=False):
        yield post
    app.close()


def chain_of_tasks(post: Post, n: int) -> Any:
    return chain(*[post.s() for _ in range(n)])


def chain_of_groups(post: Post, n: int) -> Any:
    return chain(*[group(post.s(), post.s()) for _ in range(n)], post.s())


def chords_in_headers(post: Post, n: int) -> Any:
    inner = post.s()
    for _ in range(n):
        inner = chord([inner, post.s()], post.s())
    return inner


def chords_in_bodies(post: Post, n: int) -> Any:
    inner = post.s()
    for _ in range(n):
        inner = chord([post.s(), post.s()], inner)
    return inner


def chains_in_chords(post: Post, n: int) -> Any:
    inner = post.s()
    for _ in range(n):
        inner = chain(post.s(), chord([post.s(), inner], post.s()), post.s())
    return inner


def callbacks_of_callbacks(post: Post, n: int) -> Any:
    inner = post.s()
    for _ in range(n):
        outer = post.s()
        outer.link(inner)
        inner = outer
    return inner


SHAPES = [
    chain_of_tasks, chain_of_groups, chords_in_headers, chords_in_bodies, chains_in_chords, callbacks_of_callbacks,
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_messages_grow_linearly(post: Post, shape: Any) -> None:
    sizes = [post.send(shape(post, n)).largest() for n in (3, 6, 12)]
    # Twice the growth for twice the steps; a tenth more for numbers that get longer.
    assert sizes[2] - sizes[1] <= 2.2 * (sizes[1] - sizes[0])


def test_a_step_carries_nothing_of_what_is_over(post: Post) -> None:
    mail = post.send(chain_of_tasks(post, 10))
    # In the message of a step: itself and the steps after it.
    assert list(map(len, mail.labels())) == list(range(10, 0, -1))
    assert all(later < earlier for earlier, later in pairwise(map(len, mail.texts)))


def test_the_part_of_a_chord_carries_the_body_and_not_its_neighbours(post: Post) -> None:
    mail = post.send(chord([post.s() for _ in range(10)], post.s()))
    assert list(map(len, mail.labels())) == [2] * 10 + [1]


def test_the_size_of_a_group_does_not_stand_in_its_messages(post: Post) -> None:
    small, large = post.send(group([post.s()])), post.send(group([post.s() for _ in range(50)]))
    assert len(large.texts) == 50
    assert large.largest() <= small.largest() + 10


def test_what_groups_in_a_row_send_altogether(post: Post) -> None:
    """Each member carries what comes after it: the sum is the square of the steps at most, not two to their power."""
    totals = [post.send(chain_of_groups(post, n)).total() for n in (3, 6, 12)]
    assert totals[2] <= 4.5 * totals[1]
