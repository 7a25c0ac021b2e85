"""Stamps of whole canvases."""

from __future__ import annotations

from typing import Any

import pytest

from celerylite import chain, chord, group
from celerylite.canvas import StampingVisitor
from tests.unit.canvas.conftest import Tasks


class Named(StampingVisitor):
    """Stamps each task with its name, and notes what is walked through."""

    def __init__(self) -> None:
        self.walked: list[str] = []

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"named": sig.task, "unseen": 1, "stamped_headers": ["named"]}

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        self.walked.append("group")
        return {"in_group": True}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        self.walked.append("end of group")

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        self.walked.append("chain")
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:
        self.walked.append("end of chain")

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        return {"is_body": True}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        return {"is_callback": True}


def stamps(sig: Any) -> dict[str, Any]:
    return {name: sig.options[name] for name in sig.options["stamped_headers"]}


def test_all_parts(tasks: Tasks) -> None:
    visitor = Named()
    canvas = chain(tasks.add.s(1), group(tasks.add.s(2), tasks.boom.s()), tasks.total.s())
    canvas.link(tasks.note.s())
    canvas.stamp(visitor)
    first, both = canvas.tasks
    assert visitor.walked == ["chain", "group", "end of group", "end of chain"]
    assert stamps(first) == {"named": "add"}
    assert [stamps(task) for task in both.tasks.tasks] == [
        {"in_group": True, "named": "add"}, {"in_group": True, "named": "boom"},
    ]  # fmt: skip
    assert stamps(both.body) == {"in_group": True, "is_body": True, "named": "total"}
    assert stamps(canvas.options["link"][0]) == {"is_callback": True, "named": "note"}


def test_headers_alone(tasks: Tasks) -> None:
    canvas = chord([tasks.add.s(1)], tasks.total.s())
    canvas.stamp(tenant="t1")
    canvas.delay()
    (message,) = tasks.told
    assert (message.headers["stamped_headers"], message.headers["stamps"]) == (["tenant"], {"tenant": "t1"})
    assert stamps(canvas.body) == {"tenant": "t1"}


def test_more_stamps(tasks: Tasks) -> None:
    canvas = group(tasks.add.s(1), tasks.add.s(2))
    canvas.stamp(x=1)
    canvas.stamp(x=2, append_stamps=True)
    canvas.stamp(y=3)
    assert [stamps(task) for task in canvas.tasks] == [{"x": [2, 1], "y": 3}] * 2


def test_a_visitor_must_say_what_signatures_get() -> None:
    with pytest.raises(TypeError, match="on_signature"):
        StampingVisitor()  # type: ignore[abstract]
