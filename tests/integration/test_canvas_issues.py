"""Workflows that Celery's users reported as hanging, running twice, or sharing what they should not.

The numbers are those of Celery's issues. Each is run by a worker in memory, and what ran is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from celerylite import Celery, chain, chord, group
from celerylite.contrib.testing.worker import start_worker

pytestmark = pytest.mark.slow

TIMEOUT = 20


class Shop:
    """Tasks, and how often each call has run."""

    def __init__(self, app: Celery) -> None:
        self.ran: Counter[Any] = Counter()
        ran = self.ran

        @app.task(name="say")
        def say(*words: Any) -> Any:
            ran[words[-1]] += 1
            return words[-1]

        @app.task(name="total")
        def total(numbers: Any) -> Any:
            ran["total"] += 1
            return sum(numbers)

        @app.task(name="gather")
        def gather(*values: Any) -> Any:
            ran["gather"] += 1
            return values[0]

        @app.task(name="become", bind=True)
        def become(self: Any, *given: Any) -> Any:
            ran["become"] += 1
            return self.replace(app.signature(given[-1]))

        @app.task(name="keys")
        def keys(*args: Any, **kwargs: Any) -> Any:
            return dict(kwargs)

        self.say, self.total, self.gather, self.become, self.keys = say, total, gather, become, keys


@pytest.fixture(scope="module")
def running() -> Iterator[Celery]:
    app = Celery("issues", broker="memory://", backend="cache+memory://")
    app.conf.worker_hijack_root_logger = False
    app.shop = Shop(app)  # type: ignore[attr-defined]
    with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False):
        yield app
    app.close()


@pytest.fixture
def shop(running: Any) -> Shop:
    running.shop.ran.clear()
    return running.shop


def test_chained_groups_run_once(shop: Shop) -> None:
    """#8180, #8662"""
    say = shop.say
    result = chain(
        chain(group(say.si(1), say.si(2), say.si(3)), group(say.si(4), say.si(5))),
        chain(group(say.si(6), say.si(7), say.si(8))),
    ).apply_async()
    assert result.get(timeout=TIMEOUT) == [6, 7, 8]
    assert shop.ran == {number: 1 for number in range(1, 9)}
    shop.ran.clear()
    four = [group(say.si(10 * row + column) for column in range(5)) for row in range(3)]
    assert chain(*four, shop.gather.s()).delay().get(timeout=TIMEOUT) == [20, 21, 22, 23, 24]
    assert set(shop.ran.values()) == {1} and len(shop.ran) == 16


def test_chords_of_groups_in_a_group(shop: Shop) -> None:
    """#4401"""
    total = shop.total
    halves = [group(total.s([1, 2]), total.s([4, 5])) | total.s(), group(total.s([6, 7]), total.s([8, 10])) | total.s()]
    assert (group(halves) | total.s()).delay().get(timeout=TIMEOUT) == 43


@pytest.mark.parametrize("longer", [False, True])
def test_a_chord_at_the_end_of_a_chain_in_a_header(shop: Shop, longer: bool) -> None:
    """#2573"""
    say = shop.say
    inner = [say.s("three"), chord([say.s("four"), say.s("five")], shop.gather.s()), *[say.s("six")] * longer]
    flow = chain(say.s("one"), chord([say.s("two"), chain(*inner)], shop.gather.s()))
    assert flow.delay().get(timeout=TIMEOUT) == ["two", "six" if longer else ["four", "five"]]


@pytest.mark.parametrize("kind", ["group", "chord", "chain", "chain with a group"])
@pytest.mark.parametrize("place", ["header", "chain", "alone"])
def test_replaced(shop: Shop, kind: str, place: str) -> None:
    """#4196, #2722, #9484"""
    say = shop.say
    by: Any = {
        "group": group(say.si("a"), say.si("b")), "chord": chord([say.si("a"), say.si("b")], shop.gather.s()),
        "chain": chain(say.si("x"), shop.gather.si(["a", "b"])),
        "chain with a group": chain(say.si("x"), group(say.si("a"), say.si("b"))),
    }[kind]  # fmt: skip
    task = shop.become.s(by)
    flow: Any = {
        "header": chord([say.si("z"), task], shop.gather.s()), "chain": chain(say.s(0), task, shop.gather.s()),
        "alone": task,
    }[place]  # fmt: skip
    value = flow.delay().get(timeout=TIMEOUT)
    assert value == (["z", ["a", "b"]] if place == "header" else ["a", "b"])
    assert set(shop.ran.values()) <= {1, 2} and shop.ran["a"] <= 1


def test_a_chain_of_one_group_is_waited_for(shop: Shop) -> None:
    """#8182"""
    say = shop.say
    flow = chain(group(say.s("a"), chain(group(say.s("b"), say.s("c")))), shop.gather.s())
    assert flow.delay().get(timeout=TIMEOUT) in (["a", ["b", "c"]], ["a", "b", "c"])


def test_a_long_body(shop: Shop) -> None:
    """#4834, #8786: a chain as the body, and errors in groups of a chain"""
    say = shop.say
    assert chord([say.s("a")])(chain(shop.gather.s(), shop.gather.s(), say.s("end"))).get(timeout=TIMEOUT) == "end"
    flow = chain(group(say.s("a"), shop.total.s([None])), group(say.s(), say.s()), shop.gather.s())
    with pytest.raises(TypeError):
        flow.delay().get(timeout=TIMEOUT)


def test_keyword_arguments_of_a_chain_are_for_its_first_step(shop: Shop) -> None:
    """#2695"""
    flow = shop.keys.s(a=1) | shop.gather.s()
    assert flow.delay(b=2).get(timeout=TIMEOUT) == {"a": 1, "b": 2}
    assert flow(b=3).get(timeout=TIMEOUT) == {"a": 1, "b": 3}
    assert flow.apply((), {"b": 4}).get() == {"a": 1, "b": 4}


def test_copies_share_nothing(shop: Shop) -> None:
    """#10560, #10593"""
    callback = shop.say.s("callback")
    original = shop.keys.s(a=1)
    original.link(callback)
    original.set(chord=shop.total.s())
    one, two = original.clone(), original.clone()
    one.kwargs["b"] = 2
    one.stamp(flow="one")
    one.options["link"][0].freeze("FIXED")
    one.options["chord"].set(queue="one")
    assert two.kwargs == original.kwargs == {"a": 1}
    for other in (two, original):
        assert other.options["link"][0].options == {} and other.options["chord"].options == {}
    pair = group(original, original).clone()
    pair.tasks[0].options["link"][0].set(queue="x")
    assert pair.tasks[1].options["link"][0].options == {}


def test_signatures_as_arguments(shop: Shop, running: Celery) -> None:
    """They arrive as dicts that `signature` and `replace` understand."""
    flow = shop.gather.s(shop.say.s(1) | group(shop.say.s(2), shop.say.s(3)))
    given = running.signature(flow.delay().get(timeout=TIMEOUT))
    assert given.delay().get(timeout=TIMEOUT) == [2, 3]
