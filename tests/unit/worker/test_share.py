"""How a task process tells that its share is nearly run, and when it has to end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celerylite.worker.options import WorkerOptions
from celerylite.worker.share import Share


class Words(list):
    """A line that keeps what was said."""

    def send(self, **message: Any) -> bool:
        self.extend(message)
        return True


def share(line: Any, **limits: Any) -> Share:
    return Share(WorkerOptions("w", [], **limits), line)


def test_without_limits_there_is_nothing_to_say() -> None:
    assert not share(Words()).limited
    assert share(Words()).left(1000) > 1_000_000


def test_without_a_parent_nobody_would_replace_it() -> None:
    assert not share(None, max_tasks_per_child=1).limited


def test_short_tasks_announce_the_end_in_time() -> None:
    words = Words()
    one = share(words, max_tasks_per_child=1000)
    assert not one.spent(100, mean=0.01)
    assert words == []
    assert not one.spent(950, mean=0.01)
    assert not one.spent(960, mean=0.01)
    assert words == ["expiring"]
    assert one.spent(1000, mean=0.01)
    assert one.left(990) == 10


def test_a_last_long_task_is_announced_before_it_starts() -> None:
    words = Words()
    one = share(words, max_tasks_per_child=3)
    one.spent(1, mean=3600)
    assert words == []
    one.spent(2, mean=3600)
    assert words == ["expiring"]


def test_threads_run_their_last_tasks_at_once() -> None:
    words = Words()
    one = share(words, max_tasks_per_child=100)
    assert not one.spent(50, mean=1.0, at_once=10)
    assert words == []
    one.spent(90, mean=1.0, at_once=10)
    assert words == ["expiring"]


def grown(monkeypatch: Any, size: int) -> None:
    monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=size))


def test_one_that_is_too_large_takes_no_other_task(monkeypatch: Any) -> None:
    words = Words()
    one = share(words, max_memory_per_child=1000)
    for size in (100, 950, 1000):
        grown(monkeypatch, size)
        assert not one.spent(1, mean=0.1)
    assert words == ["expiring"]
    grown(monkeypatch, 1001)
    assert one.spent(2, mean=0.1)


def test_one_that_grows_at_once_announces_its_end_too(monkeypatch: Any) -> None:
    words = Words()
    grown(monkeypatch, 1500)
    assert share(words, max_memory_per_child=1000).spent(1, mean=0.1)
    assert words == ["expiring"]


def test_where_every_process_is_too_large_each_runs_a_task(monkeypatch: Any) -> None:
    words = Words()
    one = share(words, max_memory_per_child=1000)
    grown(monkeypatch, 1500)
    assert not one.spent(0, mean=0.1)
    assert words == ["expiring"]
    assert one.spent(1, mean=0.1)
