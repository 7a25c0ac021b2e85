"""Revokes that hold: over restarts, for workers that start later, whoever sent them, whatever was killed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

WORK = "t.work"


@pytest.fixture(params=("redis", "sqlite"))
def place(request: pytest.FixtureRequest, ledger: Ledger, start_worker: Workers, tmp_path: Path) -> Iterator[Site]:
    """A site on either of the brokers that keep revokes themselves."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else f"sqlite:///{tmp_path}/c.db"
    site = Site(url, ledger, start_worker)
    yield site
    site.close()


def discarded(worker: Any, *ids: str) -> None:
    for task_id in ids:
        worker.wait_log(rf"Discarding revoked task: {WORK}\[{task_id}\]")


def test_no_worker_lives_when_it_is_revoked(place: Site) -> None:
    app = place.client()
    work = app.tasks[WORK]
    dropped, by_set, last = work.delay(), app.GroupResult("set", [work.delay(), work.delay()]), work.delay()
    stamped = work.apply_async(headers={"stamped_headers": ["tenant"], "stamps": {"tenant": "acme"}})
    dropped.revoke()
    by_set.revoke()
    stamped.revoke_by_stamped_headers({"tenant": ["acme", "other"]})
    worker = place.worker("-c", "2")
    assert last.get(timeout=20)
    gone = [dropped, *by_set.results, stamped]
    discarded(worker, *(one.id for one in gone))
    wait_for(lambda: {one.state for one in gone} == {"REVOKED"}, 10)
    assert set(place.ledger.starts()) == {last.id}


@pytest.mark.parametrize("lib", [OURS, THEIRS])
def test_the_worker_that_heard_of_it_is_killed(site: Site, lib: str) -> None:
    """Of Celery's clients only the broadcast comes; our worker keeps what it hears."""
    worker = site.worker("-c", "1")
    app = site.client()
    app.tasks[WORK].delay("gate")
    site.ledger.wait("start")
    dropped = app.tasks[WORK].apply_async(task_id="dropped")
    (answer,) = site.client(lib).control.revoke("dropped", reply=True, timeout=10, limit=1)
    assert "flagged as revoked" in next(iter(answer.values()))["ok"]
    assert dropped.state == "REVOKED"  # Celery 5.7 says so at once, too
    worker.kill_tree()
    site.ledger.clear()
    again = site.worker("-c", "1")
    last = app.tasks[WORK].delay()
    assert last.get(timeout=20)
    discarded(again, "dropped")
    assert set(site.ledger.starts()) == {last.id}


def test_the_control_process_is_killed_when_it_has_only_just_heard_of_it(site: Site) -> None:
    """Whoever sends a revoke keeps it, too; the task process is told by the control process that comes next."""
    worker = site.worker(
        "-c", "1", "-I", "tests.support.dies_hearing", env={"TEST_DIES_ONCE": str(site.ledger.directory / "died")}
    )
    app = site.client()
    app.tasks[WORK].delay("gate")
    site.ledger.wait("start")
    app.tasks[WORK].apply_async(task_id="dropped")
    app.control.revoke("dropped")
    worker.wait_log("The control process .* has ended .*starting another")
    wait_for(lambda: "dropped" in known_to(app), 20)
    site.open("gate")
    assert app.tasks[WORK].delay().get(timeout=20)
    discarded(worker, "dropped")
    assert "dropped" not in site.ledger.starts()


def known_to(app: Any) -> list[str]:
    answers = app.control.inspect(timeout=1, limit=1).revoked() or {}
    return [task_id for ids in answers.values() for task_id in ids]


def test_all_processes_of_the_worker_are_told(site: Site) -> None:
    """Tasks that are sent afterwards under a revoked id, to a worker whose processes have long read what was kept."""
    worker = site.worker("-c", "3")
    app = site.client()
    ids = [f"revoked-{number}" for number in range(30)]
    (answer,) = app.control.revoke(ids, reply=True, timeout=10, limit=1)
    results = [app.tasks[WORK].apply_async(task_id=task_id) for task_id in ids]
    last = [app.tasks[WORK].delay() for _ in range(10)]
    for result in last:
        assert result.get(timeout=20)
    discarded(worker, *ids)
    assert set(site.ledger.starts()) == {result.id for result in last}
    assert {result.state for result in results} == {"REVOKED"}


def test_a_file_keeps_them_for_this_worker_alone(site: Site, tmp_path: Path) -> None:
    """--statedb: a revoke for one worker only is not on the broker."""
    path = tmp_path / "one.state"
    worker = site.worker("-n", "one@here", "--statedb", str(tmp_path / "%n.state"))
    app = site.client()
    (answer,) = app.control.revoke("dropped", destination=["one@here"], reply=True, timeout=10)
    assert worker.terminate() == 0
    assert "dropped" in path.read_text()
    again = site.worker("-n", "one@here", "--statedb", str(tmp_path / "%n.state"))
    app.tasks[WORK].apply_async(task_id="dropped")
    discarded(again, "dropped")
    assert not site.redis.exists("celerylite.revoked")


def test_a_running_task_that_is_ended_does_not_come_back(site: Site) -> None:
    """Though it acknowledges late, and whoever is restarted."""
    worker = site.worker("-c", "1")
    app = site.client()
    result = app.tasks["t.work_late"].delay("gate")
    site.ledger.wait("start")
    result.revoke(terminate=True, signal="SIGKILL")
    with pytest.raises(Exception, match="terminated"):
        result.get(timeout=20)
    assert result.state == "REVOKED"
    assert app.tasks[WORK].delay().get(timeout=20)
    worker.terminate()
    site.worker("-c", "1")
    assert app.tasks[WORK].delay().get(timeout=20)
    assert site.ledger.starts()[result.id] == 1 and not site.ledger.finishes()[result.id]
