"""`celery.worker.state` and `state.consumer`, as remote commands use them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celerylite import Celery
from celerylite.contrib.testing.worker import start_worker
from celerylite.worker import state
from celerylite.worker.consumer import Consumer
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def gate() -> threading.Event:
    return threading.Event()


@pytest.fixture(scope="module")
def worker(gate: threading.Event) -> Iterator[Any]:
    app = Celery("state", broker="memory://localhost/state", backend="cache+memory://", set_as_current=False)

    @app.task(name="s.wait", shared=False)
    def wait(*args: int) -> None:
        gate.wait(20)

    with start_worker(app, perform_ping_check=False, hostname="state@here") as worker:
        yield worker
        gate.set()


def test_what_runs_and_what_waits(worker: Any, gate: threading.Event) -> None:
    wait = worker.app.tasks["s.wait"]
    later = wait.apply_async((1,), countdown=1000)
    wait_for(lambda: [request.id for request in state.scheduled_requests] == [later.id])
    running = wait.delay(2)
    wait_for(lambda: len(state.active_requests) == 1)
    (request,) = state.active_requests
    assert (request.id, request.name, request.args) == (running.id, "s.wait", [2])
    assert request in state.active_requests and request in state.reserved_requests
    assert state.requests[later.id].args == [1] and set(state.requests) == {later.id, running.id}
    assert state.total_count["s.wait"] == 1 and state.all_total_count[0] == 1
    assert state.total_count["nobody"] == 0
    gate.set()
    wait_for(lambda: not state.active_requests)


def test_revokes(worker: Any) -> None:
    state.merge_revoked(["one"])
    state.revoked.add("two")
    assert {"one", "two"} <= set(state.revoked) and "one" in state.revoked
    assert {"one", "two"} <= set(worker.directives.revoked)
    assert dict(state.revoked_stamps) == {}


def test_the_consumer_of_the_guide(worker: Any) -> None:
    node: Any = state._node
    consumer = Consumer(app=node.app, hostname=node.hostname).attach(node)
    before = consumer.qos.value
    consumer.qos.increment_eventually(3)
    assert consumer.qos.value == before + 3 == worker.directives.prefetch
    consumer.qos.decrement_eventually(10_000)
    assert consumer.initial_prefetch_count == 1
    consumer.add_task_queue("more")
    assert "more" in worker.directives.queues
    consumer.cancel_task_queue("more")
    assert "more" not in worker.directives.queues
    assert consumer.pool.num_processes == 1


def test_software() -> None:
    assert state.SOFTWARE_INFO["sw_ident"] == "py-celery"
