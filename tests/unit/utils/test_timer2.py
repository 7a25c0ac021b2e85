"""The timer thread: order, repetition, errors, its end, and a start that is put off until after a fork."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from celerylite.utils.timer2 import Timer


@pytest.fixture
def said() -> queue.Queue[Any]:
    return queue.Queue()


@pytest.fixture
def timer() -> Iterator[Timer]:
    timer = Timer()
    yield timer
    timer.stop()


def test_order(timer: Timer, said: queue.Queue[Any]) -> None:
    assert timer.empty() and not timer.is_alive()
    timer.call_after(0.03, said.put, ("second",))
    timer.call_after(0.01, said.put, ("first",))
    timer.call_at(datetime.now(timezone.utc) + timedelta(seconds=0.05), said.put, ("third",))
    timer.call_at(time.time() + 0.07, said.put, kwargs={"item": "fourth"})
    assert [said.get(timeout=10) for _ in range(4)] == ["first", "second", "third", "fourth"]
    assert timer.is_alive()


def test_again_and_again_until_cancelled(timer: Timer, said: queue.Queue[Any]) -> None:
    repeated = timer.call_repeatedly(0.01, said.put, (1,), priority=10)
    assert [said.get(timeout=10) for _ in range(3)] == [1, 1, 1]
    repeated.cancel()
    timer.stop()
    assert not timer.is_alive()


def test_what_a_function_raises(said: queue.Queue[Any]) -> None:
    timer = Timer(on_error=said.put)
    timer.call_after(0, lambda: 1 / 0)
    assert isinstance(said.get(timeout=10), ZeroDivisionError)
    timer.call_after(0, said.put, ("goes on",))
    assert said.get(timeout=10) == "goes on"
    timer.stop()


def test_system_exit_ends_it() -> None:
    ended = threading.Event()
    timer = Timer(on_exit=ended.set)
    timer.exit_after(0)
    assert ended.wait(10)
    timer.stop()
    assert not timer.is_alive()


def test_held(said: queue.Queue[Any]) -> None:
    timer = Timer(held=True)
    timer.call_after(0, said.put, ("now",))
    assert not timer.is_alive() and len(timer.queue) == 1
    timer.release()
    assert said.get(timeout=10) == "now"
    timer.clear()
    timer.stop()
