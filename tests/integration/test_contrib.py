"""Tasks that are asked to stop, a debugger inside a task, and the manager for tests, each with a real worker."""

from __future__ import annotations

import importlib
import io
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celerylite import group
from celerylite.contrib.testing.manager import Manager, Sentinel
from tests.conftest import OURS, THEIRS, Site
from tests.support.redis_server import free_port
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.slow


def start_worker(site: Site, *args: str) -> WorkerProcess:
    more = {"CELERY_RDB_PORT": str(free_port()), "CELERY_RDB_HOST": "127.0.0.1"}
    return site.workers("tests.support.contrib_app", "-c", "2", *args, env=site.environment(env=more))


@pytest.fixture(scope="module", autouse=True)
def worker(module_site: Site) -> WorkerProcess:
    return start_worker(module_site, "-n", "w1@h")


@pytest.fixture(scope="module")
def client(module_site: Site) -> Any:
    return module_site.client()


# -- abortable


def start(site: Site, client: Any, gate: str) -> str:
    """A task that works until it is asked to stop; its id."""
    task_id: str = client.send_task("c.patient", (gate,)).id
    site.ledger.wait("start", task_id)
    return task_id


@pytest.mark.parametrize("lib", [OURS, THEIRS])
def test_a_running_task_is_asked_to_stop(module_site: Site, client: Any, lib: str) -> None:
    asking = importlib.import_module(f"{lib}.contrib.abortable").AbortableAsyncResult
    task_id = start(module_site, client, f"gate-{lib}")
    result = asking(task_id, app=module_site.client(lib))
    assert not result.is_aborted()
    result.abort()
    module_site.ledger.wait("heard", task_id)
    assert result.is_aborted()
    assert result.state == "ABORTED"
    assert not result.ready()
    module_site.open(f"gate-{lib}")
    assert result.get(timeout=20) == "asked to stop"
    assert result.state == "SUCCESS"
    assert not result.is_aborted()


def test_a_task_that_has_ended_keeps_its_result(client: Any) -> None:
    from celerylite.contrib.abortable import AbortableAsyncResult

    result = AbortableAsyncResult(client.tasks["t.add"].delay(1, 2).id, app=client)
    assert result.get(timeout=20) == 3
    result.abort()
    again = AbortableAsyncResult(result.id, app=client)
    assert (again.state, again.result, again.is_aborted()) == ("SUCCESS", 3, False)


# -- the debugger


class Session:
    """What somebody types who connects to the debugger's port."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.heard = b""

    def read(self) -> str:
        """What it says up to the next prompt."""
        while not self.heard.endswith(b"(Pdb) "):
            data = self.socket.recv(4096)
            assert data, f"it hung up after {self.heard!r}"
            self.heard += data
        text, self.heard = self.heard.decode(), b""
        return text

    def say(self, line: str) -> None:
        self.socket.sendall(f"{line}\n".encode())


READY = r"Ready to connect: telnet 127\.0\.0\.1 (\d+)"


@pytest.fixture
def connect(worker: WorkerProcess) -> Iterator[Callable[..., list[Session]]]:
    """Waits until so many more tasks stand in the debugger of a worker, and gives a session with each."""
    known = {worker: len(re.findall(READY, worker.log()))}
    sessions: list[Session] = []

    def connect(count: int, to: WorkerProcess = worker) -> list[Session]:
        before = known.get(to, 0)
        sessions.extend(Session(int(found[1])) for found in to.wait_log(READY, 20, before + count)[before:])
        return sessions

    yield connect
    for session in sessions:
        session.socket.close()


def test_a_variable_is_looked_at_and_changed(client: Any, connect: Any) -> None:
    result = client.send_task("c.debugged", (20,))
    (session,) = connect(1)
    assert "contrib_app.py" in session.read()
    session.say("p number + 1")
    assert session.read().startswith("21\n")
    session.say("number = 42")
    session.read()
    session.say("c")
    assert result.get(timeout=20) == 42


@pytest.mark.parametrize("end", ["exit", None])
def test_the_task_goes_on_when_the_session_ends(
    client: Any, connect: Any, worker: WorkerProcess, end: str | None
) -> None:
    result = client.send_task("c.debugged", (1,))
    (session,) = connect(1)
    session.read()
    session.say(end) if end else session.socket.close()
    assert result.get(timeout=20) == 1
    worker.wait_log(r"Session with 127\.0\.0\.1:\d+ ended", 20)


def each_has_a_session(sessions: list[Session], results: list[Any]) -> None:
    """Both stand in the debugger at once, and neither hears what the other is told."""
    assert len({session.socket.getpeername() for session in sessions}) == 2
    for line in (None, "number *= 10"):
        for session in sessions:
            session.say(line) if line else None
            session.read()
    for session in sessions:
        session.say("c")
    assert sorted(result.get(timeout=20) for result in results) == [10, 20]


def test_two_task_processes_have_a_session_each(client: Any, connect: Any) -> None:
    results = [client.send_task("c.debugged", (number,)) for number in (1, 2)]
    each_has_a_session(connect(2), results)


@pytest.mark.skipif(OURS == THEIRS, reason="Celery has one session for all threads")
def test_two_threads_have_a_session_each(client: Any, connect: Any, module_site: Site) -> None:
    threads = start_worker(module_site, "-n", "threads@h", "-P", "threads", "-Q", "threads")
    results = [client.send_task("c.debugged", (number,), queue="threads") for number in (1, 2)]
    each_has_a_session(connect(2, threads), results)
    threads.terminate()


# -- the manager


@pytest.fixture
def manager(client: Any) -> Manager:
    return Manager(client, stdout=io.StringIO(), stderr=io.StringIO())


def test_join(manager: Manager, client: Any) -> None:
    add = client.tasks["t.add"]
    assert manager.join(group(add.s(n, n) for n in range(5))(), timeout=20) == [0, 2, 4, 6, 8]
    assert manager.join(add.delay(1, 1), timeout=20) == [2]
    failed = client.tasks["t.fail"].delay("ValueError", "no")
    assert [repr(value) for value in manager.join(failed, timeout=20)] == ["ValueError('no')"]
    with pytest.raises(ValueError, match="no"):
        manager.join(failed, propagate=True, timeout=20)


def test_join_says_what_it_waits_for(manager: Manager, client: Any) -> None:
    done, never = client.tasks["t.add"].delay(1, 1), client.AsyncResult("nobody-sent-it")
    done.get(timeout=20)
    with pytest.raises(AssertionError, match="Missing task results"):
        manager.join(client.ResultSet([done, never]), max_retries=2, timeout=0.2)
    assert manager.stdout.getvalue().count("Still waiting for 1/2 results") == 2
    assert "[nobody-sent-it]" in manager.stdout.getvalue()
    assert manager.missing_results([done, never]) == ["nobody-sent-it"]


def test_what_workers_have(manager: Manager, client: Any, module_site: Site) -> None:
    results = [client.tasks["t.work_tracked"].delay("manager") for _ in range(2)]
    ids = [result.id for result in results]
    manager.assert_received(ids, interval=0.05)
    manager.assert_accepted(ids, interval=0.05)
    manager.assert_result_tasks_in_progress_or_completed(results, interval=0.05)
    assert manager.query_task_states(ids, timeout=10) == {"active": set(ids)}
    assert dict(manager.query_tasks(ids, timeout=10))["w1@h"][ids[0]][0] == "active"
    assert not manager.is_accepted(["nobody-sent-it"])
    with pytest.raises(Sentinel):
        manager.assert_accepted(["nobody-sent-it"], interval=0.01, interval_step=0, max_retries=1)
    with pytest.raises(AssertionError, match="Should not have happened: a worker"):
        manager.ensure_not_for_a_while(lambda: manager.true_or_raise(manager.is_accepted, ids), Sentinel, "a worker")
    module_site.open("manager", 2)
    assert manager.join(results[0], timeout=20) == ["worked"]
    results[1].get(timeout=20)
    wait_for(lambda: not any((manager.inspect().active() or {"w1@h": [1]}).values()), 20, "the end of both")
    manager.wait_until_idle()
