"""Our `app.control` drives Celery's worker, and ours: each answer beside the one that Celery's own client gets."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from celerylite.exceptions import DuplicateNodenameWarning
from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

CONF = {"worker_pool_restarts": True, "task_create_missing_queues": True}
#: A reply takes milliseconds; this long is waited for it on a busy machine.
PATIENCE = 10.0


@pytest.fixture(scope="module", params=[THEIRS, OURS])
def site(request: pytest.FixtureRequest, new_redis_url: Any, tmp_path_factory: Any) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("control")
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    site.worker("-c", "2", "-n", "w1@here", "-Q", "celery", program=request.param, conf=CONF)
    yield site
    site.close()


@pytest.fixture(scope="module")
def ours(site: Site) -> Any:
    return site.client(OURS, **CONF)


@pytest.fixture(scope="module")
def theirs(site: Site) -> Any:
    return site.client(THEIRS, **CONF)


def ask(app: Any, method: str, *args: Any, **options: Any) -> Any:
    """The answer of the one worker; not waiting longer than for it."""
    return getattr(app.control.inspect(timeout=PATIENCE, limit=1, **options), method)(*args)


def tell(app: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    (reply,) = getattr(app.control, method)(*args, reply=True, timeout=PATIENCE, limit=1, **kwargs)
    return reply["w1@here"]


INSPECTIONS: dict[str, tuple[Any, ...]] = {
    "active": (), "scheduled": (), "reserved": (), "revoked": (), "registered": (), "registered_tasks": ("rate_limit",),
    "ping": (), "active_queues": (), "conf": (True,), "report": (), "query_task": ("a", "b"),
}  # fmt: skip


@pytest.mark.parametrize("method", INSPECTIONS)
def test_the_same_answers(ours: Any, theirs: Any, method: str) -> None:
    answer = ask(ours, method, *INSPECTIONS[method])
    assert list(answer) == ["w1@here"]
    assert answer == ask(theirs, method, *INSPECTIONS[method])


def test_answers_that_change(ours: Any, theirs: Any) -> None:
    """Clock, memory and statistics are never the same twice, but of the same form."""
    for method in ("stats", "clock", "memsample", "memdump"):
        answer, expected = ask(ours, method)["w1@here"], ask(theirs, method)["w1@here"]
        assert type(answer) is type(expected), method
        if isinstance(expected, dict):
            assert set(answer) == set(expected), method
    assert "ok" not in ask(ours, "objgraph", "Request", 5, 2)["w1@here"], "objgraph is not installed"
    hello = ask(ours, "hello", "w9@there", {})["w1@here"]
    assert set(hello) == {"revoked", "clock"}


def test_running_and_waiting_tasks(site: Site, ours: Any) -> None:
    work = ours.tasks["t.work"]
    running = work.delay("control-gate")
    later = work.apply_async(countdown=3600)
    site.ledger.wait("start", running.id)
    (active,) = ask(ours, "active", True)["w1@here"]
    assert (active["id"], active["name"]) == (running.id, "t.work")
    scheduled = wait_for(lambda: ask(ours, "scheduled")["w1@here"], 10, "the task with an ETA to be fetched")
    assert scheduled[0]["request"]["id"] == later.id
    known = ask(ours, "query_task", [running.id, later.id, "nobody"])["w1@here"]
    assert {task: state for task, (state, _) in known.items()} == {running.id: "active", later.id: "scheduled"}

    assert "flagged as revoked" in str(tell(ours, "revoke", [later.id, "other"]))
    assert set(ask(ours, "revoked")["w1@here"]) >= {later.id, "other"}
    assert "ok" in tell(ours, "terminate", running.id, signal="SIGKILL")
    wait_for(lambda: running.state == "REVOKED", 10, "the running task to be terminated")


COMMANDS: list[tuple[str, tuple[Any, ...], str]] = [
    ("rate_limit", ("t.add", "100/m"), "new rate limit set successfully"),
    ("rate_limit", ("t.add", 0), "rate limit disabled successfully"),
    ("time_limit", ("t.add", 30, 60), "time limits set successfully"),
    ("time_limit", ("t.add",), "time limits set successfully"),
    ("add_consumer", ("extra",), "add consumer extra"),
    ("add_consumer", ("more", "ex", "topic", "key.#", {"durable": True}), "add consumer more"),
    ("cancel_consumer", ("extra",), "no longer consuming from extra"),
    ("cancel_consumer", ("more",), "no longer consuming from more"),
    ("pool_grow", (), "pool will grow"),
    ("pool_shrink", (1,), "pool will shrink"),
    ("enable_events", (), "task events enabled"),
    ("disable_events", (), "task events disabled"),
    ("revoke_by_stamped_headers", ({"customer": ["1", "2"]},), "headers {'customer': ['1', '2']} flagged as revoked"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "args", "answer"), COMMANDS, ids=[f"{c[0]}-{n}" for n, c in enumerate(COMMANDS)])
def test_commands(ours: Any, method: str, args: tuple[Any, ...], answer: str) -> None:
    assert answer in str(tell(ours, method, *args))


def test_commands_have_effects(ours: Any) -> None:
    tell(ours, "rate_limit", "t.add", "77/m", destination=["w1@here"])
    assert "t.add [rate_limit=77/m]" in ask(ours, "registered", "rate_limit")["w1@here"]
    tell(ours, "rate_limit", "t.add", 0)
    tell(ours, "add_consumer", "seen", "ex2", "topic", "a.b")


    def find() -> Any:
        return [queue for queue in ask(ours, "active_queues")["w1@here"] if queue["name"] == "seen"]

    (seen,) = wait_for(find, 10, "the queue to be consumed from")
    assert (seen["exchange"]["name"], seen["exchange"]["type"], seen["routing_key"]) == ("ex2", "topic", "a.b")
    tell(ours, "cancel_consumer", "seen")


def test_errors_of_the_worker(ours: Any) -> None:
    assert tell(ours, "rate_limit", "t.unknown", "1/m") == {"error": "unknown task"}
    assert "Invalid rate limit" in str(tell(ours, "rate_limit", "t.add", "nonsense"))
    assert "error" in tell(ours, "autoscale", 3, 1), "the worker does not run with --autoscale"


def test_without_a_reply(ours: Any) -> None:
    assert ours.control.heartbeat() is None
    assert ours.control.revoke("nobody", destination=["w1@here"]) is None


def test_who_is_asked(ours: Any) -> None:
    assert ask(ours, "ping", destination="w1@here") == {"ok": "pong"}, "one name: the answer alone"
    assert ask(ours, "ping", destination=["w1@here"]) == {"w1@here": {"ok": "pong"}}
    assert ask(ours, "ping", pattern="w*@here", matcher="glob") == {"w1@here": {"ok": "pong"}}
    assert ask(ours, "ping", ["w1@here"]) == {"w1@here": {"ok": "pong"}}
    inspect = ours.control.inspect
    assert inspect(timeout=0.3, destination=["w2@here"]).ping() is None
    assert inspect(timeout=0.3, pattern="x*", matcher="glob").ping() is None
    assert ours.control.ping(timeout=0.3, destination=["w2@here"]) == []


def test_nobody_is_waited_for_in_vain(ours: Any) -> None:
    """Redis tells how many have heard a request: when they have replied the answer is complete."""
    started = time.monotonic()
    assert ours.control.ping(timeout=60) == [{"w1@here": {"ok": "pong"}}]
    assert ours.control.inspect(timeout=60).ping() == {"w1@here": {"ok": "pong"}}
    assert time.monotonic() - started < 60


def test_a_callback_sees_each_reply(ours: Any) -> None:
    seen: list[Any] = []
    ask(ours, "ping", callback=seen.append)
    assert seen == [{"w1@here": {"ok": "pong"}}]


def test_replies_in_many_threads(ours: Any) -> None:
    """Each gets the answer to its own question."""
    wrong: list[Any] = []

    def query(number: int) -> None:
        for turn in range(5):
            samples = f"n{number}-{turn}"
            answer = ask(ours, "query_task", samples) if number % 2 else ask(ours, "ping")
            if answer != {"w1@here": {} if number % 2 else {"ok": "pong"}}:
                wrong.append((number, answer))

    threads = [threading.Thread(target=query, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_in_a_forked_process(ours: Any) -> None:
    """The child has connections of its own, and the parent's still work."""
    assert ask(ours, "ping")
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if all(ask(ours, "ping") == {"w1@here": {"ok": "pong"}} for _ in range(5)) else 2
        finally:
            os._exit(code)
    assert all(ask(ours, "ping") == {"w1@here": {"ok": "pong"}} for _ in range(5))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_late_replies_are_not_taken_for_others(ours: Any) -> None:
    """A reply that came after its request's time-out neither counts nor stays."""
    for _ in range(3):
        ours.control.broadcast("ping", reply=True, timeout=0.0001)
    for _ in range(3):
        assert set(ask(ours, "clock")["w1@here"]) == {"clock"}


def test_nothing_stays_in_redis(site: Site, ours: Any) -> None:
    def left() -> list[bytes]:
        return [key for key in site.redis.scan_iter("*") if b"reply" in key]

    for _ in range(3):
        ask(ours, "ping")
    wait_for(lambda: not left(), 10, "the queues of replies to be gone")


@pytest.fixture
def twin(site: Site) -> Iterator[Any]:
    """Another worker of the same name, which listens."""
    worker = site.worker("-c", "1", "-n", "w1@here", "-P", "solo", program=THEIRS, conf=CONF)
    yield worker
    worker.kill_tree()


def test_two_workers_of_one_name(ours: Any, twin: Any) -> None:
    wait_for(lambda: len(ours.control.ping(timeout=PATIENCE, limit=2)) == 2, 10, "both to listen")
    with pytest.warns(DuplicateNodenameWarning, match="node name: w1@here"):
        assert ours.control.inspect(timeout=PATIENCE, limit=2).ping() == {"w1@here": {"ok": "pong"}}


def test_purge(site: Site) -> None:
    client = site.client(OURS, task_default_queue="apart")
    for _ in range(3):
        client.tasks["t.add"].delay(1, 2)
    assert client.control.purge() == 3
    client.tasks["t.add"].delay(1, 2)
    with client.connection_for_write() as connection:
        assert client.control.discard_all(connection) == 1


def test_pool_restart(ours: Any) -> None:
    assert "reload started" in str(tell(ours, "pool_restart"))
    assert ask(ours, "ping") == {"w1@here": {"ok": "pong"}}


def test_shutdown(site: Site, ours: Any) -> None:
    """The last test: it ends the worker."""
    (worker, *_) = site.workers.started
    ours.control.shutdown(destination=["w1@here"])
    assert worker.wait() == 0
