"""`Broadcast` queues on Redis: every worker gets a copy, whichever library it is of.

The clients are ours: Celery's publish to a fan-out exchange on Redis only if they have declared it themselves.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

CONF = {"task_queues": "broadcast", "worker_prefetch_multiplier": 1}
TO_ALL = {"queue": "everybody", "exchange": "everybody"}


def start(site: Site, *libs: str, **conf: Any) -> list[Any]:
    return [
        site.worker("-c", "2", "-n", f"w{number}@%h", program=lib, conf={**CONF, **conf})
        for number, lib in enumerate(libs)
    ]


@pytest.mark.parametrize("prefix", ["", "p:"])
def test_one_copy_a_worker(site: Site, prefix: str) -> None:
    """Two workers of ours and one of Celery's; both task processes of each serve the list."""
    conf: dict[str, Any] = {"broker_transport_options": {"global_keyprefix": prefix}} if prefix else {}
    workers = start(site, OURS, OURS, THEIRS, **conf)
    client = site.client(**CONF, **conf)
    work = client.tasks["t.work"]
    sent = [work.apply_async(**TO_ALL, task_id=f"all-{number}", ignore_result=True) for number in range(5)]
    named = work.apply_async(queue="named", task_id="named", ignore_result=True)
    alone = work.apply_async(task_id="one", ignore_result=True)
    for result in (*sent, named):
        site.ledger.wait("finish", result.id, count=3)
    site.ledger.wait("finish", alone.id)
    assert site.ledger.finishes() == {**{result.id: 3 for result in (*sent, named)}, alone.id: 1}
    for worker in workers:
        assert worker.terminate() == 0
    assert not [key for key in site.redis.scan_iter("*") if b"fanout" in key], "their lists are gone with them"


def test_a_copy_survives_its_task_process(site: Site) -> None:
    """Late acknowledgement holds for copies: a killed process's copy runs again on its worker, on no other."""
    start(site, OURS, OURS, task_reject_on_worker_lost=True)
    client = site.client(**CONF)
    client.tasks["t.work_late"].apply_async(("gate",), **TO_ALL, task_id="copy", ignore_result=True)
    first, _ = site.ledger.wait("start", "copy", count=2)

    os.kill(first.pid, signal.SIGKILL)
    site.ledger.wait("start", "copy", count=3)
    site.open("gate", 3)
    site.ledger.wait("finish", "copy", count=2)
    assert site.ledger.count("start", "copy") == 3


def test_a_worker_killed_leaves_nothing_for_ever(site: Site) -> None:
    first, second = start(site, OURS, OURS, worker_lease=2)
    client = site.client(**CONF)
    client.tasks["t.work_late"].apply_async(("gate",), **TO_ALL, task_id="copy", ignore_result=True)
    site.ledger.wait("start", "copy", count=2)
    first.kill_tree()

    def returned() -> list[bytes]:
        return list(site.redis.scan_iter("celerylite.fanout.w0@*"))

    keys = wait_for(returned, 20, "the copy to be back in its worker's list")
    wait_for(lambda: all(0 < site.redis.ttl(key) <= 3600 for key in keys), 5, "it to be forgotten some time")
    site.open("gate")
    site.ledger.wait("finish", "copy")
    assert second.terminate() == 0


def test_from_a_celery_client_that_has_declared_it(site: Site) -> None:
    start(site, OURS, OURS)
    client = site.client(THEIRS, **CONF)
    with client.producer_or_acquire() as producer:
        everybody = client.amqp.queues["everybody"]
        everybody(producer.channel).exchange.declare()
        options = {"exchange": everybody.exchange, "routing_key": everybody.routing_key, "ignore_result": True}
        client.tasks["t.work"].apply_async(**options, task_id="theirs", producer=producer)
    site.ledger.wait("finish", "theirs", count=2)


def test_a_task_of_a_worker_tells_everybody(site: Site) -> None:
    """Callbacks and delayed calls go to all, too."""
    start(site, OURS, OURS)
    client = site.client(**CONF)
    work = client.tasks["t.work"]
    told = work.si().set(**TO_ALL, task_id="told", ignore_result=True)
    client.tasks["t.add"].apply_async((1, 1), link=told)
    work.apply_async(**TO_ALL, task_id="later", countdown=1, ignore_result=True)
    for key in ("told", "later"):
        site.ledger.wait("finish", key, count=2)
    assert site.ledger.finishes() == {"told": 2, "later": 2}
