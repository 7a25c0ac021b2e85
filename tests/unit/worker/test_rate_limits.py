"""Rate limits of a worker: whose, how many, from when on; and what becomes of those that must wait."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from celerylite import Celery
from celerylite.brokers.values import LIMITED
from celerylite.contrib.testing.worker import start_worker
from celerylite.exceptions import ImproperlyConfigured
from celerylite.worker.directives import Directives
from celerylite.worker.options import WorkerOptions
from celerylite.worker.rate_limits import Limiter, RateBoard, check_limits, limit_of
from tests.support.waiting import wait_for


@pytest.fixture
def app() -> Iterator[Celery]:
    url = f"memory:///{uuid.uuid4().hex}"
    with Celery("limits", broker=url, backend="cache+memory://", set_as_current=False) as app:
        yield app


def define(app: Celery, name: str = "job", **options: Any) -> Any:
    @app.task(shared=False, name=name, **options)
    def job(value: Any = None) -> Any:
        return value

    return app.tasks[name]


@pytest.mark.parametrize(
    ("given", "period"),
    [
        ("10/s", 0.1), ("100/m", 0.6), ("2/h", 1800), (5, 0.2), (0.5, 2.0), ("0.5/s", 2.0), (None, None), (0, None),
        ("0/s", None),
    ],
)  # fmt: skip
def test_what_can_be_said(app: Celery, given: Any, period: float | None) -> None:
    found = limit_of(app, define(app, rate_limit=given), app.broker)
    assert (found and found.period) == (period and pytest.approx(period))


@pytest.mark.parametrize("given", ["ten/s", "10/fortnight", "/s", [1]])
def test_what_nobody_understands_is_refused_when_the_worker_starts(app: Celery, given: Any) -> None:
    define(app, "proj.odd", rate_limit=given)
    with pytest.raises(ImproperlyConfigured, match="proj.odd"):
        check_limits(app)


def test_a_scope_that_is_none(app: Celery) -> None:
    define(app, rate_limit="1/s", rate_limit_scope="cluster")
    with pytest.raises(ImproperlyConfigured, match="neither 'worker' nor 'global'"):
        check_limits(app)


def test_the_setting_and_annotations_give_limits(app: Celery) -> None:
    app.conf.task_default_rate_limit = "10/s"
    app.conf.task_annotations = {"slow": {"rate_limit": "1/s", "rate_limit_scope": "global"}}
    plain, slow = define(app, "plain"), define(app, "slow")
    app.finalize()
    found = limit_of(app, plain, app.broker), limit_of(app, slow, app.broker)
    assert [(one.period, one.everywhere) for one in found if one] == [(0.1, False), (1.0, True)]


def test_a_broker_that_cannot_count_for_all(caplog: pytest.LogCaptureFixture) -> None:
    with Celery("files", broker="filesystem://", set_as_current=False) as app:
        app.conf.task_rate_limit_scope = "global"
        task = define(app, "proj.limited", rate_limit="1/s")
        define(app, "proj.free")
        check_limits(app)
        found = limit_of(app, task, app.broker)
    assert caplog.text.count("rate limit of task proj.") == 1 and "proj.limited is for all workers" in caplog.text
    assert found is not None and not found.everywhere


def test_the_board_is_shared_and_outlives_who_holds_a_lock() -> None:
    """A process is killed in the middle of a change: the others go on."""
    board = RateBoard(["a", "b"])
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with board.change("b") as line:
            line.next = 5.0
        with board.change("a"):
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    with board.change("b") as line:  # the lock of another task is free
        assert line.next == 5.0
    os.kill(child, signal.SIGKILL)
    with board.change("a") as line:
        line.next = 7.0
    os.waitpid(child, 0)
    assert board.read("a").next == 7.0
    for file in (reader, writer):
        os.close(file)
    board.close()


class Limits:
    """A limiter of one process, and a way to ask it."""

    def __init__(self, app: Celery, board: RateBoard | None, told: Directives | None = None) -> None:
        self.directives = told or Directives(["celery"])
        options = WorkerOptions("w", ["celery"], rates=board)
        self.limiter = Limiter(app, options, app.broker, self.directives)

    def wait(self, name: str, back: bool = False) -> float:
        """How long a message of this task must wait."""
        message: Any = type("Received", (), {"name": name, "headers": {LIMITED: name} if back else {}})()
        return self.limiter.wait(message)


def test_the_processes_of_a_worker_count_together(app: Celery) -> None:
    define(app, rate_limit="1/h")
    board = RateBoard(app.tasks)
    one, other = Limits(app, board), Limits(app, board)
    assert one.wait("job") == 0.0
    assert other.wait("job") == pytest.approx(3600, abs=1)
    assert one.wait("job") == pytest.approx(7200, abs=1)
    assert other.wait("job", back=True) == pytest.approx(3600, abs=1)


def test_two_workers_count_apart_unless_the_scope_is_global(app: Celery) -> None:
    define(app, rate_limit="1/h")
    define(app, "all", rate_limit="1/h", rate_limit_scope="global")
    one, other = Limits(app, RateBoard(app.tasks)), Limits(app, RateBoard(app.tasks))
    assert [one.wait("job"), other.wait("job")] == [0.0, 0.0]
    assert one.wait("all") == 0.0
    assert other.wait("all") == pytest.approx(3600, abs=1)


def test_limits_can_be_switched_off(app: Celery) -> None:
    define(app, rate_limit="1/h")
    assert not Limits(app, None).limiter.limits


def test_a_limit_changes_while_the_worker_runs(app: Celery) -> None:
    define(app)
    define(app, "other", rate_limit="1/s")
    limits = Limits(app, RateBoard(app.tasks))
    assert "other" in limits.limiter.limits and "job" not in limits.limiter.limits
    for task, limit in (("job", "6/m"), ("other", None), ("unknown", "1/s")):
        limits.directives.apply({"directive": "rate_limit", "task": task, "limit": limit})
    assert limits.limiter.limits["job"].period == 10.0 and "other" not in limits.limiter.limits
    assert app.tasks["job"].rate_limit == "6/m"
    later = Limits(app, RateBoard(app.tasks), limits.directives)  # a process that starts later was told, too
    assert "job" in later.limiter.limits and "other" not in later.limiter.limits


def test_a_task_that_was_defined_later_is_counted_by_each_process(app: Celery) -> None:
    board = RateBoard(app.tasks)
    define(app, rate_limit="1/h")
    limits = Limits(app, board)
    assert limits.wait("job") == 0.0 and limits.wait("job") > 3000


def run(app: Celery, task: Any, count: int) -> tuple[list[float], float]:
    """When `count` limited calls started, and when an unlimited one behind them did; the worker is in this process."""
    starts: list[float] = []
    free: list[float] = []

    @app.task(shared=False, name="limited", rate_limit=task)
    def limited(number: int) -> None:
        starts.append(time.monotonic())

    @app.task(shared=False, name="free")
    def unlimited() -> None:
        free.append(time.monotonic())

    for number in range(count):
        limited.delay(number)
    unlimited.delay()
    with start_worker(app, perform_ping_check=False):
        wait_for(lambda: free and len(starts) == count, 20)
    return starts, free[0]


def test_an_unlimited_task_behind_many_limited_ones_does_not_wait(app: Celery) -> None:
    starts, free = run(app, "200/s", 20)
    assert free < starts[10]


def test_waiting_ones_come_at_once_when_the_limit_is_lifted(app: Celery) -> None:
    ran: list[int] = []

    @app.task(shared=False, name="limited", rate_limit="1/h")
    def limited(number: int) -> None:
        ran.append(number)

    @app.task(shared=False, name="free")
    def unlimited() -> None:
        pass

    with start_worker(app, perform_ping_check=False) as worker:
        for number in range(5):
            limited.delay(number)
        unlimited.delay().get(timeout=10)
        assert ran == [0]
        worker.node.post("rate_limit", task="limited", limit=None)
        wait_for(lambda: sorted(ran) == [0, 1, 2, 3, 4], 10)


def test_what_another_worker_has_put_off_for_an_hour_is_run_by_one_that_is_idle(app: Celery) -> None:
    task = define(app, rate_limit="10/s")
    result = task.delay("late")
    consumer = app.broker.consumer(["celery"], serial=True, lease=60)
    consumer.open(lambda: False)
    (delivery,) = consumer.fetch(1, 5)
    consumer.defer(delivery, time.time() + 3600, {LIMITED: "job"})
    consumer.close()
    with start_worker(app, perform_ping_check=False):
        assert result.get(timeout=10) == "late"


def test_eager_calls_know_no_limits(app: Celery) -> None:
    task = define(app, rate_limit="1/h")
    assert [task.apply((number,)).get() for number in range(3)] == [0, 1, 2]
