"""The pipe for events: whole packets or none, from many writers, and nobody waits."""

from __future__ import annotations

import json
import os

import pytest

from celerylite.worker.emitter import Emitter
from celerylite.worker.event_pipe import EventPipe


@pytest.fixture
def pipe() -> EventPipe:
    return EventPipe()


def read_all(pipe: EventPipe) -> list[bytes]:
    packets: list[bytes] = []
    while found := pipe.read():
        packets += found
    return packets


def test_packets_of_any_size_arrive_whole(pipe: EventPipe) -> None:
    packets = [b"", b"x", b"y" * 4096, b"z" * 60_000]
    for packet in packets[1:]:
        assert pipe.write(1, packet)
    assert read_all(pipe) == packets[1:]


def test_writers_that_mix_are_told_apart(pipe: EventPipe) -> None:
    """Two processes write packets of many frames at the same time."""
    pids = []
    for writer in (1, 2):
        pid = os.fork()
        if not pid:
            done = sum(pipe.write(writer, b"%d" % writer * 9_000) for _ in range(3))
            os._exit(0 if done == 3 else 1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    assert sorted(read_all(pipe)) == [b"1" * 9_000] * 3 + [b"2" * 9_000] * 3


def test_what_finds_no_room_is_dropped_and_the_rest_stays_readable(pipe: EventPipe) -> None:
    written = 0
    while pipe.write(1, b"a" * 10_000):
        written += 1
    assert written > 3
    assert not pipe.write(2, b"b")
    assert read_all(pipe) == [b"a" * 10_000] * written
    assert pipe.write(1, b"after") and read_all(pipe) == [b"after"]


def test_a_new_reader_begins_with_what_is_written_from_then_on(pipe: EventPipe) -> None:
    pipe.write(1, b"a" * 70_000)
    pipe.read()  # and dies in the middle of the packet
    pipe.empty()
    pipe.write(1, b"new")
    assert read_all(pipe) == [b"new"]


def test_an_emitter_counts_what_was_dropped(pipe: EventPipe) -> None:
    emitter = Emitter(pipe)
    while pipe.write(1, b"a" * 4000):
        pass
    for number in range(3):
        emitter.tell("task-x", uuid=str(number))
    emitter.flush()
    emitter.tell("task-x", uuid="3")
    emitter.flush()
    read_all(pipe)
    emitter.tell("task-x", uuid="4")
    emitter.flush()
    (packet,) = read_all(pipe)
    event, dropped = json.loads(packet)
    assert event["uuid"] == "4"
    assert dropped == {"type": "dropped", "count": 4}


def test_what_json_cannot_write_is_told_as_text(pipe: EventPipe) -> None:
    emitter = Emitter(pipe, at_once=True)
    emitter.tell("task-x", uuid="1", thing=object)
    (packet,) = read_all(pipe)
    assert json.loads(packet)[0]["thing"] == "<class 'object'>"
