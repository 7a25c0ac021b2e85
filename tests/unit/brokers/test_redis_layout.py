"""Names of lists and channels, and the order of queues, as kombu's options change them."""

from __future__ import annotations

from bisect import bisect
from typing import Any

import pytest

from celerylite import Celery
from celerylite.brokers.redis_layout import Layout


@pytest.mark.parametrize("steps", [(0, 3, 6, 9), (0, 5), (2, 4), (9, 0, 3)])
def test_priorities_have_the_step_that_kombu_gives_them(steps: tuple[int, ...]) -> None:
    layout, ordered = Layout.from_options({"priority_steps": list(steps)}), sorted(steps)
    for priority in range(10):
        assert layout.step(priority) == ordered[bisect(ordered, priority) - 1]
    assert layout.step(None) == layout.step(0)
    assert layout.step(99) == layout.step(9)


def test_names() -> None:
    layout = Layout.from_options({"sep": ":", "global_keyprefix": "p.", "fanout_patterns": False, "unheard_of": 1})
    assert layout.list_keys("q") == [b"p.q", b"p.q:3", b"p.q:6", b"p.q:9"]
    assert [layout.queue_of(key) for key in layout.list_keys("q")] == ["q"] * 4
    assert layout.topic("ex", "key", 3) == b"p./3.ex"
    assert Layout(fanout_prefix=False).topic("ex", "key", 3) == b"ex/key"
    assert Layout(fanout_prefix="/x.{db}.").topic("ex", "", 3) == b"/x.3.ex"


def test_a_list_of_ones_own() -> None:
    mine = Layout(private=frozenset(["all"]), owner="w1@host")
    theirs = Layout(private=frozenset(["all"]), owner="w2@host")
    assert mine.list_key("all") != theirs.list_key("all")
    assert mine.queue_of(mine.list_key("all", 9)) == "all"
    assert mine.list_key("celery") == b"celery"


@pytest.mark.parametrize(
    "strategy,expected",
    [("sorted", ["a", "a", "b", "b", "c", "c"]), ("priority", ["b", "b", "c", "c", "a", "a"])],
)
def test_queues_are_taken_from_in_the_order_asked_for(redis_url: str, strategy: str, expected: list[str]) -> None:
    app: Any = Celery("order", broker=redis_url, set_as_current=False)
    app.conf.broker_transport_options = {"queue_order_strategy": strategy}
    for _ in range(2):
        for queue in ("c", "a", "b"):
            app.send_task("t", queue=queue)
    consumer = app.broker.consumer(["b", "c", "a"], serial=True, lease=5.0)
    assert [consumer.fetch(1, 1.0)[0].queue for _ in range(6)] == expected
    consumer.close()
    app.close()
