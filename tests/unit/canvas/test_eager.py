"""Canvas in one process: the outcome that workers would give it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from celerylite import Celery, chain, chord, group
from celerylite.exceptions import ChordError
from tests.unit.canvas.conftest import Tasks


@pytest.fixture(params=["apply", "task_always_eager"])
def run(request: pytest.FixtureRequest, app: Celery) -> Callable[..., Any]:
    """Runs a signature in one of the two ways."""
    app.conf.task_always_eager = request.param == "task_always_eager"
    return lambda sig, *args: sig.apply(args) if request.param == "apply" else sig.apply_async(args)


def test_chain(tasks: Tasks, run: Any) -> None:
    result = run(chain(tasks.add.s(1), tasks.add.s(2), tasks.add.s(3)), 10)
    assert (result.get(), result.parent.get(), result.parent.parent.get()) == (16, 13, 11)
    assert run(chain()) is None


def test_group(tasks: Tasks, run: Any) -> None:
    result = run(group(tasks.add.s(1), group(tasks.add.s(2)), tasks.add.si(3)), 10)
    assert result.get() == result.join() == [11, 12, 3]
    assert result.successful() and result.completed_count() == 3
    assert run(group()).get() == []


def test_chord(tasks: Tasks, run: Any) -> None:
    result = run(group(tasks.add.s(1), tasks.add.s(2) | group(tasks.add.s(3), tasks.add.s(4))) | tasks.note.s(), 10)
    assert result.get() == [11, [15, 16]]
    assert len(result.parent.results) == 2
    assert run(chord([], tasks.total.s())).get() == 0


def test_a_failed_step_fails_the_rest(tasks: Tasks, run: Any) -> None:
    steps = chain(tasks.add.s(1), tasks.boom.s(), tasks.note.s(), group(tasks.add.s(), tasks.add.s()))
    result = run(steps.on_error(tasks.note_error.s()))
    assert [child.state for child in result.results] == ["FAILURE"] * 2
    assert (result.parent.state, result.parent.parent.state, result.parent.parent.parent.state) == (
        "FAILURE", "FAILURE", "SUCCESS",
    )  # fmt: skip
    with pytest.raises(ValueError, match="boom"):
        result.get()
    assert tasks.seen == [(result.parent.parent.id, "ValueError")]  # of the step that failed, and of no other


def test_a_failed_part_fails_the_body(tasks: Tasks, run: Any) -> None:
    body = (tasks.note.s() | tasks.note.s()).on_error(tasks.note_error.s())
    result = run(chord([tasks.add.s(1), tasks.boom.s()], tasks.note.s().on_error(tasks.note_error.s())))
    assert isinstance(result.result, ChordError) and "boom" in str(result.result)
    assert tasks.seen == [(result.id, "ChordError")]
    tasks.seen.clear()
    assert run(chord([tasks.boom.s()], body)).failed()
    inner = chord([tasks.boom.s()], tasks.total.s())
    assert run(chord([inner, tasks.add.s(1)], group(tasks.note.s(), tasks.note.s()))).failed()


def test_links(tasks: Tasks, run: Any) -> None:
    both = tasks.add.s(1) | tasks.add.s(2)
    both.link(tasks.note.s())
    assert run(both).get() == 3
    assert tasks.seen == [3]


def test_ids_that_were_fixed_before(tasks: Tasks, run: Any) -> None:
    steps = chain(tasks.add.s(1), tasks.add.s(2))
    result = steps.freeze()
    assert run(steps) == result


def test_replace(tasks: Tasks, run: Any, app: Celery) -> None:
    @app.task(bind=True)
    def swap(self: Any, kind: str) -> Any:
        add = tasks.add
        return self.replace({
            "task": add.s(1), "chain": add.s(1) | add.s(1), "group": group(add.s(1), add.s(2)),
            "chord": group(add.s(1), add.s(2)) | tasks.total.s(), "end": add.s(1) | group(add.s(1), add.s(2)),
        }[kind])  # fmt: skip

    for kind, value in {"task": 1, "chain": 2, "group": [1, 2], "chord": 3, "end": [2, 3]}.items():
        tasks.seen.clear()
        assert run(swap.s(kind).set(link=[tasks.note.s()]) | tasks.note.s()).get() == value
        assert tasks.seen == [value, value]


def test_canvas_tasks_by_name(tasks: Tasks, run: Any, app: Celery) -> None:
    call = app.tasks
    assert run(call["celery.group"].s([tasks.add.s(1), tasks.add.s(2)])).get() == [1, 2]
    assert run(call["celery.chain"].s([tasks.add.s(1), tasks.add.s(2)])).get() == 3
    assert run(call["celery.chord"].s([tasks.add.s(1)], tasks.total.s())).get() == 1
    assert run(call["celery.chunks"].s(tasks.add.s(), [(1, 2), (3, 4), (5, 6)], 2)).get() == [[3, 7], [11]]
    assert run(tasks.add.map([1, 2])).get() == [1, 2]
    assert run(tasks.add.chunks([(1, 2), (3, 4)], 1)).get() == [[3], [7]]


def test_wait_for_it(tasks: Tasks, app: Celery) -> None:
    app.conf.task_always_eager = True
    assert ~tasks.add.s(1, 2) == 3
    assert ~(tasks.add.s(1) | tasks.add.s(2)) == 3
