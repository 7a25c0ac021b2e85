"""Threads that become more or fewer while tasks run."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from celerylite.concurrency.thread import ThreadExecutor


class Gate:
    """Functions that run until it is opened, and the slots in which they do."""

    def __init__(self) -> None:
        self.slots: list[int] = []
        self._open = threading.Event()
        self._begun = threading.Semaphore(0)

    def run(self, slot: int) -> None:
        self.slots.append(slot)
        self._begun.release()
        self._open.wait(20)

    def wait_begun(self, count: int) -> None:
        for _ in range(count):
            assert self._begun.acquire(timeout=20)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def test_more_slots_are_there_at_once(gate: Gate) -> None:
    executor = ThreadExecutor(1)
    executor.submit(gate.run)
    assert executor.free() == 0
    executor.resize(3)
    assert executor.wait_free(0) == 2
    executor.submit(gate.run)
    executor.submit(gate.run)
    gate.wait_begun(3)
    assert sorted(gate.slots) == [0, 1, 2]
    gate.open()
    assert executor.join(20)
    executor.close()


def test_slots_that_are_too_many_end_with_what_they_run(gate: Gate) -> None:
    executor = ThreadExecutor(3)
    for _ in range(3):
        executor.submit(gate.run)
    gate.wait_begun(3)
    executor.resize(1)
    assert executor.free() == 0  # never negative
    gate.open()
    assert executor.join(20)
    assert executor.free() == 1
    last = Gate()
    executor.submit(last.run)
    last.wait_begun(1)
    assert last.slots == [0]
    assert executor.free() == 0
    last.open()
    assert executor.join(20)
    executor.close()


def test_it_tells_how_many_still_run(gate: Gate) -> None:
    executor = ThreadExecutor(2)
    first = Gate()
    executor.submit(first.run)
    executor.submit(gate.run)
    told: list[int] = []
    gates = {2: first, 1: gate}

    def tell(running: int) -> None:
        told.append(running)
        if running:
            gates[running].open()

    executor.drain(tell)
    assert told == [2, 1, 0]
    executor.close()
