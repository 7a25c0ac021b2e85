"""The line between the parent and its children: nothing is lost, and nothing makes the parent wait."""

from __future__ import annotations

import socket

from celerylite.worker.children import Line


def test_what_there_is_no_room_for_is_kept() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    sender, receiver = Line(ours), Line(theirs)
    text = "x" * 10_000
    assert all(sender.send(number=number, text=text) for number in range(200))  # more than a socket holds
    seen: list[int] = []
    while len(seen) < 200:
        assert sender.flush()
        seen += [message["number"] for message in receiver.receive() or ()]
    assert seen == list(range(200))
    sender.close()
    assert receiver.receive() is None
    receiver.close()


def test_the_other_side_is_gone() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    line = Line(ours)
    assert not line.send(ready=True)
    line.close()
