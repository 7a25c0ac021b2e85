"""The arithmetic of rate limits, on a clock that the test turns."""

from __future__ import annotations

import heapq
import random

import pytest

from celerylite.brokers.rates import MAKE_UP, Line

#: Every line begins on a clock that has run for a while.
START = 1000.0


def play(
    rate: float, count: int, *, late: float = 0.0, held_up: tuple[float, float] = (0, 0), processes: int = 2
) -> tuple[list[float], list[int], int]:
    """`count` messages come at once; whoever must wait comes back up to `late` seconds after its time, and nobody is
    there in the span `held_up`. Returns when each started, in which order, and how often one was looked at.
    """
    chance, line, looks = random.Random(1), Line(), 0
    coming = [(START + number * 0.0002, number, False) for number in range(count)]
    starts: list[float] = []
    order: list[int] = []
    while coming:
        now, number, back = heapq.heappop(coming)
        if START + held_up[0] <= now < START + held_up[1]:
            heapq.heappush(coming, (START + held_up[1] + number * 1e-6, number, back))
            continue
        looks += 1
        left = line.wait(now, 1 / rate, processes=processes, back=back)
        if left:
            heapq.heappush(coming, (now + left + chance.random() * late, number, True))
        else:
            starts.append(now - START)
            order.append(number)
    return starts, order, looks


def most_within(starts: list[float], seconds: float) -> int:
    """The most starts in any such span."""
    first, most = 0, 0
    for last, moment in enumerate(starts):
        while moment - starts[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("late", [0.0, 0.005, 0.03])
@pytest.mark.parametrize("rate", [0.1, 2, 10, 100])
def test_the_rate_is_met_and_never_exceeded(rate: float, late: float) -> None:
    starts, order, looks = play(rate, 500, late=late)
    assert sorted(order) == list(range(500))
    assert (len(starts) - 1) / (starts[-1] - starts[0]) == pytest.approx(rate, rel=0.05)
    for seconds in (1.0, 10.0, 60.0):
        assert most_within(starts, seconds) <= seconds * rate + 1 + 2  # one more for each process
    assert looks <= 4 * 500


def test_they_start_in_the_order_in_which_they_came() -> None:
    assert play(10, 200)[1] == list(range(200))


def test_a_hold_up_is_not_made_up_for_in_one_go() -> None:
    starts, _, looks = play(10, 300, late=0.005, held_up=(5, 15))
    assert most_within([one for one in starts if one >= 15], 1.0) <= 10 + 3
    assert starts[-1] < 30 + 10 + 2
    assert looks < 7 * 300


def test_who_has_only_just_come_does_not_overtake_those_that_wait() -> None:
    line = Line()
    assert line.wait(START, 1.0) == 0.0
    waits = [line.wait(START, 1.0) for _ in range(3)]
    assert waits == pytest.approx([1.0, 2.0, 3.0])
    assert line.wait(START + 1.01, 1.0) == pytest.approx(2.99)  # the start is there, but somebody comes for it
    assert line.wait(START + 1.02, 1.0, back=True) == 0.0


def test_who_comes_back_in_vain_comes_again_soon() -> None:
    line = Line()
    for _ in range(10):
        line.wait(START, 1.0)
    assert line.wait(START + 1, 1.0, back=True) == 0.0
    assert line.wait(START + 1, 1.0, back=True) == pytest.approx(1.0, abs=MAKE_UP)
    assert line.wait(START + 1, 1.0, back=True) == pytest.approx(1.25, abs=MAKE_UP)


def test_nobody_waits_for_those_that_do_not_come() -> None:
    """The queue was purged, say: the places in the line belong to messages that are gone."""
    line = Line()
    for _ in range(100):
        line.wait(START, 1.0)
    assert line.wait(START + 3, 1.0) > 90
    assert line.wait(START + 10, 1.0) == 0.0


def test_starts_that_nobody_wanted_are_not_saved_up() -> None:
    line = Line()
    line.wait(START, 0.1)
    assert [line.wait(START + 60, 0.1) > 0 for _ in range(4)] == [False, True, True, True]
