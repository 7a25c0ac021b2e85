"""Bells wake whoever listens, in this process and in others, and remember what nobody has heard yet."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from celerylite.brokers.sqlite_bells import Bells, Ear, queue_bell


@pytest.fixture
def bells(tmp_path: Path) -> Iterator[Bells]:
    file = tmp_path / "x.db"
    file.touch()
    bells = Bells(f"{file}-run", str(file))
    yield bells
    bells.close()


@pytest.fixture
def ear(bells: Bells) -> Iterator[Ear]:
    ear = Ear(bells, ("q.a",))
    ear.hush()
    yield ear
    ear.close()


def test_names_of_queues_make_good_file_names() -> None:
    assert queue_bell("a/b") != queue_bell("a") != queue_bell("ü\udcff")
    assert "/" not in queue_bell("a/b")


def test_a_bell_is_heard(bells: Bells, ear: Ear) -> None:
    assert not ear.wait(0)
    bells.ring("q.a")
    assert ear.wait(5)
    ear.hush()
    assert not ear.wait(0)


def test_what_has_rung_is_remembered(bells: Bells, ear: Ear) -> None:
    for _ in range(100_000):  # more than a pipe holds
        bells.ring("q.a")
    assert ear.wait(0)
    ear.hush()
    ear.hush()
    assert not ear.wait(0)


def test_a_bell_that_nobody_has_is_no_trouble(bells: Bells) -> None:
    bells.ring("q.nobody")
    assert not bells.heard("q.nobody")


def test_a_bell_is_heard_again_by_the_next_listener(bells: Bells, ear: Ear) -> None:
    bells.ring("q.a")
    ear.close()
    bells.ring("q.a")  # the ringer has it open, and nobody listens
    assert not bells.heard("q.a")
    ear.hush()
    bells.ring("q.a")
    assert ear.wait(5)


def test_all_listeners_are_woken(bells: Bells, ear: Ear) -> None:
    other = Ear(bells, ("q.b", "q.a"))
    other.hush()
    bells.ring("q.a")
    assert ear.wait(5) and other.wait(5)
    other.close()


def test_another_process_is_woken(bells: Bells, ear: Ear) -> None:
    pid = os.fork()
    if pid == 0:
        Bells(bells.folder, bells._database).ring("q.a")
        os._exit(0)
    assert ear.wait(10)
    os.waitpid(pid, 0)


def test_other_descriptors_end_a_wait(bells: Bells) -> None:
    reading, writing = os.pipe()
    ear = Ear(bells, ("q.a",), (reading,))
    threading.Timer(0.02, lambda: os.write(writing, b"x")).start()
    assert ear.wait(10)
    ear.close()
    os.close(reading)
    os.close(writing)


def test_without_fifos_an_ear_is_deaf(bells: Bells, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "mkfifo", refuse)
    ear = Ear(bells, ("q.z",))
    ear.hush()
    assert ear.deaf
    before = time.monotonic()
    assert not ear.wait(0.01)
    assert time.monotonic() - before < 5


def test_a_removed_bell_can_be_had_again(bells: Bells, ear: Ear) -> None:
    bells.remove("q.a")
    ear.close()
    ear.hush()
    bells.ring("q.a")
    assert ear.wait(5)


def test_a_bell_is_not_removed_while_another_thread_rings_it(
    bells: Bells, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number might be somebody else's file by then: it failed with EBADF, or wrote into a stranger's socket."""
    bells.ring("q.a")  # from now on it is kept open
    write, removed = os.write, threading.Event()

    def slow_write(number: int, data: bytes) -> int:
        remover.start()
        assert not removed.wait(0.05)
        return write(number, data)

    remover = threading.Thread(target=lambda: (bells.remove("q.a"), removed.set()))
    monkeypatch.setattr("os.write", slow_write)
    bells.ring("q.a")
    monkeypatch.undo()
    assert removed.wait(10)
    assert not bells.heard("q.a")
    assert not bells._open  # it would be closed twice
