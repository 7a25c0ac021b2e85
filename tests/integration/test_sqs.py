"""Real workers on SQS, as moto plays it: kombu's options, delays, late acknowledgement, queues named before."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import OURS, Site, Workers
from tests.support.app import make_app
from tests.support.ledger import Ledger
from tests.support.sqs import SqsServer

pytestmark = pytest.mark.slow

PATIENCE = 40.0
VISIBILITY = 6
OPTIONS = {
    "region": "us-east-1", "is_secure": False, "visibility_timeout": VISIBILITY, "wait_time_seconds": 0,
    "polling_interval": 0.05, "queue_name_prefix": "proj-",
}  # fmt: skip
CONF = {"broker_transport_options": OPTIONS}


@pytest.fixture
def site(sqs_server: SqsServer, redis_url: str, ledger: Ledger, start_worker: Workers) -> Iterator[Site]:
    """Messages by SQS, results on Redis."""
    site = Site(redis_url, ledger, start_worker)
    yield site
    site.close()


def client_of(site: Site, server: SqsServer, conf: dict[str, Any]) -> Any:
    client = make_app(OURS, server.url, site.url, conf)
    site._clients.append(client)
    return client


def worker_of(site: Site, server: SqsServer, conf: dict[str, Any], *args: str) -> Any:
    return site.worker("-c", "2", *args, conf=conf, env={"TEST_BROKER": server.url})


def test_tasks_delays_and_late_ones(site: Site, sqs_server: SqsServer) -> None:
    worker = worker_of(site, sqs_server, CONF)
    client = client_of(site, sqs_server, CONF)
    add, late = client.tasks["t.add"], client.tasks["t.work_late"]
    assert [result.get(timeout=PATIENCE) for result in [add.delay(n, n) for n in range(30)]] == [
        2 * n for n in range(30)
    ]  # fmt: skip
    began = time.time()
    assert add.apply_async((1, 2), countdown=2).get(timeout=PATIENCE) == 3
    assert time.time() - began >= 2
    assert client.tasks["t.flaky"].delay(1).get(timeout=PATIENCE)[0] == 1
    sent = late.delay(None, 0.2)
    assert sent.get(timeout=PATIENCE) == "worked"
    assert worker.terminate(30) == 0
    assert client.broker.queue_length("celery") == 0
    assert site.ledger.count("start", sent.id) == 1


def test_what_a_killed_worker_had_is_back(site: Site, sqs_server: SqsServer) -> None:
    """After the visibility timeout."""
    worker = worker_of(site, sqs_server, CONF, "-Q", "killed")
    client = client_of(site, sqs_server, CONF)
    sent = client.tasks["t.work_late"].apply_async((None, 3.0), queue="killed")
    site.ledger.wait("start", sent.id, timeout=PATIENCE)
    for pid in worker.tree():
        os.kill(pid, signal.SIGKILL)
    worker_of(site, sqs_server, CONF, "-Q", "killed")
    assert sent.get(timeout=PATIENCE) == "worked"
    assert site.ledger.count("start", sent.id) == 2


def test_a_task_process_that_dies(site: Site, sqs_server: SqsServer) -> None:
    worker_of(site, sqs_server, CONF, "-Q", "dying")
    client = client_of(site, sqs_server, CONF)
    again = client.tasks["t.die_late_reject"].apply_async(queue="dying")
    assert again.get(timeout=PATIENCE) == "survived"
    assert site.ledger.count("start", again.id) == 2


def test_queues_that_are_named_before(site: Site, sqs_server: SqsServer) -> None:
    """With `predefined_queues` nothing is created; what cannot be run is told, and does not stop the worker."""
    import boto3

    sqs: Any = boto3.client(
        "sqs", "us-east-1", endpoint_url=sqs_server.endpoint, aws_access_key_id="key", aws_secret_access_key="secret"
    )
    url = sqs.create_queue(QueueName="known", Attributes={"VisibilityTimeout": "6"})["QueueUrl"]
    queues = {"known": {"url": url, "access_key_id": "key", "secret_access_key": "secret"}}
    conf = {
        "broker_transport_options": {**OPTIONS, "queue_name_prefix": "", "predefined_queues": queues},
        "task_default_queue": "known", "worker_enable_remote_control": False,
    }  # fmt: skip
    worker = worker_of(site, sqs_server, conf)
    client = client_of(site, sqs_server, conf)
    assert client.tasks["t.add"].delay(1, 2).get(timeout=PATIENCE) == 3
    client.send_task("nobody.knows.it")
    worker.wait_log("cannot be set aside in queue 'celerylite.dead'", timeout=PATIENCE)
    assert client.tasks["t.add"].delay(2, 2).get(timeout=PATIENCE) == 4
    names = {name.rpartition("/")[2] for name in sqs.list_queues()["QueueUrls"]}
    assert names & {"known", "celery"} == {"known"}, json.dumps(sorted(names))
    assert worker.terminate(30) == 0
