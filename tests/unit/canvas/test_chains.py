"""Chains: how steps are put together, frozen and sent."""

from __future__ import annotations

import json
import operator
from functools import reduce

import pytest

from celerylite import Celery, chain, chord, group, signature
from celerylite.canvas import _chain
from tests.unit.canvas.conftest import Tasks


def test_one_message_with_the_rest_in_it(tasks: Tasks) -> None:
    result = chain(tasks.add.s(1), tasks.add.s(2), tasks.add.s(3)).apply_async((9,))
    (message,) = tasks.told
    assert (message.name, message.args) == ("add", [9, 1])
    assert [step["args"] for step in message.chain] == [[3], [2]]  # the next one stands last
    assert message.chain[0]["options"]["task_id"] == result.id
    assert message.chain[1]["options"]["task_id"] == result.parent.id
    assert message.id == result.parent.parent.id


def test_a_chain_can_be_sent_again_and_has_other_ids(tasks: Tasks) -> None:
    steps = tasks.add.s(1) | tasks.add.s(2)
    assert len({steps.delay().id, steps.delay().id}) == 2


def test_links_are_for_the_end_and_errbacks_for_all(tasks: Tasks) -> None:
    steps = tasks.add.s(1) | tasks.add.s(2)
    steps.link(tasks.note.s())
    steps.link_error(tasks.note_error.s())
    steps.delay()
    (message,) = tasks.told
    assert message.link is None
    assert [item["task"] for item in message.link_error] == ["note_error"]
    options = message.chain[0]["options"]
    assert [item["task"] for item in options["link"]] == ["note"]
    assert [item["task"] for item in options["link_error"]] == ["note_error"]


def test_options_of_the_call_are_for_the_first(tasks: Tasks) -> None:
    chain(tasks.add.s(1), tasks.add.s(2)).apply_async(queue="q", countdown=5)
    (message,) = tasks.told
    assert message.headers["eta"]
    assert tasks.app.broker.sent[0].routing_key == "q"
    assert "queue" not in message.chain[0]["options"]


def test_a_group_in_between_is_a_header(tasks: Tasks) -> None:
    add = tasks.add
    _chain(add.s(1), group(add.s(2), add.s(3)), tasks.total.s(), add.s(4)).delay()
    (message,) = tasks.told
    last, middle = message.chain
    assert (last["args"], middle["subtask_type"]) == ([4], "chord")
    assert middle["kwargs"]["body"]["task"] == "total"


def test_what_follows_a_group_runs_once(tasks: Tasks) -> None:
    """Celery tells each member of the second group to go on with the third."""
    add = tasks.add
    pairs = [group(add.s(), add.s()) for _ in range(3)]
    result = reduce(operator.or_, pairs).apply_async((1,))
    for message in tasks.told:
        assert message.chord["subtask_type"] == "chord"  # the second group, which has the third as its body
        assert message.chord["kwargs"]["body"]["options"]["task_id"] == result.id
    assert len(result.results) == len(result.parent.results) == len(result.parent.parent.results) == 2


def test_empty(tasks: Tasks) -> None:
    assert chain().apply_async() is None
    assert chain().freeze() is None
    assert (chain() | tasks.add.s(1)).tasks == [tasks.add.s(1)]
    _chain(tasks.add.s(1), group([]), tasks.add.s(2)).delay()
    (message,) = tasks.told
    assert [step["args"] for step in message.chain] == [[2]]


def test_one_step_is_that_step(tasks: Tasks) -> None:
    result = chain(tasks.add.s(1)).apply_async(task_id="ID", group_id="g", group_index=2, chord=tasks.total.s())
    (message,) = tasks.told
    assert (result.id, message.id) == ("ID", "ID")
    assert (message.headers["group"], message.headers["group_index"]) == ("g", 2)
    assert message.chord["task"] == "total"


def test_frozen_steps_keep_their_ids(tasks: Tasks) -> None:
    steps = chain(tasks.add.s(1), tasks.add.s(2))
    result = steps.freeze("LAST")
    sent = steps.apply_async()
    assert (result.id, result.parent.id) == ("LAST", sent.parent.id)
    assert sent == result


def test_it_travels(tasks: Tasks, app: Celery) -> None:
    steps = (tasks.add.s(1) | group(tasks.add.s(2), tasks.add.s(3)) | tasks.total.s()).on_error(tasks.note_error.s())
    back = signature(json.loads(json.dumps(steps)), app=app)
    assert isinstance(back, _chain)
    assert isinstance(back.tasks[1], type(chord([], tasks.total.s())))
    back.delay()
    assert len(tasks.told) == 1


def test_only_signatures(tasks: Tasks) -> None:
    with pytest.raises(TypeError, match="expected a signature"):
        chain(tasks.add.s(1), 5)
    with pytest.raises(TypeError):
        tasks.add.s(1) | 5


def test_one_signature_many_times(tasks: Tasks) -> None:
    one = tasks.add.s(1)
    result = chain(one, one, one).delay()
    assert len({result.id, result.parent.id, result.parent.parent.id}) == 3


def test_the_size_of_a_message_grows_with_the_number_of_steps(tasks: Tasks, app: Celery) -> None:
    sizes = []
    for count in (10, 20, 40):
        chain(tasks.add.s(1) for _ in range(count)).delay()
        sizes.append(len(app.broker.sent[-1].body))
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.05)


def test_immutable(tasks: Tasks) -> None:
    chain(tasks.add.si(1), tasks.add.s(2)).apply_async((9,))
    chain(tasks.add.s(1), tasks.add.s(2)).set(immutable=True).apply_async((9,))
    assert [message.args for message in tasks.told] == [[1], [1]]


def test_partial(tasks: Tasks) -> None:
    chain(tasks.add.s(1), tasks.add.s(2)).clone((5,), queue="q").delay(7)
    (message,) = tasks.told
    assert message.args == [7, 5, 1]
    assert tasks.app.broker.sent[0].routing_key == "q"


def test_text(tasks: Tasks) -> None:
    assert repr(tasks.add.s(1) | tasks.add.s(2)) == "add(1) | add(2)"
    assert repr(chain()).startswith("<chain@0x")
