"""Small questions that the parent answers: which signal, how many threads, and what a board has place for."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from celerylite.worker.options import WorkerOptions
from celerylite.worker.parent import make_board
from celerylite.worker.parent_commands import resized_threads, signal_number


@pytest.mark.parametrize(
    ("name", "number"),
    [(None, signal.SIGTERM), ("SIGKILL", signal.SIGKILL), ("kill", signal.SIGKILL), (9, signal.SIGKILL), ("15", 15)],
)
def test_signals_by_name_and_number(name: Any, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["SIGNOTHING", "", 4711, "4711"])
def test_unknown_signals(name: Any) -> None:
    with pytest.raises(ValueError, match="there is no signal"):
        signal_number(name)


def test_threads_within_what_there_is_place_for() -> None:
    board, places = make_board(WorkerOptions("w", [], concurrency=2, pool="threads"))
    most = len(places[0])
    assert resized_threads(board, 3, most) == board.size() == 5
    with pytest.raises(ValueError, match="keeps at least one"):
        resized_threads(board, -5, most)
    with pytest.raises(ValueError, match=f"place for {most} threads, and has 5"):
        resized_threads(board, most, most)
    assert board.size() == 5


@pytest.mark.parametrize(("concurrency", "autoscale", "most"), [(1, None, 127), (100, None, 200), (1, (90, 1), 180)])
def test_places_for_twice_as_many_processes(concurrency: int, autoscale: Any, most: int) -> None:
    options = WorkerOptions("w", [], concurrency=concurrency, autoscale=autoscale)
    assert len(make_board(options)[1]) // 2 - 1 == most


def test_only_what_was_used_is_looked_at() -> None:
    board, places = make_board(WorkerOptions("w", [], concurrency=3))
    board.use(places[4])
    board.clear(4, 4711)
    assert board.used() == 5
    assert board.pids() == [4711]


def test_a_doomed_task_is_the_one_that_runs() -> None:
    board, _ = make_board(WorkerOptions("w", []))
    board.start(0, b"1", b"raw", 10.0, 0.0, 0.0, True)
    board.set_doom(0, signal.SIGTERM)
    assert board.doom(0) == signal.SIGTERM
    board.finish(0, 1)
    assert board.doom(0) == 0
    board.start(0, b"2", b"raw", 11.0, 0.0, 0.0, True)
    assert board.doom(0) == 0


def test_a_message_that_is_too_large_leaves_its_title() -> None:
    board, _ = make_board(WorkerOptions("w", []))
    board.set_title(0, "the-id", "tasks.größer")
    board.start(0, b"1", b"x" * 300_000, 10.0, 0.0, 0.0, True)
    running = board.read(0)
    assert not running.whole
    assert (running.task_id, running.name) == ("the-id", "tasks.größer")
