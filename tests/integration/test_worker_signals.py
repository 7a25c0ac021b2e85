"""The signals of the worker and of its processes: which, in what order, in which process, with what."""

from __future__ import annotations

import signal

import pytest

from tests.conftest import OURS, THEIRS, Site
from tests.support.ledger import Event

PREFIX = "signal:"


def names(events: list[Event]) -> list[str]:
    return [event.name.removeprefix(PREFIX) for event in events if event.name.startswith(PREFIX)]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_order_of_a_whole_life(site: Site, pool: str) -> None:
    worker = site.worker("-P", pool, "-c", "2", signals="worker,task")
    assert site.client().tasks["t.add"].delay(1, 1).get(timeout=10) == 2
    assert worker.terminate() == 0
    events = site.ledger.events()
    seen = names(events)
    start = ["celeryd_init", "worker_init", "celeryd_after_setup"]
    assert [name for name in seen if name in start] == start
    assert seen[0] == "celeryd_init"
    for once in ("worker_ready", "worker_shutting_down", "worker_shutdown"):
        assert seen.count(once) == 1, once
    assert seen.index("celeryd_after_setup") < seen.index("worker_ready")
    # `worker_ready` is sent by another process than the one that runs tasks.
    assert seen.index("worker_shutting_down") < seen.index("worker_shutdown")
    assert seen[-1] == "worker_shutdown"
    parent = next(event for event in events if event.name == PREFIX + "worker_ready").pid
    assert parent == worker.pid
    if pool == "prefork":
        assert seen.count("worker_process_init") == seen.count("worker_process_shutdown") == 2
        assert seen.count("worker_before_create_process") >= 2


def test_process_init_comes_before_the_first_task_and_shutdown_after_the_last(site: Site) -> None:
    client = site.client()
    waiting = [client.tasks["t.work"].delay() for _ in range(20)]
    worker = site.worker("-c", "2", signals="worker,task")
    assert [result.get(timeout=10) for result in waiting] == ["worked"] * 20
    worker.terminate()
    by_process: dict[int, list[str]] = {}
    for event in site.ledger.events():
        by_process.setdefault(event.pid, []).append(event.name.removeprefix(PREFIX))
    children = [seen for pid, seen in by_process.items() if "worker_process_init" in seen]
    assert len(children) == 2
    for seen in children:
        assert seen[0] == "worker_process_init"
        assert seen[-1] == "worker_process_shutdown"


@pytest.mark.skipif(OURS == THEIRS, reason="Celery does not always send it")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGQUIT", "max-tasks", "parent killed"])
def test_process_shutdown_is_always_sent(site: Site, how: str) -> None:
    worker = site.worker("-c", "1", "--max-tasks-per-child", "1" if how == "max-tasks" else "100", signals="worker")
    assert site.client().tasks["t.add"].delay(1, 1).get(timeout=10) == 2
    if how == "max-tasks":
        site.ledger.wait("signal:worker_process_shutdown")
        site.ledger.wait("signal:worker_process_init", count=2)
        worker.terminate()
    elif how == "parent killed":
        worker.signal(signal.SIGKILL)
    else:
        worker.signal(getattr(signal, how))
        worker.wait(10)
    inits = site.ledger.wait("signal:worker_process_init")
    ends = site.ledger.wait("signal:worker_process_shutdown", count=len(inits))
    assert sorted(event.pid for event in inits) == sorted(event.pid for event in ends)
    assert all("exitcode" in event.data and "pid" in event.data for event in ends)


def test_what_worker_signals_carry(site: Site) -> None:
    worker = site.worker("-c", "1", "-n", "w1@%h", signals="worker")
    worker.terminate()
    data = {event.name.removeprefix(PREFIX): event.data for event in site.ledger.events()}
    assert data["celeryd_init"]["sender"].startswith("w1@")
    assert {"instance", "conf", "options"} <= set(data["celeryd_init"])
    assert data["celeryd_after_setup"]["sender"].startswith("w1@")
    assert {"instance", "conf"} <= set(data["celeryd_after_setup"])
    assert data["worker_shutting_down"]["sender"].startswith("w1@")
    assert {"sig", "how", "exitcode"} <= set(data["worker_shutting_down"])
    assert data["worker_shutting_down"]["how"] == "Warm"
    assert data["worker_shutting_down"]["sig"] == "SIGTERM"


def test_celeryd_init_for_one_worker_and_changes_of_the_settings(site: Site) -> None:
    """Receivers of `celeryd_init` may be bound to a node name and may change the settings."""
    site.worker("-c", "1", "-n", "chosen@%h", signals="worker", env={"TEST_CELERYD_INIT": "1"})
    seen = site.ledger.wait("celeryd_init of the chosen")
    assert len(seen) == 1
    # The receiver turned `result_extended` on.
    result = site.client().tasks["t.add"].delay(1, 1)
    assert result.get(timeout=10) == 2
    assert result.name == "t.add"
