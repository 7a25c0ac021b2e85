"""The worker's consumer before and after there is a worker to speak to; without steps nothing of them is loaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celerylite.worker.consumer import Consumer
from celerylite.worker.node import Node
from tests.support.fresh import run_fresh


class Own(Consumer):
    """What `worker_consumer` names in a test."""


def attached(app: Any) -> tuple[Consumer, list[dict[str, Any]]]:
    """A consumer whose node notes what it is to tell the worker's processes."""
    posted: list[dict[str, Any]] = []
    worker = app.WorkController(pool="solo", hostname="w@here")
    road: Any = SimpleNamespace(post=posted.append)
    board: Any = SimpleNamespace(size=lambda: 3)
    node = Node(app, worker.options, board, app.broker, worker.directives, road)
    return worker.consumer.attach(node), posted


def test_the_setting_names_another_class(app: Any) -> None:
    assert type(app.WorkController(pool="solo").consumer) is Consumer
    app.conf.worker_consumer = "celery.worker.consumer:Consumer"  # as some settings still say
    assert type(app.WorkController(pool="solo").consumer) is Consumer
    app.conf.worker_consumer = f"{__name__}:Own"
    worker = app.WorkController(pool="solo", hostname="w@here")
    assert type(worker.consumer) is Own and worker.consumer.controller is worker
    assert repr(worker.consumer) == "<Consumer: w@here (running)>"


def test_before_there_is_a_worker(app: Any) -> None:
    consumer = Consumer(app=app, hostname="w@here")
    assert consumer.event_dispatcher is consumer.heart is consumer.gossip is consumer.hub is None
    assert (consumer.timer, consumer.steps, consumer.task_buckets["any"]) == (None, [], None)
    assert consumer.connection is consumer.connection
    assert consumer.connection.as_uri() == app.connection_for_read().as_uri()


def test_prefetching(app: Any) -> None:
    consumer, posted = attached(app)
    assert consumer.pool.num_processes == 3
    assert consumer.qos.set(7) == consumer.qos.value == consumer.initial_prefetch_count == 7
    assert consumer.qos.set(0) == 1
    assert [directive["most"] for directive in posted] == [7, 1]


def test_rate_limits_are_made_known(app: Any) -> None:
    @app.task(name="limited", rate_limit="2/s", shared=False)
    def limited() -> None:
        pass

    @app.task(name="free", shared=False)
    def free() -> None:
        pass

    consumer, posted = attached(app)
    consumer.reset_rate_limits()
    app.tasks["limited"].rate_limit = None
    consumer.reset_rate_limits()
    assert [(told["task"], told["limit"]) for told in posted] == [("limited", "2/s"), ("limited", None)]
    assert consumer.bucket_for_task(app.tasks["free"]) is None
    app.tasks["limited"].rate_limit = "60/m"
    assert consumer.bucket_for_task(app.tasks["limited"]).fill_rate == 1


@pytest.mark.slow
def test_without_steps_nothing_of_them_is_loaded() -> None:
    loaded = run_fresh("""
        import sys
        from celerylite import Celery
        app = Celery("plain", broker="memory://")
        worker = app.WorkController(pool="solo")
        assert worker.extension is None and worker.blueprint is None and worker.timer is None
        names = {"celerylite.bootsteps", "celerylite.utils.timer2", "celerylite.worker.extension"}
        print(sorted(names & {*sys.modules}))
    """)
    assert loaded == "[]"
