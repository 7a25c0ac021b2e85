"""Chords: what is counted, what the body is told, and how large the messages are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celerylite import Celery, chain, chord, group
from celerylite.canvas import Signature
from tests.unit.canvas.conftest import Tasks


def started(sig: Signature) -> list[tuple[str, int]]:
    """The chords that sending it starts, with their sizes."""
    return [(start.group_id, start.size) for start in sig.collect().chords]


def test_parts_know_the_body(tasks: Tasks) -> None:
    dispatch = chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s(5)).collect()
    (start,) = dispatch.chords
    assert (start.size, start.body.task) == (2, "total")
    assert (start.results, dispatch.result.parent) == (dispatch.result.parent, start.results)
    assert start.body.id == dispatch.result.id
    assert [message.headers["group"] for message in dispatch.messages] == [start.group_id] * 2
    assert start.results.id == start.group_id


def test_the_body_may_come_later(tasks: Tasks) -> None:
    header = chord([tasks.add.s(1), tasks.add.s(2)])
    assert repr(header) == "<chord without body: [add(1), add(2)]>"
    header(tasks.total.s())
    assert [message.chord["task"] for message in tasks.told] == ["total"] * 2
    with pytest.raises(TypeError, match="needs a body"):
        header.delay()


def test_an_empty_header_calls_the_body_at_once(tasks: Tasks) -> None:
    for header in ([], group([]), [group([]), chain()]):
        result = chord(header, tasks.total.s()).delay()
        assert (tasks.told[-1].name, tasks.told[-1].args, tasks.told[-1].id) == ("total", [[]], result.id)


@pytest.mark.parametrize("build, size", [
    (lambda t: [t.add.s(1)], 1),
    (lambda t: [group(t.add.s(1), t.add.s(2)), t.add.s(3)], 3),
    (lambda t: [t.add.s(1) | t.add.s(2), t.add.s(3)], 2),
    (lambda t: [t.add.s(1) | group(t.add.s(2), t.add.s(3)), t.add.s(4)], 3),
    (lambda t: [chord([t.add.s(1), t.add.s(2)], t.total.s()), t.add.s(3)], 2),
    (lambda t: [chord([t.add.s(1)], group(t.add.s(), t.add.s())), t.add.s(3)], 3),
    (lambda t: [chain(), group([]), t.add.s(3)], 1),
    (lambda t: [t.add.chunks([(1,), (2,), (3,)], 2), t.add.s(1)], 3),
    (lambda t: [t.add.map([1, 2, 3])], 1),
])  # fmt: skip
def test_what_is_counted(tasks: Tasks, build: Any, size: int) -> None:
    assert started(chord(build(tasks), tasks.total.s()))[0][1] == size


def test_parts_are_numbered_in_reading_order(tasks: Tasks) -> None:
    add = tasks.add
    header = [add.s(0), add.s() | group(add.s(1), add.s(2)), group(add.s(3), add.s(4))]
    dispatch = chord(header, tasks.total.s()).collect()
    indices = [message.headers["group_index"] for message in dispatch.messages]
    assert indices == [0, None, 3, 4]


def test_what_follows_a_chord_is_in_its_body(tasks: Tasks) -> None:
    (chord([tasks.add.s(1)], tasks.total.s()) | group(tasks.add.s(2), tasks.add.s(3))).delay()
    (message,) = tasks.told
    (following,) = message.chord["options"]["chain"]
    assert (message.chain, following["subtask_type"]) == (None, "group")


def test_options_go_to_header_and_body(tasks: Tasks) -> None:
    chord([tasks.add.s(1)], tasks.total.s()).apply_async(
        queue="q", countdown=3, link=[tasks.note.s()], link_error=[tasks.note_error.s()], task_id="BODY"
    )
    (message,) = tasks.told
    assert tasks.app.broker.sent[0].routing_key == "q"
    assert message.headers["eta"] and message.link is None and message.link_error is None
    options = message.chord["options"]
    assert (options["queue"], options["task_id"], "countdown" in options) == ("q", "BODY", False)
    assert [options[key][0]["task"] for key in ("link", "link_error")] == ["note", "note_error"]


def test_options_of_the_sending_itself_do_not_travel(tasks: Tasks) -> None:
    for canvas in (chord([tasks.add.s(1)], tasks.total.s()), group(tasks.add.s(1)), tasks.add.s(1) | tasks.add.s(2)):
        dispatch = canvas.collect(producer=object(), connection=object(), add_to_parent=False)
        assert len(dispatch.messages) == 1 and b"object" not in dispatch.messages[0].body


def test_links(tasks: Tasks, app: Celery) -> None:
    both = chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s())
    both.link(tasks.note.s())
    both.link_error(tasks.note_error.s())
    assert both.body.options["link"] == [tasks.note.s()]
    assert both.body.options["link_error"] == [tasks.note_error.s()]
    assert not any(task.options for task in both.tasks)
    app.conf.task_allow_error_cb_on_chord_header = True
    both.link_error(tasks.note_error.s())
    assert all(task.options["link_error"] == [tasks.note_error.s()] for task in both.tasks)


def test_a_chord_as_a_part(tasks: Tasks) -> None:
    inner = chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s())
    dispatch = chord([inner, tasks.add.s(3)], tasks.total.s()).collect()
    outer, nested = dispatch.chords
    assert (outer.size, nested.size) == (2, 2)
    assert nested.body.options["group_id"] == outer.group_id
    assert nested.body.options["chord"]["options"]["task_id"] == outer.body.id


def nested(tasks: Tasks, depth: int) -> Any:
    """A chord whose body is a chord, and so on; chains that end in groups in the headers."""
    body: Any = tasks.total.s()
    for _ in range(depth):
        body = chord([tasks.add.s(1) | group(tasks.add.s() for _ in range(3)), tasks.add.s(2)], body)
    return body


def deep(tasks: Tasks, depth: int) -> Any:
    """A chord in a header of a chord, and so on."""
    sig: Any = tasks.add.s(1)
    for _ in range(depth):
        sig = chord([sig, tasks.add.s(2) | group(tasks.add.s(), tasks.add.s())], tasks.total.s())
    return sig


def groups(tasks: Tasks, depth: int) -> Any:
    """A chain of groups."""
    return chain(group(tasks.add.s() for _ in range(4)) for _ in range(depth))


def turns(tasks: Tasks, depth: int) -> Any:
    """A chain that ends in a group, one of whose members is such a chain, and so on."""
    sig: Any = tasks.add.s()
    for _ in range(depth):
        sig = tasks.add.s() | group(sig, tasks.add.s())
    return group(sig, tasks.add.s())


@pytest.mark.parametrize("build", [nested, deep, groups, turns])
def test_messages_grow_with_the_canvas_at_most(tasks: Tasks, build: Any) -> None:
    largest = {d: max(len(m.body) for m in build(tasks, d).collect((1,)).messages) for d in (4, 8, 16)}
    assert largest[16] - largest[8] <= 2.1 * (largest[8] - largest[4])


@pytest.mark.parametrize("build", [nested, deep, groups, turns])
def test_so_does_the_work(tasks: Tasks, build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each level may look at all that is below it, but only so often."""
    done: list[int] = []
    freeze = Signature.freeze

    def counted(self: Signature, *args: Any, **kwargs: Any) -> Any:
        done.append(1)
        return freeze(self, *args, **kwargs)

    monkeypatch.setattr(Signature, "freeze", counted)
    counts = []
    for depth in (4, 8, 16):
        done.clear()
        build(tasks, depth).collect((1,))
        counts.append(len(done) + 1)
    assert counts[2] <= 5 * counts[1] <= 25 * counts[0]


def test_frozen(tasks: Tasks) -> None:
    both = chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s() | tasks.add.s(1))
    result = both.freeze("END")
    sent = both.apply_async()
    assert (result.id, sent.id) == ("END", "END")
    assert sent.parent.results == both.tasks.freeze().results
    assert len(both) and both.__length_hint__() == 2


def test_text(tasks: Tasks) -> None:
    both = chord([tasks.add.s(1)], tasks.total.s())
    assert repr(both) == "%total([add(1)])"
    assert repr(both | tasks.add.s(2)) == "%(total([add(1)]) | add(2))"


def test_the_header_of_a_chord_that_has_travelled_belongs_to_the_app_that_reads_it(tasks: Tasks) -> None:
    travelled = json.loads(json.dumps(chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s())))
    read = tasks.app.signature(travelled)
    assert [task._app for task in (*read.tasks, read.body)] == [tasks.app] * 3
