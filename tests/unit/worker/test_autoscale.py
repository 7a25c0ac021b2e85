"""When the autoscaler wants more, and when fewer; whoever does it is a pool that only counts."""

from __future__ import annotations

from typing import Any

import pytest

from celerylite.worker.autoscale import Autoscaler, limits_of


class Counted:
    """A pool, as rules of a project's own see it."""

    def __init__(self, size: int) -> None:
        self.num_processes = size

    def grow(self, n: int = 1) -> None:
        self.num_processes += n

    def shrink(self, n: int = 1) -> None:
        self.num_processes -= n


class Loaded(Autoscaler):
    """With a load that the test sets."""

    load = (0, 0)

    @property
    def busy(self) -> int:
        return self.load[0]

    @property
    def waiting(self) -> int:
        return self.load[1]


@pytest.fixture
def scaler() -> Loaded:
    return Loaded(Counted(2), 5, 1, keepalive=1000)


def test_it_grows_by_what_waits_while_all_are_busy(scaler: Loaded) -> None:
    scaler.load = (1, 10)
    assert not scaler.maybe_scale()  # one is free, and will take the next
    scaler.load = (2, 1)
    assert scaler.maybe_scale()
    assert scaler.processes == 3
    scaler.load = (3, 100)
    assert scaler.maybe_scale()
    assert scaler.processes == 5
    scaler.load = (5, 100)
    assert not scaler.maybe_scale()


def test_it_shrinks_one_by_one_after_quiet_and_not_below_the_least(scaler: Loaded, monkeypatch: Any) -> None:
    scaler.pool.num_processes = 3
    assert not scaler.maybe_scale()
    scaler.keepalive = 0
    monkeypatch.setattr("celerylite.worker.autoscale.SHRINK_PAUSE", 0)
    sizes = []
    while scaler.maybe_scale():
        sizes.append(scaler.processes)
    assert sizes == [2, 1]


def test_one_that_is_busy_now_and_then_keeps_its_processes(scaler: Loaded, monkeypatch: Any) -> None:
    clock = [0.0]
    monkeypatch.setattr("celerylite.worker.autoscale.uptime", lambda: clock[0])
    scaler.keepalive, scaler._quiet_since = 10, 0.0
    for now in (5.0, 14.0, 23.0):
        clock[0] = now
        scaler.load = (2, 0)
        assert not scaler.maybe_scale()
        scaler.load = (0, 0)
        assert not scaler.maybe_scale()
    clock[0] = 33.5
    assert scaler.maybe_scale()


def test_with_a_least_of_none_one_stays_to_fetch() -> None:
    scaler = Loaded(Counted(1), 5, 0, keepalive=0)
    assert not scaler.maybe_scale()
    assert scaler.processes == 1


def test_other_limits_hold_at_once(scaler: Loaded) -> None:
    scaler.pool.num_processes = 5
    assert scaler.update(max=3) == (3, 1)
    assert scaler.processes == 3
    assert scaler.update(max=9, min=6) == (9, 6)
    assert scaler.processes == 6


def test_rules_that_fail_are_told_once_and_tried_again(scaler: Loaded, caplog: pytest.LogCaptureFixture) -> None:
    def fail(req: Any = None) -> None:
        raise ConnectionError("away")

    scaler._maybe_scale = fail  # type: ignore[method-assign]
    for _ in range(3):
        scaler.body()
    assert [record.getMessage() for record in caplog.records] == ["Cannot scale the pool: away"]


@pytest.mark.parametrize(
    ("given", "limits"),
    [(None, None), ("", None), ("10,3", (10, 3)), ("3,10", (10, 3)), ("10", (10, 0)), ([10, 3], (10, 3))],
)
def test_limits(given: Any, limits: Any) -> None:
    assert limits_of(given) == limits
