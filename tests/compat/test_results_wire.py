"""Results on the wire: what we store is what Celery stores, byte for byte, and each reads the other's."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis

from celerylite import Celery, exceptions
from celerylite.context import Context

from ..support.waiting import wait_for

celery = pytest.importorskip("celery")
celery_task = pytest.importorskip("celery.app.task")

REQUEST = {
    "id": "i", "task": "t.add", "args": [1], "kwargs": {"y": 2}, "hostname": "w1@h", "retries": 1,
    "group": "g", "parent_id": "p", "root_id": "r",
    "delivery_info": {"exchange": "", "routing_key": "celery"},
}  # fmt: skip

#: Differs from run to run.
DATE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")


class Side:
    """One of the two libraries on the test's database."""

    def __init__(self, library: Any, context: type, url: str, **conf: Any) -> None:
        self.app = library("wire", broker="memory://", backend=url, set_as_current=False)
        self.app.conf.update(conf)
        self.context = context
        self.backend = self.app.backend

    def request(self, **more: Any) -> Any:
        return self.context({**REQUEST, **more})


@pytest.fixture
def sides(redis_url: str) -> Callable[..., tuple[Side, Side]]:
    """`sides(**settings)` → (we, they) on one database."""

    def make(**conf: Any) -> tuple[Side, Side]:
        return Side(Celery, Context, redis_url, **conf), Side(
            celery.Celery, celery_task.Context, redis_url, **conf
        )

    return make


def _record(client: redis.Redis, task_id: str) -> bytes:
    raw = client.get(f"celery-task-meta-{task_id}")
    assert isinstance(raw, bytes), f"no record of {task_id}"
    return DATE.sub(b"DATE", raw)


def store_all(side: Side) -> None:
    """Every kind of record, under the same ids on both sides."""
    backend, request = side.backend, side.request()
    backend.store_result("plain", {"x": [1, None, "ü"]}, "SUCCESS")
    backend.mark_as_done("done", 5, request=side.request(group=None, parent_id=None))
    backend.mark_as_done("grouped", 5, request=request)
    backend.mark_as_started("started", pid=1, hostname="h")
    backend.mark_as_retry("retry", ValueError("again"), traceback="tb", request=request)
    backend.mark_as_retry("retry-none", None, request=request)
    backend.mark_as_revoked("revoked", "terminated", request=request)
    backend.mark_as_failure("failure", KeyError("k", 1, None), traceback="Traceback …\n", request=request)
    backend.store_result("progress", {"done": 3}, "PROGRESS")
    for name, value in {
        "a": b"\x00\xff",
        "b": "x" * 100,
        "c": 1.5,
        "d": True,
        "e": [],
        "f": {"1": 2},
    }.items():
        backend.store_result(f"value-{name}", value, "SUCCESS")


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "extended": {"result_extended": True},
    "pickle": {"result_serializer": "pickle", "accept_content": ["pickle"]},
    "yaml": {"result_serializer": "yaml", "accept_content": ["yaml"]},
    "msgpack": {"result_serializer": "msgpack", "accept_content": ["msgpack"]},
    "berlin": {"timezone": "Europe/Berlin"},
    "local-time": {"timezone": "Europe/Berlin", "enable_utc": False},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_records_are_the_same_bytes(sides: Any, redis_client: redis.Redis, name: str) -> None:
    serializer = SETTINGS[name].get("result_serializer")
    if serializer in ("yaml", "msgpack"):
        pytest.importorskip(serializer)
    we, they = sides(**SETTINGS[name])
    store_all(we)
    keys = sorted(redis_client.keys("celery-task-meta-*"))
    ours = {key: (DATE.sub(b"DATE", redis_client.get(key)), redis_client.ttl(key)) for key in keys}
    redis_client.flushdb()
    store_all(they)
    theirs = {
        key: (DATE.sub(b"DATE", redis_client.get(key)), redis_client.ttl(key))
        for key in sorted(redis_client.keys("celery-task-meta-*"))
    }
    assert ours == theirs


def test_stamps(sides: Any, redis_client: redis.Redis) -> None:
    we, they = sides(result_extended=True)
    for side, task_id in ((we, "same-1"), (they, "same-2")):
        side.backend.mark_as_done(
            task_id, 1, request=side.request(stamps={"tenant": "t1"}, stamped_headers=["tenant"])
        )
    assert _record(redis_client, "same-1") == _record(redis_client, "same-2").replace(b"same-2", b"same-1")


def test_compressed_records(sides: Any) -> None:
    we, they = sides(result_compression="zlib")
    we.backend.store_result("ours", "x" * 500, "SUCCESS")
    they.backend.store_result("theirs", "x" * 500, "SUCCESS")
    for side in (we, they):
        assert side.backend.get_result("ours") == side.backend.get_result("theirs") == "x" * 500


EXCEPTIONS = [
    ValueError("a", 1, None, 2.5, True), KeyError("k"), OSError(2, "no file"), ValueError(b"\xff"),
    ValueError({1, 2}), UnicodeDecodeError("utf8", b"a", 0, 1, "r"), json.JSONDecodeError("m", "doc", 0),
    SystemExit(3), StopIteration(4),
    MemoryError(),
    ValueError(ValueError("inner")), ValueError((1, (2, 3))), redis.ConnectionError("rc"),
]  # fmt: skip


@pytest.mark.parametrize("exc", EXCEPTIONS, ids=lambda exc: type(exc).__name__)
def test_exceptions_are_stored_alike_and_read_alike(sides: Any, redis_client: redis.Redis, exc: Any) -> None:
    we, they = sides()
    we.backend.mark_as_failure("ours", exc, traceback="tb")
    they.backend.mark_as_failure("theirs", exc, traceback="tb")
    assert _record(redis_client, "ours").replace(b"ours", b"theirs") == _record(redis_client, "theirs")
    found = [side.backend.get_result(task_id) for side in (we, they) for task_id in ("ours", "theirs")]
    assert len({(type(one), str(one.args)) for one in found}) == 1


OWN = [
    ("TaskRevokedError", ("gone",), "celery.exceptions"),
    ("TimeoutError", ("t",), "celery.exceptions"),
    ("MaxRetriesExceededError", ("m",), "celery.exceptions"),
    ("NotRegistered", ("n",), "celery.exceptions"),
    ("ChordError", ("c",), "celery.exceptions"),
    ("SoftTimeLimitExceeded", (), "billiard.exceptions"),
    ("TimeLimitExceeded", (10,), "billiard.exceptions"),
    ("WorkerLostError", ("lost",), "billiard.exceptions"),
    ("Terminated", (9,), "billiard.exceptions"),
]


@pytest.mark.parametrize(("name", "args", "module"), OWN)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_our_exceptions_are_theirs(
    sides: Any, redis_client: redis.Redis, name: str, args: Any, module: str, serializer: str
) -> None:
    import celery.exceptions as their_exceptions

    we, they = sides(result_serializer=serializer, accept_content=["json", "pickle"])
    ours, theirs = getattr(exceptions, name), getattr(their_exceptions, name)
    we.backend.mark_as_failure("ours", ours(*args), traceback="tb")
    they.backend.mark_as_failure("theirs", theirs(*args), traceback="tb")
    if serializer == "json":
        assert _record(redis_client, "ours").replace(b"ours", b"theirs") == _record(redis_client, "theirs")
        assert json.loads(redis_client.get("celery-task-meta-ours"))["result"]["exc_module"] == module
    assert {type(we.backend.get_result(task_id)) for task_id in ("ours", "theirs")} == {ours}
    assert {type(they.backend.get_result(task_id)) for task_id in ("ours", "theirs")} == {theirs}
    with pytest.raises(theirs):
        they.app.AsyncResult("ours").get(timeout=5)
    with pytest.raises(ours):
        we.app.AsyncResult("theirs").get(timeout=5)


def test_groups(sides: Any, redis_client: redis.Redis) -> None:
    we, they = sides()
    for side, name in ((we, "ours"), (they, "theirs")):
        members = [side.app.AsyncResult("a"), side.app.AsyncResult("b")]
        side.app.GroupResult(name, members, parent=side.app.AsyncResult("p")).save()
    ours, theirs = (redis_client.get(f"celery-taskset-meta-{name}") for name in ("ours", "theirs"))
    assert ours is not None and theirs is not None and ours.replace(b"ours", b"theirs") == theirs
    for side in (we, they):
        for name in ("ours", "theirs"):
            group = side.app.GroupResult.restore(name)
            assert group.id == name and [one.id for one in group.results] == ["a", "b"]


@pytest.mark.parametrize("waiter", [0, 1])
def test_each_wakes_the_other(sides: Any, redis_client: redis.Redis, waiter: int) -> None:
    pair = sides()
    waiting, storing = pair[waiter], pair[1 - waiter]
    seen: list[Any] = []
    task_id = str(uuid.uuid4())  # channels are the whole server's

    def store() -> None:
        wait_for(lambda: f"celery-task-meta-{task_id}".encode() in redis_client.pubsub_channels())
        storing.backend.store_result(task_id, 50, "PROGRESS")
        wait_for(lambda: seen)
        storing.backend.store_result(task_id, 7, "SUCCESS")

    thread = threading.Thread(target=store)
    thread.start()
    result = waiting.app.AsyncResult(task_id)
    assert result.get(timeout=10, on_message=lambda meta: seen.append(meta["status"])) == 7
    thread.join()
    assert seen == ["PROGRESS", "SUCCESS"]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_success_stays_whoever_stored_it(sides: Any, first: int, serializer: str) -> None:
    pair = sides(result_serializer=serializer, accept_content=["json", "pickle"])
    pair[first].backend.store_result("a", 1, "SUCCESS")
    pair[1 - first].backend.mark_as_failure("a", ValueError("late"))
    assert [side.backend.get_result("a") for side in pair] == [1, 1]


def test_settings_for_time_to_live(sides: Any, redis_client: redis.Redis) -> None:
    for expires, failure in [(0, None), (5.9, 77), (None, 0)]:
        ttls = []
        for side in sides(result_expires=expires, result_failure_expires=failure):
            redis_client.flushdb()
            side.backend.store_result("s", 1, "SUCCESS")
            side.backend.mark_as_failure("f", ValueError())
            ttls.append((redis_client.ttl("celery-task-meta-s"), redis_client.ttl("celery-task-meta-f")))
        assert ttls[0] == ttls[1]


URLS = [
    "redis://", "redis://h", "redis://h:1/2", "redis://u:p@h:1/2", "redis://:p%40x@h/3?socket_timeout=5", "redis://h//4",
    "redis://h/0?db=5", "rediss://h:1/0?ssl_cert_reqs=required", "rediss://h/0?ssl_cert_reqs=CERT_NONE",
    "redis+socket:///tmp/x.sock?virtual_host=3", "redis+socket://:pw@/tmp/x.sock?db=3", "redis",
    "sentinel://h1:1;sentinel://:pw@h2:2/3", "sentinel://h1:1/0",
    "redis://h/0?health_check_interval=3&retry_on_timeout=true&max_connections=4&socket_keepalive=yes",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
@pytest.mark.filterwarnings("ignore")
def test_urls_mean_the_same(url: str) -> None:
    conf = {
        "redis_host": "other",
        "redis_port": 3,
        "redis_db": 4,
        "redis_password": "pw",
        "redis_socket_keepalive": True,
    }
    for settings in ({}, conf):
        we, they = (
            library("wire", broker="memory://", backend=url, set_as_current=False, **settings).backend
            for library in (Celery, celery.Celery)
        )
        theirs = {key: value for key, value in they.connparams.items() if key != "driver_info"}
        if "path" in theirs:
            theirs.pop("socket_keepalive", None)  # redis-py refuses it for such sockets
        assert we.connparams == theirs
        assert we.as_uri() == they.as_uri()
