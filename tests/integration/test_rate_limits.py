"""Rate limits with real workers: how often tasks start, over all processes and workers, and who does not wait.

Rates are measured by counting starts, which a slow machine only makes fewer of: what must not be exceeded is exact.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from celerylite import Celery
from celerylite.contrib.testing.worker import start_worker
from tests.conftest import Site, Workers
from tests.contract import places
from tests.contract.places import Place
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

LIMITED, FREE = "t.work", "t.work_tracked"


@pytest.fixture(params=("redis", "sqlite"))
def place(request: pytest.FixtureRequest, ledger: Ledger, start_worker: Workers, tmp_path: Path) -> Iterator[Site]:
    """A site on either of the brokers on which messages wait and rates are counted."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else f"sqlite:///{tmp_path}/c.db"
    site = Site(url, ledger, start_worker)
    yield site
    site.close()


def limited(limit: str, scope: str = "worker") -> dict[str, object]:
    """Settings that limit one of the support tasks."""
    return {"task_annotations": {LIMITED: {"rate_limit": limit, "rate_limit_scope": scope}}}


def starts(site: Site, ids: set[str]) -> list[float]:
    return [event.time for event in site.ledger.events("start") if event.key in ids]


def most_within(moments: list[float], seconds: float) -> int:
    """The most of them in any such span."""
    first = most = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_an_unlimited_task_behind_a_thousand_limited_ones(place: Site) -> None:
    app = place.client()
    many = {app.tasks[LIMITED].apply_async(ignore_result=True).id for _ in range(1000)}
    free = app.tasks[FREE].delay()
    worker = place.worker("-c", "2", conf=limited("30/s"))
    assert free.get(timeout=30)
    before = len(starts(place, many))
    assert before < 500, "it has waited for limited ones"
    found = wait_for(lambda: len(starts(place, many)) >= before + 90 and starts(place, many), 60)
    assert most_within(found, 1.0) <= 30 + 1 + 2  # one more for each process
    assert len({event.pid for event in place.ledger.events("start")}) == 2
    assert worker.terminate() == 0  # quickly, for nothing waits in its memory
    assert max(place.ledger.starts().values()) == 1


def test_global_counts_over_workers(place: Site) -> None:
    app = place.client()
    many = {app.tasks[LIMITED].apply_async(ignore_result=True).id for _ in range(400)}
    for name in ("one", "two"):
        place.worker("-c", "2", "-n", f"{name}@%h", conf=limited("40/s", "global"))
    found = wait_for(lambda: len(starts(place, many)) >= 160 and starts(place, many), 60)
    assert most_within(found, 1.0) <= 40 + 2
    assert len({event.pid for event in place.ledger.events("start")}) > 2  # both workers have their share


def test_each_worker_has_the_rate_to_itself_and_one_that_comes_later_helps(site: Site) -> None:
    place, app = site, site.client()
    many = {app.tasks[LIMITED].apply_async(ignore_result=True).id for _ in range(400)}
    place.worker("-c", "1", "-n", "one@%h", conf=limited("10/s"))
    wait_for(lambda: len(starts(place, many)) >= 5, 30)
    place.worker("-c", "1", "-n", "two@%h", conf=limited("10/s"))
    since = starts(place, many)[-1]
    wait_for(lambda: len([one for one in starts(place, many) if one > since]) >= 60, 60)
    pids = [event.pid for event in place.ledger.events("start") if event.time > since]
    assert len(set(pids)) == 2
    for pid in set(pids):
        mine = [event.time for event in place.ledger.events("start") if event.pid == pid]
        assert most_within(mine, 1.0) <= 10 + 2
        assert pids.count(pid) >= 15


def test_a_limit_is_changed_by_remote_control(site: Site) -> None:
    site.worker("-c", "2", conf=limited("1/h"))
    app = site.client()
    results = [app.tasks[LIMITED].delay() for _ in range(10)]
    wait_for(lambda: site.redis.zcard("celerylite.delayed") == 9, 20)
    (answer,) = app.control.rate_limit(LIMITED, "1000/s", reply=True, timeout=10, limit=1)
    assert next(iter(answer.values())) == {"ok": "new rate limit set successfully"}
    for result in results:
        assert result.get(timeout=20) == "worked"


def test_retries_and_eta_wait_for_both(site: Site) -> None:
    """An ETA first, then the limit; each retry takes a start of its own."""
    limits = {"task_annotations": {LIMITED: {"rate_limit": "2/s"}, "t.flaky": {"rate_limit": "2/s"}}}
    site.worker("-c", "2", conf=limits)
    app = site.client()
    many = {app.tasks[LIMITED].apply_async(countdown=0.5).id for _ in range(4)}
    sent = time.time()
    flaky = app.tasks["t.flaky"].delay(3, 0)
    found = wait_for(lambda: len(starts(site, many)) == 4 and starts(site, many), 20)
    assert found[-1] - found[0] >= 1.5 - 0.1
    retries, *_, ended = flaky.get(timeout=20)
    assert retries == 3 and ended - sent >= 1.5 - 0.1


@pytest.mark.parametrize("broker", ["filesystem", "rabbitmq"])
def test_other_brokers_limit_each_worker(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """They cannot count for all; what waits is kept by the worker, or delayed by RabbitMQ."""
    place: Place = getattr(places, broker)(request)
    ran: list[float] = []
    app = Celery("others", broker=place.url, backend="cache+memory://", set_as_current=False)
    app.conf.update(place.conf)

    @app.task(shared=False, name="limited", rate_limit="20/s", rate_limit_scope="global")
    def limited() -> None:
        ran.append(time.monotonic())

    @app.task(shared=False, name="free")
    def free() -> int:
        return len(ran)

    for _ in range(60):
        limited.delay()
    last = free.delay()
    with app, start_worker(app, perform_ping_check=False):
        assert last.get(timeout=20) < 30
        wait_for(lambda: len(ran) == 60, 30)
    assert most_within(ran, 1.0) <= 20 + 2
