"""Results as the caller sees them, over a store in memory."""

from __future__ import annotations

import copy
import datetime
import pickle
import threading
import uuid
from typing import Any

import pytest

from celerylite import _state, states
from celerylite.context import Context
from celerylite.exceptions import IncompleteStream, TaskRevokedError, TimeoutError
from celerylite.result import (
    AsyncResult,
    EagerResult,
    GroupResult,
    ResultSet,
    allow_join_result,
    denied_join_result,
    result_from_tuple,
)


@pytest.fixture
def ids() -> Any:
    """Task ids that nobody used before: the memory store is one for the whole process."""
    return lambda: str(uuid.uuid4())


@pytest.fixture
def stored(app: Any, ids: Any) -> Any:
    """`stored(value)` → the result of a task that has ended so."""

    def store(value: Any, state: str = states.SUCCESS, **kwargs: Any) -> AsyncResult[Any]:
        task_id = ids()
        app.backend.store_result(task_id, value, state, **kwargs)
        return app.AsyncResult(task_id)

    return store


class Control:
    """Stands where remote control will be, and notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


# -- one result


def test_a_result_needs_an_id(app: Any) -> None:
    with pytest.raises(ValueError, match="requires valid id"):
        app.AsyncResult(None)


def test_get_returns_what_the_task_returned(stored: Any) -> None:
    assert stored({"x": 1}).get(timeout=1) == {"x": 1}


def test_get_raises_what_the_task_raised(stored: Any) -> None:
    result = stored(KeyError("k"), states.FAILURE, traceback="tb")
    with pytest.raises(KeyError) as caught:
        result.get(timeout=1)
    assert caught.value.args == ("k",)
    assert isinstance(result.get(propagate=False), KeyError)
    assert result.traceback == "tb"


def test_raising_again_does_not_grow_the_traceback(stored: Any) -> None:
    result = stored(KeyError("k"), states.FAILURE)
    depths = []
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            result.get(timeout=1)
        depths.append(len(caught.traceback))
    assert depths[1] == depths[2]


def test_a_revoked_task_raises(stored: Any) -> None:
    with pytest.raises(TaskRevokedError, match="no more"):
        stored(TaskRevokedError("no more"), states.REVOKED).get(timeout=1)


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_get_times_out(app: Any, ids: Any, timeout: float) -> None:
    with pytest.raises(TimeoutError, match="The operation timed out."):
        app.AsyncResult(ids()).get(timeout=timeout)


def test_get_waits_for_a_result_of_another_thread(app: Any, ids: Any) -> None:
    result = app.AsyncResult(ids())
    timer = threading.Timer(0.05, app.backend.store_result, (result.id, 7, states.SUCCESS))
    timer.start()
    assert result.get(timeout=5) == 7
    timer.join()


def test_callbacks_of_get(stored: Any) -> None:
    seen: list[Any] = []
    result = stored(5)
    result.get(
        timeout=1,
        callback=lambda *args: seen.append(args),
        on_message=lambda meta: seen.append(meta["status"]),
    )
    assert seen == ["SUCCESS", (result.id, 5)]


def test_states_of_a_result(app: Any, ids: Any, stored: Any) -> None:
    pending, done, failed = app.AsyncResult(ids()), stored(1), stored(ValueError(), states.FAILURE)
    assert (pending.state, pending.ready(), pending.successful(), pending.failed()) == (
        "PENDING",
        False,
        False,
        False,
    )
    assert (done.status, done.ready(), done.successful(), done.failed()) == ("SUCCESS", True, True, False)
    assert (failed.state, failed.ready(), failed.successful(), failed.failed()) == (
        "FAILURE",
        True,
        False,
        True,
    )
    assert not pending.exists() and done.exists()


def test_a_state_in_between_carries_information(stored: Any) -> None:
    result = stored({"done": 3, "of": 9}, "PROGRESS")
    assert (result.state, result.info, result.ready()) == ("PROGRESS", {"done": 3, "of": 9}, False)


def test_when_it_ended_is_a_date_with_a_zone(stored: Any) -> None:
    done = stored(1).date_done
    assert isinstance(done, datetime.datetime) and done.tzinfo is not None
    assert stored(1, "PROGRESS").date_done is None


def test_extended_fields(app: Any, stored: Any) -> None:
    app.conf.result_extended = True
    request = Context(
        task="t.add",
        args=(1,),
        kwargs={"y": 2},
        hostname="w@h",
        retries=3,
        delivery_info={"routing_key": "q"},
    )
    result = stored(1, request=request)
    assert (result.name, result.args, result.kwargs) == ("t.add", [1], {"y": 2})
    assert (result.worker, result.retries, result.queue) == ("w@h", 3, "q")


def test_without_extended_fields(stored: Any) -> None:
    result = stored(1)
    assert {result.name, result.worker, result.queue, result.retries} == {None}


def test_an_ignored_result_is_not_waited_for(app: Any, ids: Any) -> None:
    result = app.AsyncResult(ids())
    result.ignored = True
    assert result.get() is None


def test_ignored_results_of_a_group_are_not_waited_for(app: Any, ids: Any, stored: Any) -> None:
    ignored = app.AsyncResult(ids())
    ignored.ignored = True
    assert app.GroupResult(ids(), [stored(1), ignored]).get(timeout=1) == [1, None]
    assert app.GroupResult(ids(), [ignored]).join(timeout=1) == [None]


def test_forget_deletes_the_record_and_those_of_the_parents(app: Any, stored: Any) -> None:
    parent = stored(1)
    child = app.AsyncResult(stored(2).id, parent=parent)
    assert child.get(timeout=1) == 2
    child.forget()
    assert (child.state, parent.state) == ("PENDING", "PENDING")


def test_get_raises_the_error_of_a_parent_first(app: Any, stored: Any) -> None:
    child = app.AsyncResult(stored(2).id, parent=stored(ValueError("first"), states.FAILURE))
    with pytest.raises(ValueError, match="first"):
        child.get(timeout=1)
    assert child.get(follow_parents=False, timeout=1) == 2


def test_what_came_before_and_fails_meanwhile_is_the_reason(app: Any, ids: Any, stored: Any) -> None:
    """Celery raises one or the other, as it comes."""
    group = app.GroupResult(ids(), [stored(1), app.AsyncResult(ids())])
    child = app.AsyncResult(ids(), parent=group)

    def fail() -> None:
        app.backend.store_result(group.results[1].id, ValueError("a part"), states.FAILURE)
        app.backend.store_result(child.id, KeyError("the body"), states.FAILURE)

    with pytest.raises(ValueError, match="a part"):
        child.get(timeout=5, interval=0.01, on_interval=fail)


def test_a_parent_that_fails_ends_the_waiting(app: Any, ids: Any) -> None:
    parent = app.AsyncResult(ids())
    child = app.AsyncResult(ids(), parent=parent)
    with pytest.raises(ValueError, match="parent"):
        child.get(
            timeout=5, interval=0.01,
            on_interval=lambda: app.backend.store_result(parent.id, ValueError("parent"), states.FAILURE),
        )  # fmt: skip


def test_maybe_throw_does_not_wait(app: Any, ids: Any, stored: Any) -> None:
    assert app.AsyncResult(ids()).maybe_throw() is None
    assert stored(4).maybe_reraise() == 4
    with pytest.raises(ValueError):
        stored(ValueError(), states.FAILURE).maybe_throw()


def test_revoking_asks_remote_control(app: Any) -> None:
    control = Control()
    result = AsyncResult("i", app=_WithControl(app, control))
    result.revoke(terminate=True, signal="KILL")
    result.revoke_by_stamped_headers({"a": "b"})
    [(name, args, kwargs), (other, stamps, _)] = control.calls
    assert (name, args, kwargs["terminate"], kwargs["signal"], kwargs["reply"]) == (
        "revoke",
        ("i",),
        True,
        "KILL",
        False,
    )
    assert (other, stamps) == ("revoke_by_stamped_headers", ({"a": "b"},))


class _WithControl:
    """An app with another remote control."""

    def __init__(self, app: Any, control: Any) -> None:
        self._app = app
        self.control = control

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


def test_then_is_called_when_the_result_is_known(stored: Any) -> None:
    seen: list[Any] = []
    result = stored(5)
    result.then(seen.append)
    assert seen == []
    result.get(timeout=1)
    assert seen == [result]
    result.then(seen.append)
    assert seen == [result, result]


def test_an_error_in_then_goes_to_on_error(stored: Any) -> None:
    seen: list[Any] = []
    result = stored(5)
    result.then(lambda _: 1 / 0, on_error=lambda exc: seen.append(type(exc)))
    assert result.ready()
    assert seen == [ZeroDivisionError]


def test_waiting_inside_a_task_is_refused(stored: Any) -> None:
    with denied_join_result():
        with pytest.raises(RuntimeError, match="Never call result.get"):
            stored(1).get()
        with pytest.raises(RuntimeError):
            EagerResult("e", 1, states.SUCCESS).get()
        assert stored(1).get(disable_sync_subtasks=False) == 1
        with allow_join_result():
            assert stored(1).get() == 1
        assert _state.task_join_will_block()
    assert not _state.task_join_will_block()


# -- as a Python object


def test_results_are_equal_by_id(app: Any) -> None:
    result = app.AsyncResult("abc")
    assert result == app.AsyncResult("abc") and result == "abc" and result != 5
    assert hash(result) == hash("abc") and str(result) == "abc" and repr(result) == "<AsyncResult: abc>"
    assert result.task_id == "abc"


def test_copies_and_pickles(app: Any) -> None:
    app.set_current()
    result = AsyncResult("abc", app=app, parent=AsyncResult("p", app=app))
    assert copy.copy(result).parent == "p"
    loaded = pickle.loads(pickle.dumps(result))
    assert loaded == result and loaded.parent == "p"
    eager = copy.copy(EagerResult("e", 5, states.SUCCESS, name="t"))
    assert (eager.result, eager.name) == (5, "t")
    assert pickle.loads(pickle.dumps(eager)).get() == 5


def test_a_result_can_be_made_without_touching_the_store() -> None:
    class NoStore:
        @property
        def backend(self) -> Any:
            raise AssertionError("the store was touched")

    AsyncResult("abc", app=NoStore())  # type: ignore[arg-type]


# -- trees


def test_tuples_there_and_back(app: Any) -> None:
    result = app.AsyncResult("c", parent=app.AsyncResult("p"))
    assert result.as_tuple() == (("c", (("p", None), None)), None)
    assert result.as_list() == ["c", "p"]
    again = result_from_tuple([["c", [["p", None], None]], None], app=app)
    assert again == result and again.parent == "p"
    group = app.GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b")])
    assert group.as_tuple() == (("g", None), [(("a", None), None), (("b", None), None)])
    assert result_from_tuple(group.as_tuple(), app=app) == group
    assert result_from_tuple(result, app=app) is result


def test_collect_walks_the_tree(app: Any, stored: Any) -> None:
    leaf = stored(3)
    request = Context(id="x", task="t")
    request.children.append(leaf)
    root = stored(1, request=request)
    assert root.children == [leaf]
    assert list(root.collect()) == [(root, 1), (leaf, 3)]
    assert root.get_leaf() == 3
    assert list(root.iterdeps()) == [(None, root), (root, leaf)]


def test_iterdeps_of_a_pending_result(app: Any, ids: Any) -> None:
    pending = app.AsyncResult(ids())
    with pytest.raises(IncompleteStream):
        list(pending.iterdeps())
    assert list(pending.iterdeps(intermediate=True)) == [(None, pending)]


# -- eager


def test_eager_results() -> None:
    done, failed = (
        EagerResult("e", 5, states.SUCCESS),
        EagerResult("f", ValueError("x"), states.FAILURE, "tb"),
    )
    assert (done.get(), done.ready(), done.successful(), done.state, done.result) == (
        5,
        True,
        True,
        "SUCCESS",
        5,
    )
    assert (done.name, done.children, done.date_done, done.backend) == (None, None, None, None)
    assert failed.failed() and failed.traceback == "tb"
    with pytest.raises(ValueError, match="x"):
        failed.get()
    assert isinstance(failed.get(propagate=False), ValueError)
    with pytest.raises(Exception, match="text"):
        EagerResult("g", "text", states.FAILURE).get()
    assert EagerResult("h", ValueError(), states.RETRY).get() is None


def test_an_eager_result_can_be_revoked_and_forgotten() -> None:
    result = EagerResult("e", 5, states.SUCCESS)
    result.forget()
    result.revoke()
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get()


def test_an_eager_result_without_an_id() -> None:
    # celery-singleton and celery-once return such a thing when a lock refuses the call.
    assert EagerResult(None, None, states.REJECTED).get() is None


def test_then_of_an_eager_result() -> None:
    seen: list[Any] = []
    result = EagerResult("e", 5, states.SUCCESS)
    result.then(seen.append)
    assert seen == [result]


# -- many


def test_a_set_as_a_collection(app: Any) -> None:
    a, b = app.AsyncResult("a"), app.AsyncResult("b")
    results = ResultSet([a], app=app)
    results.add(b)
    results.add(b)
    assert list(results) == [a, b] and len(results) == 2 and results[1] == b
    assert repr(results) == "<ResultSet: [a, b]>"
    results.remove("a")
    with pytest.raises(KeyError):
        results.remove("a")
    results.discard(a)
    results.update([a, b])
    assert results.results == [b, a] and results == ResultSet([b, a], app=app)
    results.clear()
    assert not results.results and results.get() == []


def test_the_values_of_a_set_in_order(app: Any, stored: Any) -> None:
    results = ResultSet([stored(1), stored(2), stored(3)], app=app)
    assert results.get(timeout=1) == results.join(timeout=1) == results.join_native(timeout=1) == [1, 2, 3]
    assert (results.ready(), results.successful(), results.failed(), results.waiting()) == (
        True,
        True,
        False,
        False,
    )
    assert results.completed_count() == 3


def test_a_result_twice_in_a_set(app: Any, stored: Any) -> None:
    one = stored(1)
    assert ResultSet([one, app.AsyncResult(one.id)], app=app).get(timeout=1) == [1, 1]


def test_the_first_error_of_a_set_is_raised(app: Any, stored: Any) -> None:
    results = ResultSet([stored(1), stored(ValueError("x"), states.FAILURE)], app=app)
    for wait in (results.get, results.join, results.join_native):
        with pytest.raises(ValueError, match="x"):
            wait(timeout=1)
    with pytest.raises(ValueError):
        results.maybe_throw()
    values = results.get(timeout=1, propagate=False)
    assert values[0] == 1 and isinstance(values[1], ValueError)
    assert results.failed() and not results.successful() and results.completed_count() == 1


def test_a_set_times_out(app: Any, ids: Any, stored: Any) -> None:
    results = ResultSet([stored(1), app.AsyncResult(ids()), app.AsyncResult(ids())], app=app)
    assert not results.ready() and results.waiting()
    for wait in (results.get, results.join):
        with pytest.raises(TimeoutError):
            wait(timeout=0.05)


def test_a_callback_gets_the_values_of_a_set(app: Any, stored: Any) -> None:
    one, two = stored(1), stored(2)
    seen: dict[str, Any] = {}
    ResultSet([one, two], app=app).get(timeout=1, callback=seen.__setitem__)
    assert seen == {one.id: 1, two.id: 2}


def test_sets_within_sets(app: Any, stored: Any) -> None:
    inner = app.GroupResult("inner", [stored(1), stored(2)])
    outer = app.GroupResult("outer", [inner, stored(3), EagerResult("e", 4, states.SUCCESS)])
    assert outer.get(timeout=1) == [[1, 2], 3, 4]
    assert outer.join(timeout=1) == [[1, 2], 3, 4]
    assert outer.ready() and outer.successful()


def test_then_of_a_set(app: Any, stored: Any) -> None:
    seen: list[Any] = []
    results = ResultSet([stored(1), stored(2)], app=app)
    results.then(seen.append)
    assert seen == []
    assert results.ready()
    assert seen == [results]


def test_forgetting_a_set(app: Any, stored: Any) -> None:
    one = stored(1)
    ResultSet([one], app=app).forget()
    assert one.state == "PENDING"


def test_revoking_a_set() -> None:
    control = Control()
    app = _WithControl(None, control)
    ResultSet([AsyncResult("a", app=app), AsyncResult("b", app=app)], app=app).revoke()  # type: ignore[arg-type]
    assert control.calls[0][1] == (["a", "b"],)


def test_a_group_is_saved_and_restored(app: Any, ids: Any, stored: Any) -> None:
    group = app.GroupResult(ids(), [stored(1), stored(2)], parent=app.AsyncResult("p"))
    group.save()
    again = app.GroupResult.restore(group.id)
    assert again == group and again.get(timeout=1) == [1, 2]
    group.delete()
    assert app.GroupResult.restore(group.id) is None


def test_a_group_as_a_python_object(app: Any) -> None:
    group = GroupResult("g", [app.AsyncResult("a")], app=app)
    assert (
        repr(group) == "<GroupResult: g [a]>"
        and str(group) == "g"
        and hash(group) == hash("g")
        and group == "g"
    )
    assert group.children == group.results and bool(GroupResult("x", [])) and not GroupResult(None, [])
