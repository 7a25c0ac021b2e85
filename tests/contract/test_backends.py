"""One suite that every result store passes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celerylite import Celery, states
from celerylite.backends.base import BaseDictBackend
from celerylite.context import Context
from celerylite.exceptions import TimeoutError


class DictBackend(BaseDictBackend):
    """A store as third parties write them: the template methods and nothing else."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.records: dict[str, Any] = {}
        self.groups: dict[str, Any] = {}

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        if self._get_task_meta_for(task_id)["status"] != states.SUCCESS:
            self.records[task_id] = self.encode(self._get_result_meta(result, state, traceback, request))
        return result

    def _get_task_meta_for(self, task_id: str) -> Any:
        record = self.records.get(task_id)
        return self.decode_result(record) if record else {"status": states.PENDING, "result": None}

    def _forget(self, task_id: str) -> None:
        self.records.pop(task_id, None)

    def _save_group(self, group_id: str, result: Any) -> Any:
        self.groups[group_id] = result
        return result

    def _restore_group(self, group_id: str) -> Any:
        return {"result": self.groups[group_id]} if group_id in self.groups else None

    def _delete_group(self, group_id: str) -> None:
        self.groups.pop(group_id, None)


JSON: dict[str, Any] = {}
PICKLE = {"result_serializer": "pickle", "accept_content": ["json", "pickle"]}
STORES = {
    "dict": (f"{__name__}:DictBackend", JSON),
    "memory": ("cache+memory://", JSON),
    "memory-pickle": ("cache+memory://", PICKLE),
    "redis": ("redis", JSON),
    "sqlite": ("sqlite", JSON),
    "sqlite-pickle": ("sqlite", PICKLE),
    "sqlite-compressed": ("sqlite", {"result_compression": "zlib"}),
    "sqlite-prefix": ("sqlite", {"result_backend_transport_options": {"global_keyprefix": "mine"}}),
    "redis_cluster": ("redis_cluster", JSON),
    "redis-pickle": ("redis", PICKLE),
    "redis-msgpack": ("redis", {"result_serializer": "msgpack", "accept_content": ["msgpack"]}),
    "redis-yaml": ("redis", {"result_serializer": "yaml", "accept_content": ["yaml"]}),
    "redis-compressed": ("redis", {"result_compression": "zlib"}),
    "redis-prefix": ("redis", {"result_backend_transport_options": {"global_keyprefix": "mine"}}),
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) if "cluster" in name else name for name in STORES])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The store of an app, one kind after the other."""
    url, settings = STORES[request.param]
    for package in ("msgpack", "yaml"):
        if package == settings.get("result_serializer"):
            pytest.importorskip(package)
    if url == "redis_cluster":
        url = request.getfixturevalue("redis_cluster").url
    elif url == "redis":
        url = request.getfixturevalue("redis_url")
    elif url == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('tmp_path')}/results.db"
    app = Celery("tests", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    yield app.backend


@pytest.fixture
def task_id() -> str:
    return str(uuid.uuid4())


def test_nothing_is_known_of_a_task_at_first(store: Any, task_id: str) -> None:
    assert store.get_task_meta(task_id) == {"status": "PENDING", "result": None}
    assert (store.get_state(task_id), store.get_status(task_id), store.get_result(task_id)) == (
        "PENDING",
        "PENDING",
        None,
    )
    assert not store.task_result_exists(task_id)


@pytest.mark.parametrize("value", [None, 5, "ü", [1, [2]], {"a": {"b": None}}, 1.5, True, ""])
def test_values(store: Any, task_id: str, value: Any) -> None:
    assert store.store_result(task_id, value, states.SUCCESS) == value
    assert store.get_result(task_id) == value
    assert store.get_state(task_id) == "SUCCESS"
    assert store.task_result_exists(task_id)


def test_success_stays(store: Any, task_id: str) -> None:
    store.store_result(task_id, 1, states.SUCCESS)
    store.store_result(task_id, 2, states.FAILURE)
    store.mark_as_revoked(task_id, "late")
    store.store_result(task_id, 3, states.SUCCESS)
    assert (store.get_state(task_id), store.get_result(task_id)) == ("SUCCESS", 1)


def test_anything_else_is_overwritten(store: Any, task_id: str) -> None:
    for state, value in [
        ("STARTED", {"pid": 1}),
        ("PROGRESS", 5),
        ("RETRY", None),
        ("SUCCESS-ISH", "SUCCESS"),
        ("NO_SUCCESS", {"status": "SUCCESS"}),
        ("SUCCESS", 9),
    ]:
        store.store_result(task_id, value, state)
        assert (store.get_state(task_id), store.get_result(task_id)) == (state, value)


def test_failures(store: Any, task_id: str) -> None:
    store.mark_as_failure(task_id, KeyError("k"), traceback="tb")
    result = store.get_result(task_id)
    assert isinstance(result, KeyError) and result.args == ("k",)
    assert (store.get_state(task_id), store.get_traceback(task_id)) == ("FAILURE", "tb")
    with pytest.raises(KeyError):
        store.app.AsyncResult(task_id).get(timeout=1)


def test_the_states_that_tasks_pass(store: Any, task_id: str) -> None:
    store.mark_as_started(task_id, pid=7, hostname="h")
    assert store.get_result(task_id) == {"pid": 7, "hostname": "h"}
    store.mark_as_retry(task_id, ValueError("again"), traceback="tb")
    assert store.get_state(task_id) == "RETRY" and isinstance(store.get_result(task_id), ValueError)
    store.mark_as_revoked(task_id, "why")
    assert store.get_state(task_id) == "REVOKED" and str(store.get_result(task_id)) == "why"


def test_an_ignored_result_is_not_stored(store: Any, task_id: str) -> None:
    store.mark_as_done(task_id, 1, request=Context(id=task_id, ignore_result=True))
    store.mark_as_failure(task_id, ValueError(), store_result=False)
    assert not store.task_result_exists(task_id)


def test_fail_from_current_stack(store: Any, task_id: str) -> None:
    try:
        raise ZeroDivisionError("here")
    except ZeroDivisionError:
        store.fail_from_current_stack(task_id)
    assert isinstance(store.get_result(task_id), ZeroDivisionError)
    assert "test_fail_from_current_stack" in store.get_traceback(task_id)


def test_forgetting(store: Any, task_id: str) -> None:
    store.store_result(task_id, 1, states.SUCCESS)
    store.forget(task_id)
    store.forget(task_id)
    assert store.get_state(task_id) == "PENDING"


def test_children(store: Any, task_id: str) -> None:
    request = Context(id=task_id)
    request.children.append(store.app.AsyncResult("child"))
    store.mark_as_done(task_id, 1, request=request)
    assert store.app.AsyncResult(task_id).children == ["child"]


def test_results_of_other_tasks_as_values(store: Any, task_id: str) -> None:
    store.app.set_current()
    store.store_result(task_id, store.app.AsyncResult("other"), states.SUCCESS)
    found = store.get_result(task_id)
    if store.serializer == "pickle":
        assert found == "other"
    else:
        assert found in ([["other", None], None], (("other", None), None))


def test_waiting(store: Any, task_id: str) -> None:
    timer = threading.Timer(0.05, store.store_result, (task_id, 7, states.SUCCESS))
    timer.start()
    assert store.app.AsyncResult(task_id).get(timeout=10, interval=0.01) == 7
    timer.join()


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_waiting_too_long(store: Any, task_id: str, timeout: float) -> None:
    with pytest.raises(TimeoutError, match="The operation timed out."):
        store.app.AsyncResult(task_id).get(timeout=timeout, interval=0.01)


def test_on_interval(store: Any, task_id: str) -> None:
    calls: list[int] = []

    def on_interval() -> None:
        calls.append(1)
        if len(calls) == 3:
            store.store_result(task_id, 1, states.SUCCESS)

    assert store.app.AsyncResult(task_id).get(timeout=10, interval=0.01, on_interval=on_interval) == 1
    assert len(calls) >= 3


def test_a_hundred_results(store: Any) -> None:
    ids = [str(uuid.uuid4()) for _ in range(100)]
    results = store.app.ResultSet([store.app.AsyncResult(one) for one in ids])
    for number, one in enumerate(ids[:50]):
        store.store_result(one, number, states.SUCCESS)
    assert (results.completed_count(), results.ready()) == (50, False)

    def rest() -> None:
        for number, one in enumerate(ids[50:], 50):
            store.store_result(one, number, states.SUCCESS)

    thread = threading.Thread(target=rest)
    thread.start()
    assert results.get(timeout=20, interval=0.01) == list(range(100))
    thread.join()


def test_groups(store: Any) -> None:
    group = store.app.GroupResult(str(uuid.uuid4()), [store.app.AsyncResult("a"), store.app.AsyncResult("b")])
    group.save()
    assert store.app.GroupResult.restore(group.id) == group
    store.delete_group(group.id)
    assert store.restore_group(group.id) is None


def test_records_that_execution_stores(store: Any, task_id: str) -> None:
    store.store(task_id, store.record(task_id, states.FAILURE, ValueError("x"), "tb"), states.FAILURE)
    assert store.get_state(task_id) == "FAILURE"
    store.store(task_id, store.record(task_id, states.SUCCESS, 5))
    store.store(task_id, store.record(task_id, states.FAILURE, ValueError("x")))
    assert store.get_result(task_id) == 5


def test_many_threads(store: Any) -> None:
    ids = [str(uuid.uuid4()) for _ in range(40)]
    found: list[Any] = []

    def wait(one: str) -> None:
        found.append(store.app.AsyncResult(one).get(timeout=20, interval=0.01))

    threads = [threading.Thread(target=wait, args=(one,)) for one in ids * 2]
    for thread in threads:
        thread.start()
    for one in ids:
        store.store_result(one, one, states.SUCCESS)
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(ids * 2)


def test_pickled_stores(store: Any) -> None:
    import pickle

    store.app.set_current()
    again = pickle.loads(pickle.dumps(store))
    assert type(again) is type(store) and again.expires == store.expires


Retry = Callable[[], Any]


def test_always_retry(store: Any, task_id: str) -> None:
    """`result_backend_always_retry` tries again while the error may pass, then raises our own."""
    from celerylite.exceptions import BackendGetMetaError, BackendStoreError

    trouble = [OSError("gone")] * 2

    def failing(action: Retry) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if trouble:
                raise trouble.pop()
            return action(*args, **kwargs)

        return call

    store.always_retry, store.max_retries = True, 3
    store.base_sleep_between_retries_ms = 0
    store.exception_safe_to_retry = lambda exc: isinstance(exc, OSError)
    store._store_result = failing(store._store_result)
    store.store_result(task_id, 1, states.SUCCESS)
    assert store.get_result(task_id) == 1
    trouble[:] = [OSError("gone")] * 9
    with pytest.raises(BackendStoreError):
        store.store_result(task_id, 1, states.SUCCESS)
    store._get_task_meta_for = failing(store._get_task_meta_for)
    trouble[:] = [OSError("gone")] * 9
    with pytest.raises(BackendGetMetaError):
        store.get_state(task_id)
