"""Task processes that die while a task runs, and how acknowledgement decides what becomes of the task."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.keys import broker_keys_with
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

needs_ours = pytest.mark.skipif(OURS == THEIRS, reason="Celery itself does not do this")


def site_with_worker(
    new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory, *args: str, **conf: Any
) -> Site:
    directory = tmp_path_factory.mktemp("lost")
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    site.worker("-c", "2", *args, conf=conf)
    return site


@pytest.fixture(scope="module")
def site(new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Shared by this module: two task processes, and a delivery limit of 3."""
    conf = {} if OURS == THEIRS else {"worker_delivery_limit": 3}
    site = site_with_worker(new_redis_url, tmp_path_factory, **conf)
    yield site
    site.close()


def lost(site: Site) -> type[Exception]:
    package = type(site.client()).__module__.split(".")[0]
    return __import__(f"{package}.exceptions", fromlist=["x"]).WorkerLostError


@pytest.mark.parametrize("name", ["die", "die_late"])
@pytest.mark.parametrize("how", ["kill", "segv", "exit"])
def test_a_task_whose_process_dies_has_failed(site: Site, name: str, how: str) -> None:
    """Early ack, and late ack without reject_on_worker_lost: it does not run again."""
    result = site.client().tasks[f"t.{name}"].delay(times=99, how=how)
    with pytest.raises(lost(site)) as caught:
        result.get(timeout=15)
    expected = {"kill": "signal 9 (SIGKILL)", "segv": "signal 11 (SIGSEGV)", "exit": "exitcode 3"}[how]
    assert expected in str(caught.value)
    assert b'"exc_module": "billiard.exceptions"' in site.redis.get(f"celery-task-meta-{result.id}")
    assert site.client().tasks["t.add"].delay(1, 1).get(timeout=10) == 2
    assert site.ledger.count("start", result.id) == 1
    wait_for(lambda: not broker_keys_with(site.redis, result.id), what="the message to be gone")


def test_reject_on_worker_lost_runs_it_again(site: Site) -> None:
    result = site.client().tasks["t.die_late_reject"].delay(times=1)
    assert result.get(timeout=15) == "survived"
    assert [event.data["redelivered"] for event in site.ledger.events("start", result.id)] == [False, True]


@needs_ours
def test_a_message_that_kills_again_and_again_is_set_aside(site: Site) -> None:
    client = site.client()
    result = client.tasks["t.die_late_reject"].delay(times=99)
    letters = wait_for(lambda: [x for x in client.broker.dead(100) if x.task_id == result.id], 15, "a dead letter")
    assert site.ledger.count("start", result.id) == 3
    assert letters[0].task_name == "t.die_late_reject"
    assert letters[0].queue == "celery"
    assert letters[0].reason
    # Whoever waits for it is told.
    with pytest.raises(lost(site)):
        result.get(timeout=5)
    assert client.tasks["t.add"].delay(1, 1).get(timeout=10) == 2
    # It can be put back once its fault is mended.
    assert client.broker.retry_dead([letters[0].id]) == 1
    site.ledger.wait("start", result.id, count=4, timeout=10)


def test_the_neighbour_of_a_dying_process_is_not_touched(site: Site) -> None:
    client = site.client()
    neighbour = client.tasks["t.work_late"].delay("neighbour")
    site.ledger.wait("start", neighbour.id)
    dying = client.tasks["t.die"].delay(times=99)
    with pytest.raises(lost(site)):
        dying.get(timeout=15)
    site.open("neighbour")
    assert neighbour.get(timeout=10) == "worked"
    assert site.ledger.count("start", neighbour.id) == 1


def test_what_waits_in_a_dying_process_is_not_lost(site: Site) -> None:
    """Messages that were fetched with the deadly one run elsewhere, at once and once."""
    client = site.client()
    results = []
    for n in range(60):
        name, kwargs = ("t.die", {"times": 99}) if n % 20 == 10 else ("t.work", {})
        results.append((name, client.tasks[name].delay(**kwargs)))
    for name, result in results:
        if name == "t.work":
            assert result.get(timeout=20) == "worked"
            assert site.ledger.count("start", result.id) == 1
        else:
            assert isinstance(result.get(timeout=20, propagate=False), lost(site))


def test_a_process_killed_from_outside_while_idle_is_replaced(site: Site) -> None:
    client = site.client()
    pids = {client.tasks["t.who"].delay().get(timeout=10)["pid"] for _ in range(20)}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    again = [client.tasks["t.who"].delay() for _ in range(20)]
    new = {result.get(timeout=15)["pid"] for result in again}
    assert new and not new & pids


@needs_ours
def test_every_child_killed_at_once(site: Site) -> None:
    """Also the one that keeps house: everything comes back."""
    for pid in site.workers.started[0].children():
        os.kill(pid, signal.SIGKILL)
    client = site.client()
    due = client.tasks["t.add"].apply_async((1, 1), countdown=0.5)
    assert client.tasks["t.add"].delay(2, 2).get(timeout=15) == 4
    assert due.get(timeout=15) == 2


@pytest.mark.slow
def test_retry_on_worker_lost(new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> None:
    conf = {
        "task_retry_on_worker_lost": True,
        "task_annotations": {"*": {"default_retry_delay": 1, "max_retries": 2}},
    }
    site = site_with_worker(new_redis_url, tmp_path_factory, **conf)
    try:
        client = site.client()
        once = client.tasks["t.die_late"].delay(times=1)
        always = client.tasks["t.die_late"].delay(times=99)
        assert once.get(timeout=20) == "survived"
        events = site.ledger.events("start", once.id)
        assert [event.data["retries"] for event in events] == [0, 1]
        assert events[1].time - events[0].time >= 1
        with pytest.raises(lost(site)):
            always.get(timeout=30)
        assert site.ledger.count("start", always.id) == 3
    finally:
        site.close()


@pytest.mark.slow
def test_reject_on_worker_lost_as_a_setting(
    new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    conf = {"task_reject_on_worker_lost": True, "task_acks_late": True}
    site = site_with_worker(new_redis_url, tmp_path_factory, **conf)
    try:
        assert site.client().tasks["t.die"].delay(times=1).get(timeout=15) == "survived"
    finally:
        site.close()
