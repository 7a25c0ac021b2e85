"""Waiting on Redis for real: one shared subscription, many threads, forks, lost connections and servers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from celerylite import Celery, states
from celerylite.backends import redis_listener
from celerylite.exceptions import TimeoutError

from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.waiting import wait_for


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    """A server on which nobody else subscribes."""
    server = RedisServer().start()
    yield server
    server.close()


@pytest.fixture
def redis_url(own_server: RedisServer) -> str:
    """An empty database of it."""
    with own_server.client(0) as client:
        client.flushall()
        client.client_kill_filter(_type="pubsub")
    return own_server.url(0)


def pubsubs(client: redis.Redis) -> int:
    """How many connections on the server are subscriptions, or have been."""
    return sum(1 for one in client.client_list() if "subscribe" in one["cmd"])


def in_thread(action: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def _channels(client: redis.Redis) -> set[bytes]:
    return set(client.pubsub_channels())


@pytest.fixture
def found() -> list[Any]:
    """What waiting threads got."""
    return []


@pytest.fixture
def waiting(
    redis_app: Any, redis_client: redis.Redis, found: list[Any]
) -> Callable[..., list[threading.Thread]]:
    """`waiting(ids)` → threads that wait for these tasks, each of them subscribed."""

    def start(ids: list[str], timeout: float = 20) -> list[threading.Thread]:
        def wait(task_id: str) -> None:
            try:
                found.append(redis_app.AsyncResult(task_id).get(timeout=timeout))
            except Exception as exc:  # a border: the test looks at what came
                found.append(exc)

        threads = [in_thread(lambda task_id=task_id: wait(task_id)) for task_id in ids]
        wanted = {redis_app.backend.get_key_for_task(task_id) for task_id in ids}
        wait_for(lambda: wanted <= _channels(redis_client))
        return threads

    return start


def store(app: Any, ids: list[str]) -> None:
    for task_id in ids:
        app.backend.store_result(task_id, task_id, states.SUCCESS)


def test_a_result_that_is_there_needs_no_subscription(redis_app: Any, redis_client: redis.Redis) -> None:
    store(redis_app, ["a"])
    assert redis_app.AsyncResult("a").get(timeout=5) == "a"
    assert pubsubs(redis_client) == 0


def test_the_record_and_its_time_to_live(redis_app: Any, redis_client: redis.Redis) -> None:
    redis_app.conf.result_failure_expires = 77
    with redis_client.pubsub() as listener:
        listener.subscribe("celery-task-meta-a")
        listener.get_message(timeout=5)
        store(redis_app, ["a"])
        message = listener.get_message(timeout=5)
    assert message["data"] == redis_client.get("celery-task-meta-a")
    assert redis_client.ttl("celery-task-meta-a") == 86400
    redis_app.backend.store_result("f", ValueError(), states.FAILURE)
    redis_app.backend.store_result("r", ValueError(), states.RETRY)
    assert (redis_client.ttl("celery-task-meta-f"), redis_client.ttl("celery-task-meta-r")) == (77, 86400)


def test_results_that_live_for_ever(redis_app: Any, redis_client: redis.Redis) -> None:
    redis_app.conf.result_expires = 0
    store(redis_app, ["a"])
    assert redis_client.ttl("celery-task-meta-a") == -1


def test_storing_is_one_command(redis_app: Any, redis_client: redis.Redis) -> None:
    store(redis_app, ["warm"])
    before = redis_client.info("commandstats")
    store(redis_app, ["a"])
    after = redis_client.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 1


def test_two_hundred_threads_share_one_subscription(
    redis_app: Any, redis_client: redis.Redis, waiting: Any, found: list[Any]
) -> None:
    ids = [f"t{number}" for number in range(150)]
    threads = waiting(ids + ids[:50])
    assert pubsubs(redis_client) == 1
    store(redis_app, ids)
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(ids + ids[:50])
    wait_for(lambda: not _channels(redis_client))


def test_states_in_between_are_told(redis_app: Any, redis_client: redis.Redis) -> None:
    seen: list[Any] = []

    def run() -> None:
        wait_for(lambda: _channels(redis_client))
        told = [("STARTED", {"pid": 1}), ("PROGRESS", 50), ("RETRY", ValueError("q")), ("SUCCESS", 9)]
        for number, (state, value) in enumerate(told):
            wait_for(lambda number=number: len(seen) == number)
            redis_app.backend.store_result("a", value, state)

    thread = in_thread(run)
    result = redis_app.AsyncResult("a")
    assert result.get(timeout=10, on_message=lambda meta: seen.append((meta["status"], meta["result"]))) == 9
    thread.join()
    assert [state for state, _ in seen] == ["STARTED", "PROGRESS", "RETRY", "SUCCESS"]
    assert seen[1][1] == 50 and isinstance(seen[2][1], ValueError)


def test_those_who_time_out_leave_no_subscription(
    redis_app: Any, redis_client: redis.Redis, waiting: Any, found: list[Any]
) -> None:
    for thread in waiting(["a", "b"], timeout=0.3):
        thread.join()
    assert [type(one) for one in found] == [TimeoutError, TimeoutError]
    wait_for(lambda: not _channels(redis_client))


def test_when_the_leader_leaves_another_one_leads(redis_app: Any, waiting: Any, found: list[Any]) -> None:
    threads = waiting(["first"]) + waiting(["second", "third"])
    store(redis_app, ["first"])
    threads[0].join()
    store(redis_app, ["second", "third"])
    for thread in threads:
        thread.join()
    assert sorted(found) == ["first", "second", "third"]


def test_a_lost_subscription_is_made_again(
    redis_app: Any, redis_client: redis.Redis, waiting: Any, found: list[Any]
) -> None:
    threads = waiting(["a", "b", "c"])
    redis_client.client_kill_filter(_type="pubsub")
    store(redis_app, ["a"])  # published while nobody listens: it must be read
    threads[0].join()
    wait_for(lambda: len(_channels(redis_client)) == 2)
    store(redis_app, ["b", "c"])
    for thread in threads[1:]:
        thread.join()
    assert sorted(found) == ["a", "b", "c"]


def test_all_connections_lost_between_two_uses(redis_app: Any, redis_client: redis.Redis) -> None:
    store(redis_app, ["a"])
    redis_client.client_kill_filter(_type="normal", skipme=True)
    assert redis_app.AsyncResult("a").get(timeout=5) == "a"
    redis_client.client_kill_filter(_type="normal", skipme=True)
    store(redis_app, ["b"])
    assert redis_app.AsyncResult("b").state == "SUCCESS"


def test_the_scripts_are_flushed(redis_app: Any, redis_client: redis.Redis) -> None:
    store(redis_app, ["a"])
    redis_client.script_flush()
    store(redis_app, ["b"])
    assert redis_app.AsyncResult("b").state == "SUCCESS"


def test_a_forked_child_waits_by_itself(
    redis_app: Any, redis_client: redis.Redis, waiting: Any, found: list[Any]
) -> None:
    threads = waiting(["a"])
    child = os.fork()
    if child == 0:
        value = redis_app.AsyncResult("b").get(timeout=20)
        os._exit(0 if value == "b" else 1)
    wait_for(lambda: len(_channels(redis_client)) == 2)
    assert pubsubs(redis_client) == 2
    store(redis_app, ["b", "a"])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    threads[0].join()
    assert found == ["a"]


def test_a_thousand_results_are_read_in_one_trip(redis_app: Any, redis_client: redis.Redis) -> None:
    ids = [f"m{number}" for number in range(1000)]
    store(redis_app, ids)
    before = redis_client.info("commandstats")
    results = redis_app.ResultSet([redis_app.AsyncResult(task_id) for task_id in ids])
    assert results.get(timeout=20) == ids
    after = redis_client.info("commandstats")
    assert after["cmdstat_mget"]["calls"] - before.get("cmdstat_mget", {"calls": 0})["calls"] == 1
    assert after.get("cmdstat_get", {"calls": 0})["calls"] == before.get("cmdstat_get", {"calls": 0})["calls"]


# -- a server that is away


def _app(server: Any, **policy: Any) -> Any:
    app = Celery("tests", broker="memory://", backend=server.url(0), set_as_current=False)
    retry = {"interval_step": 0.05, "interval_max": 0.05, **policy}
    app.conf.result_backend_transport_options = {"retry_policy": retry}
    return app


def test_results_are_stored_when_the_server_is_back(make_redis: Any) -> None:
    server = make_redis(appendonly=True)
    app = _app(server, max_retries=400)
    store(app, ["before"])
    server.kill()
    threads = [in_thread(lambda task_id=task_id: store(app, [task_id])) for task_id in ("a", "b", "c")]
    waiter: list[Any] = []
    threads.append(in_thread(lambda: waiter.append(app.AsyncResult("a").get(timeout=30))))
    server.start()
    for thread in threads:
        thread.join()
    assert waiter == ["a"]
    assert [app.AsyncResult(task_id).state for task_id in ("before", "a", "b", "c")] == ["SUCCESS"] * 4


def test_a_wait_outlives_a_restart(make_redis: Any) -> None:
    server = make_redis(appendonly=True)
    app = _app(server, max_retries=400)
    found: list[Any] = []
    thread = in_thread(lambda: found.append(app.AsyncResult("a").get(timeout=30)))
    with server.client(0) as client:
        wait_for(lambda: _channels(client))
    server.kill()
    server.start()
    store(app, ["a"])
    thread.join()
    assert found == ["a"]


def test_giving_up(make_redis: Any) -> None:
    server = make_redis()
    app = _app(server, max_retries=2)
    server.kill()
    with pytest.raises(redis.ConnectionError):
        store(app, ["a"])
    with pytest.raises(redis.ConnectionError):
        _ = app.AsyncResult("a").state
    with pytest.raises(RuntimeError, match="Retry limit exceeded"):
        app.AsyncResult("a").get(timeout=30)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        _app(server, max_retries=None).AsyncResult("a").get(timeout=0.3)
    assert time.monotonic() - started < 5


def test_making_results_does_not_touch_a_dead_server(make_redis: Any) -> None:
    server = make_redis()
    app = _app(server)
    server.kill()
    assert app.backend.on_task_call(None, "a") == {}
    assert app.AsyncResult("a").id == "a"


def test_a_network_that_swallows_everything(
    own_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subscription looks like one on which nothing happens; a PING without an answer tells."""
    monkeypatch.setattr(redis_listener, "PING_AFTER", 0.2)
    with Proxy(("127.0.0.1", own_server.port)) as proxy:
        app = Celery(
            "tests", broker="memory://", backend=proxy.url("0?socket_timeout=0.3"), set_as_current=False
        )
        found: list[Any] = []
        thread = in_thread(lambda: found.append(app.AsyncResult("a").get(timeout=30)))
        wait_for(lambda: _channels(redis_client))
        proxy.black_hole()
        redis_client.set("celery-task-meta-a", app.backend.record("a", states.SUCCESS, "a"))
        proxy.end_black_hole(forget=True)
        thread.join()
    assert found == ["a"]
