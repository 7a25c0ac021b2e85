"""Groups: their members, their ids, and sending them in one trip."""

from __future__ import annotations

import json

import pytest

from celerylite import Celery, chain, group, signature
from celerylite.canvas import chunks, xmap, xstarmap
from celerylite.result import GroupResult
from tests.unit.canvas.conftest import Tasks


def test_members_know_their_group(tasks: Tasks) -> None:
    result = group(tasks.add.s(i) for i in range(3)).apply_async((7,), priority=3)
    assert isinstance(result, GroupResult)
    assert [message.args for message in tasks.told] == [[7, 0], [7, 1], [7, 2]]
    assert [message.id for message in tasks.told] == [child.id for child in result.results]
    assert {message.headers["group"] for message in tasks.told} == {result.id}
    assert [message.headers["group_index"] for message in tasks.told] == [0, 1, 2]
    assert {message.properties["priority"] for message in tasks.app.broker.sent} == {3}


def test_a_thousand_in_few_trips(tasks: Tasks, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    trips = []
    send = type(app.broker)._send
    monkeypatch.setattr(type(app.broker), "_send", lambda self, m: (trips.append(len(m)), send(self, m))[1])
    result = group(tasks.add.s(i) for i in range(1000)).delay()
    assert sum(trips) == len(result) == 1000
    assert len(trips) <= 8


def test_nothing_is_sent_where_a_member_cannot_be_written(tasks: Tasks, app: Celery) -> None:
    with pytest.raises(Exception, match="not JSON serializable"):
        group(tasks.add.s(1), tasks.add.s(object())).delay()
    assert not app.broker.sent


def test_groups_in_groups_are_parts_of_them_in_reading_order(tasks: Tasks) -> None:
    add = tasks.add
    result = group(add.s(0), group(add.s(1), group(add.s(2) | add.s(9))), add.s(3)).delay()
    assert [message.args for message in tasks.told] == [[0], [1], [2], [3]]
    assert len(result.results) == 4
    assert tasks.told[2].chain[0]["options"]["group_id"] == result.id


def test_empty(tasks: Tasks) -> None:
    result = group().apply_async()
    assert (len(result), tasks.told) == (0, [])
    group(tasks.add.s(1), chain()).delay()
    assert len(tasks.told) == 1


def test_no_links_in_a_call(tasks: Tasks) -> None:
    pair = group(tasks.add.s(1), tasks.add.s(2))
    with pytest.raises(TypeError, match="use a chord"):
        pair.apply_async(link=tasks.note.s())
    with pytest.raises(TypeError, match="individual tasks"):
        pair.apply_async(link_error=tasks.note.s())


def test_links_and_errbacks(tasks: Tasks) -> None:
    pair = group(tasks.add.s(1), tasks.add.s(2))
    pair.link(tasks.note.s(5))
    pair.link_error(tasks.note_error.s())
    pair.delay()
    first, second = tasks.told
    assert (first.link[0]["immutable"], second.link) == (True, None)
    assert [message.link_error[0]["task"] for message in (first, second)] == ["note_error"] * 2


def test_frozen(tasks: Tasks) -> None:
    one = tasks.add.s(1)
    pair = group([one, one])
    result = pair.freeze()
    assert len({child.id for child in result.results}) == 2
    sent = pair.delay()
    assert (sent.id, sent.results) == (result.id, result.results)
    assert "task_id" not in one.options


def test_as_the_end_of_a_header_s_chain(tasks: Tasks) -> None:
    """The members are parts of that chord; what follows it stands there once, however many members there are."""
    pair = group(tasks.add.s(i) for i in range(20))
    pair.freeze("G", group_id="CHORD", chord=tasks.total.s(), group_index=3)
    assert json.dumps(pair).count('"total"') == 1
    signature(json.loads(json.dumps(pair)), app=tasks.app).apply_async((1,), chain=[])
    assert {message.headers["group"] for message in tasks.told} == {"CHORD"}
    assert [message.headers["group_index"] for message in tasks.told] == list(range(3, 23))
    assert {message.chord["task"] for message in tasks.told} == {"total"}


def test_with_a_chain_it_is_a_header(tasks: Tasks) -> None:
    """Celery's workers send a group that is followed by something like this."""
    following = [tasks.add.s(1).set(task_id="END"), tasks.total.s().set(task_id="MID")]
    result = group(tasks.add.s(1), tasks.add.s(2)).apply_async(chain=following)
    assert (result.id, result.parent.id) == ("END", "MID")
    assert [message.chord["task"] for message in tasks.told] == ["total", "total"]


def test_skew_and_immutable(tasks: Tasks) -> None:
    three = group(tasks.add.s(i) for i in range(3)).skew(start=1, stop=2)
    assert [task.options["countdown"] for task in three.tasks] == [1, 2, 2]
    three.set(immutable=True)
    assert all(task.immutable for task in three.tasks)


def test_only_signatures(tasks: Tasks) -> None:
    for wrong in ((1, 2), ("add",), ({"task": "add"},)):
        with pytest.raises(TypeError):
            group(*wrong)


def test_the_list_of_the_caller_is_not_changed(tasks: Tasks) -> None:
    members = [tasks.add.s(1), tasks.add.s(2)]
    group(members).tasks.append(tasks.add.s(3))
    assert len(members) == 2


def test_map_starmap_chunks(tasks: Tasks) -> None:
    assert repr(tasks.add.map([1, 2])) == "[add(x) for x in [1, 2]]"
    assert repr(tasks.add.starmap([(1, 2)])) == "[add(*x) for x in [(1, 2)]]"
    assert isinstance(tasks.add.map(iter([1])), xmap) and isinstance(tasks.add.starmap([]), xstarmap)
    tasks.add.map([1, 2]).delay()
    tasks.add.starmap([(1, 2)]).delay()
    parts = tasks.add.chunks(zip(range(5), range(5), strict=True), 2)
    assert isinstance(parts, chunks)
    result = parts.delay()
    assert [message.name for message in tasks.told] == ["celery.map", *["celery.starmap"] * 4]
    assert [len(message.kwargs["it"]) for message in tasks.told] == [2, 1, 2, 2, 1]
    assert len(result.results) == 3
    chain(tasks.add.chunks([(1, 2), (3, 4)], 1), tasks.total.s()).delay()
    assert [message.chord["task"] for message in tasks.told[-2:]] == ["total"] * 2
