"""Collecting: what would be sent, without sending it."""

from __future__ import annotations

from typing import Any

import pytest

from celerylite import Celery, Task, chain, chord, group, signals
from tests.unit.canvas.conftest import Tasks


def test_nothing_is_sent_or_changed(tasks: Tasks) -> None:
    canvas = chain(tasks.add.s(1), group(tasks.add.s(2), tasks.add.s(3)), tasks.total.s())
    before = repr(dict(canvas))
    dispatch = canvas.collect((5,), queue="q")
    assert repr(dict(canvas)) == before and not tasks.told
    (message,) = dispatch.messages
    assert (message.routing_key, dispatch.chords) == ("q", [])


def test_every_kind(tasks: Tasks) -> None:
    for canvas, count in (
        (tasks.add.s(1), 1), (tasks.add.s(1) | tasks.add.s(2), 1), (group(tasks.add.s(1), tasks.add.s(2)), 2),
        (chord([tasks.add.s(1)], tasks.total.s()), 1), (tasks.add.map([1]), 1), (tasks.add.chunks([(1,), (2,)], 1), 2),
        (group(), 0),
    ):  # fmt: skip
        assert len(canvas.collect().messages) == count


def test_a_task_s_own_apply_async_is_asked(app: Celery, tasks: Tasks) -> None:
    class Tagged(Task):
        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return super().apply_async((*(args or ()), "tag"), kwargs, **options)

    @app.task(base=Tagged)
    def tagged(*args: Any) -> None: ...

    dispatch = group(tagged.s(1), tasks.add.s(2)).collect()
    assert len(dispatch.messages) == 2 and not tasks.told
    group(tagged.s(1), tasks.add.s(2)).delay()
    assert [message.args for message in tasks.told] == [[1, "tag"], [2]]
    assert [message.headers["group_index"] for message in tasks.told] == [0, 1]


def test_signals_tell_of_each_message(tasks: Tasks) -> None:
    heard: list[Any] = []

    def before(sender: Any, **kwargs: Any) -> None:
        heard.append(("before", sender))

    def after(sender: Any, **kwargs: Any) -> None:
        heard.append(("after", sender))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        group(tasks.add.s(1), tasks.boom.s()).delay()
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert heard == [("before", "add"), ("before", "boom"), ("after", "add"), ("after", "boom")]


def test_calls_of_a_running_task_are_its_children(tasks: Tasks, app: Celery) -> None:
    from celerylite import context
    from celerylite.context import Context

    token = context.push(tasks.add, Context(id="PARENT", root_id="ROOT", called_directly=False))
    try:
        results = [canvas.delay() for canvas in (
            tasks.add.s(1), group(tasks.add.s(2), tasks.add.s(3)), tasks.add.s(4) | tasks.add.s(5),
        )]  # fmt: skip
        children = tasks.add.request.children
    finally:
        context.pop(token)
    assert children == [results[0], results[1], results[2].parent]
    ids = {(message.headers["root_id"], message.headers["parent_id"]) for message in tasks.told}
    assert ids == {("ROOT", "PARENT")}


def test_a_chord_is_started_before_its_parts_are_sent(
    tasks: Tasks, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []
    backend, broker = type(app.backend), type(app.broker)
    monkeypatch.setattr(backend, "start_chords", lambda self, chords: order.append([c.size for c in chords]) or [])
    monkeypatch.setattr(broker, "_send", lambda self, messages: order.append(len(messages)))
    chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s()).delay()
    assert order == [[2], 2]


@pytest.mark.parametrize("option", ["producer", "connection"])
def test_over_a_connection_of_the_caller(redis_app: Any, redis_client: Any, option: str) -> None:
    task = redis_app.task(name="t")(lambda: None)
    elsewhere = redis_app.connection_for_write(transport_options={"global_keyprefix": "elsewhere:"})
    given = elsewhere if option == "connection" else redis_app.amqp.Producer(elsewhere, auto_declare=False)
    group([task.s(), task.s().set(expires=60)]).apply_async(**{option: given})
    assert redis_client.llen("elsewhere:celery") == 2
    assert redis_client.llen("celery") == 0
    elsewhere.close()
