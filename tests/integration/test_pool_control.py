"""A running worker grows, shrinks, restarts its pool, ends tasks, gets other queues, and replaces processes in time."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import pytest
from kombu import Exchange, Queue

from celerylite import chord
from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.app import make_app
from tests.support.keys import broker_keys_with
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(OURS == THEIRS, reason="this is about our processes")]


class Scene:
    """One worker, and its remote control."""

    def __init__(self, site: Site, *args: str, **options: Any) -> None:
        self.site = site
        self.worker = site.worker(*args, **options)
        self.client = site.client()
        self.tasks = self.client.tasks

    def say(self, command: str, **arguments: Any) -> Any:
        """The worker's one answer to a command."""
        answers = self.client.control.broadcast(command, arguments=arguments, reply=True, timeout=10, limit=1)
        assert len(answers) == 1, (command, answers, self.worker.tail())
        return next(iter(answers[0].values()))

    def pids(self) -> list[int]:
        """The task processes that the worker tells of."""
        return self.say("stats")["pool"]["processes"]

    def size(self) -> int:
        """How many tasks it runs at a time."""
        return self.say("stats")["pool"]["max-concurrency"]

    def start(self, n: int, task: str = "t.work", gate: str = "gate", **options: Any) -> list[Any]:
        """Calls that wait for their gate, all of them started."""
        results = [self.tasks[task].apply_async((gate,), **options) for _ in range(n)]
        for result in results:
            self.site.ledger.wait("start", result.id)
        return results

    def finish(self, results: list[Any], gate: str = "gate") -> None:
        """Open their gate and wait for them."""
        self.site.open(gate, len(results))
        assert [result.get(timeout=20) for result in results] == ["worked"] * len(results)

    def works(self) -> None:
        """The worker still runs tasks."""
        assert self.tasks["t.add"].delay(1, 1).get(timeout=20) == 2


@pytest.fixture(scope="module")
def scene(new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two task processes; each test leaves as many, idle."""
    directory = tmp_path_factory.mktemp("pool")
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    yield Scene(site, "-c", "2", conf={"worker_pool_restarts": True})
    site.close()


def test_it_grows_and_shrinks_again(scene: Scene) -> None:
    assert scene.say("pool_grow", n=2) == {"ok": "pool will grow"}
    results = scene.start(4)
    assert len(scene.pids()) == 4
    assert scene.say("pool_shrink", n=2) == {"ok": "pool will shrink"}
    assert scene.size() == 2
    scene.finish(results)  # nobody was interrupted
    wait_for(lambda: len(scene.pids()) == 2, 10, "two processes to end")
    scene.works()


def test_idle_processes_end_first(scene: Scene) -> None:
    scene.say("pool_grow", n=1)
    wait_for(lambda: len(scene.pids()) == 3, 10, "a third process")
    (result,) = scene.start(1)
    (busy,) = [task["worker_pid"] for task in scene.say("active")]
    scene.say("pool_shrink", n=1)
    wait_for(lambda: len(scene.pids()) == 2, 10, "one to end")
    assert busy in scene.pids()
    scene.finish([result])


def test_what_cannot_be_is_refused_with_the_reason(scene: Scene) -> None:
    assert "keeps at least one" in scene.say("pool_shrink", n=2)["error"]
    assert "this worker has place for" in scene.say("pool_grow", n=5000)["error"]
    assert scene.size() == 2


def test_a_restart_replaces_all_and_interrupts_nobody(scene: Scene) -> None:
    before = scene.pids()
    results = scene.start(2)
    assert scene.say("pool_restart") == {"ok": "reload started"}
    scene.finish(results)
    wait_for(lambda: len(scene.pids()) == 2 and not set(before) & set(scene.pids()), 20, "two new processes")
    scene.works()
    assert "exited with" not in scene.worker.log()


def test_a_module_that_cannot_be_imported_restarts_nothing(scene: Scene) -> None:
    before = scene.pids()
    assert "no_such_module" in scene.say("pool_restart", modules=["no_such_module"])["error"]
    assert scene.pids() == before


@pytest.mark.parametrize("task", ["t.work", "t.work_late"])
@pytest.mark.parametrize("signame", ["SIGTERM", "SIGKILL"])
def test_terminate_ends_what_runs_and_nothing_runs_again(scene: Scene, task: str, signame: str) -> None:
    (result,) = scene.start(1, task, "never")
    scene.client.control.revoke(result.id, terminate=True, signal=signame)
    with pytest.raises(Exception, match="terminated"):
        result.get(timeout=20)
    assert result.state == "REVOKED"
    scene.worker.wait_log(rf"{result.id}\] was terminated \(signal \d+ \({signame}\)\)")
    scene.works()
    keys = broker_keys_with(scene.site.redis, result.id)
    assert all("revoked" in key for key in keys), keys
    assert scene.site.ledger.starts()[result.id] == 1
    wait_for(lambda: len(scene.pids()) == 2, 10, "the process to be replaced")


def test_who_is_stuck_in_c_code_is_killed(scene: Scene) -> None:
    result = scene.tasks["t.crunch"].delay()
    scene.site.ledger.wait("start", result.id)
    scene.client.control.terminate(result.id)
    with pytest.raises(Exception, match="terminated"):
        result.get(timeout=20)
    scene.worker.wait_log(rf"{result.id}\] was terminated")
    scene.works()


def test_a_part_of_a_chord_that_is_terminated_fails_the_chord(scene: Scene) -> None:
    add, work = scene.tasks["t.add"], scene.tasks["t.work"]
    header = [add.s(1, 1), work.s("never").set(task_id="part-that-ends")]
    result = chord(header, app=scene.client)(scene.tasks["t.same"].s())
    scene.site.ledger.wait("start", "part-that-ends")
    scene.client.control.terminate("part-that-ends")
    with pytest.raises(Exception, match="terminated"):
        result.get(timeout=20)


def test_sigusr1_is_a_soft_limit(scene: Scene) -> None:
    result = scene.tasks["t.work"].delay(None, 60)
    scene.site.ledger.wait("start", result.id)
    scene.client.control.terminate(result.id, signal="SIGUSR1")
    with pytest.raises(Exception, match="SoftTimeLimitExceeded"):
        result.get(timeout=20)
    assert len(scene.pids()) == 2


def test_time_limits_of_a_running_worker(scene: Scene) -> None:
    scene.say("time_limit", task_name="t.work", soft=0.2, hard=20)
    result = scene.tasks["t.work"].delay(None, 60)
    with pytest.raises(Exception, match="SoftTimeLimitExceeded"):
        result.get(timeout=20)
    scene.say("time_limit", task_name="t.work", soft=None, hard=None)


def test_queues_come_and_go(scene: Scene) -> None:
    work = scene.tasks["t.add"]
    assert scene.say("add_consumer", queue="more") == {"ok": "add consumer more"}
    assert work.apply_async((1, 2), queue="more").get(timeout=20) == 3
    assert [queue["name"] for queue in scene.say("active_queues")] == ["celery", "more"]
    scene.say("cancel_consumer", queue="more")
    late = work.apply_async((1, 3), queue="more")
    scene.works()
    assert not late.ready()
    scene.say("add_consumer", queue="more")
    assert late.get(timeout=20) == 4
    scene.say("cancel_consumer", queue="more")


def test_the_first_queue_goes_and_the_others_are_served_at_once(scene: Scene) -> None:
    work = scene.tasks["t.add"]
    scene.say("add_consumer", queue="second", exchange="x.second", routing_key="a.b")
    scene.say("cancel_consumer", queue="celery")
    waiting = work.apply_async((1, 2), queue="celery")
    for n in range(5):  # they block on nothing of their own: the keeper wakes them
        assert work.apply_async((n, n), exchange="x.second", routing_key="a.b").get(timeout=20) == 2 * n
    assert not waiting.ready()
    scene.say("add_consumer", queue="celery")
    assert waiting.get(timeout=20) == 3
    scene.say("cancel_consumer", queue="second")
    scene.works()


def test_what_was_taken_from_a_cancelled_queue_goes_back(scene: Scene) -> None:
    scene.say("add_consumer", queue="short")
    add = scene.tasks["t.add"]
    results = [add.apply_async((n, n), queue="short") for n in range(300)]
    scene.say("cancel_consumer", queue="short")
    scene.works()
    wait_for(lambda: not scene.say("active"), 10, "the running ones to end")
    done = sum(result.ready() for result in results)
    assert done + scene.site.redis.llen("short") == 300
    scene.say("add_consumer", queue="short")
    assert [result.get(timeout=20) for result in results] == [2 * n for n in range(300)]
    scene.say("cancel_consumer", queue="short")


def test_children_that_start_later_know_what_was_told(scene: Scene) -> None:
    """A new control process too: it is killed right after it has posted."""
    scene.say("add_consumer", queue="late")
    control = _control_process(scene)
    os.kill(control, signal.SIGKILL)
    scene.worker.wait_log("starting another")
    wait_for(lambda: scene.client.control.ping(timeout=1, limit=1), 20, "the new one to listen")
    for pid in scene.pids():
        os.kill(pid, signal.SIGKILL)
    assert scene.tasks["t.add"].apply_async((1, 2), queue="late").get(timeout=20) == 3
    assert "late" in [queue["name"] for queue in scene.say("active_queues")]
    scene.say("cancel_consumer", queue="late")


def _control_process(scene: Scene) -> int:
    tasks = scene.pids()
    (control,) = [pid for pid in scene.worker.children() if pid not in tasks]
    return control


def test_the_parent_dies_after_a_directive(site: Site) -> None:
    """Nothing is lost and nothing runs twice; what runs is finished."""
    scene = Scene(site, "-c", "2")
    results = scene.start(1)
    waiting = [scene.tasks["t.add"].apply_async((n, 1), queue="more") for n in range(20)]
    scene.say("add_consumer", queue="more")
    os.kill(scene.worker.pid, signal.SIGKILL)
    scene.finish(results)
    wait_for(lambda: not scene.worker.tree(), 20, "all its processes to end")
    site.worker("-c", "1", "-Q", "celery,more")
    assert [result.get(timeout=20) for result in waiting] == [n + 1 for n in range(20)]
    assert set(site.ledger.starts().values()) == {1}


def test_shutdown(site: Site) -> None:
    scene = Scene(site, "-c", "1")
    results = scene.start(1)
    scene.client.control.shutdown()
    scene.worker.wait_log("Got shutdown from remote")
    scene.finish(results)
    assert scene.worker.wait(20) == 0


def test_a_task_with_a_large_message_is_shown_by_its_id(scene: Scene) -> None:
    results = scene.start(1, headers={"padding": "x" * 300_000})
    (info,) = scene.say("active")
    assert (info["id"], info["name"], info["acknowledged"]) == (results[0].id, "t.work", True)
    assert info["args"] == "(the message is larger than 256 KB)"
    assert list(scene.say("query_task", ids=[results[0].id])) == [results[0].id]
    scene.finish(results)


def test_threads_grow_and_shrink(site: Site) -> None:
    scene = Scene(site, "-P", "threads", "-c", "1")
    scene.say("pool_grow", n=2)
    results = scene.start(3)
    scene.say("pool_shrink", n=2)
    assert scene.size() == 1
    scene.finish(results)
    first, second = scene.start(1), scene.tasks["t.work"].delay("gate")
    assert len(scene.say("active")) == 1
    assert site.ledger.count("start", second.id) == 0
    scene.finish([*first, second])
    (result,) = scene.start(1)
    assert "Python cannot end a thread" in scene.say("revoke", task_id=[result.id], terminate=True)["error"]
    scene.finish([result])


# -- processes that are replaced


def test_max_tasks_per_child_leaves_no_gap_and_runs_no_more_than_its_share(site: Site) -> None:
    scene = Scene(site, "-c", "1", "--max-tasks-per-child", "1")
    for _ in range(3):
        (result,) = scene.start(1)
        # The successor is there while the task runs, and does not run anything beside it.
        wait_for(lambda: len(scene.pids()) == 2, 20, "a successor that stands by")
        behind = scene.tasks["t.work"].delay()
        assert len(scene.say("active")) == 1
        assert site.ledger.count("start", behind.id) == 0
        scene.finish([result])
        assert behind.get(timeout=20) == "worked"
    shares = [event.pid for event in site.ledger.events("start")]
    assert len(shares) == len(set(shares)) == 6


def test_threads_are_replaced_one_by_one(site: Site) -> None:
    """A long task of the old process keeps one slot from its successor, and not all of them."""
    scene = Scene(site, "-P", "threads", "-c", "3", "--max-tasks-per-child", "4")
    long = scene.start(2)
    short = [scene.tasks["t.work"].delay() for _ in range(5)]  # two more in the old process, three in the next one
    assert {result.get(timeout=20) for result in short} == {"worked"}
    # One of the long tasks ends: the successor has two slots.
    site.open("gate")
    wait_for(lambda: any(result.ready() for result in long), 20, "one of the long tasks to end")
    others = scene.start(2, gate="other")
    last = scene.tasks["t.work"].delay()
    assert len(scene.say("active")) == 3
    assert site.ledger.count("start", last.id) == 0
    site.open("gate")
    assert last.get(timeout=20) == "worked"
    scene.finish(others, gate="other")
    shares = Counter(event.pid for event in site.ledger.events("start"))
    assert max(shares.values()) <= 4 and sum(shares.values()) == 10
    assert "exited with" not in scene.worker.log()


@pytest.mark.parametrize("pool, slots", [("prefork", 2), ("threads", 4)])
def test_short_tasks_in_small_shares(site: Site, pool: str, slots: int) -> None:
    """Successor follows successor; all tasks run, none in a process that has had its share, nor too many at a time."""
    scene = Scene(site, "-P", pool, "-c", str(slots), "--max-tasks-per-child", "10")
    results = [scene.tasks["t.work"].delay(seconds=0.1 * (n % 10 == 0)) for n in range(200)]
    assert {result.get(timeout=60) for result in results} == {"worked"}
    shares = Counter(event.pid for event in site.ledger.events("start"))
    assert max(shares.values()) <= 10 and sum(shares.values()) == 200
    assert "exited with" not in scene.worker.log()
    steps = {"start": 1, "finish": -1}
    at_once = accumulate(steps[event.name] for event in site.ledger.events() if event.name in steps)
    assert max(at_once) <= slots


def test_a_limit_that_every_process_passes_is_still_served(site: Site) -> None:
    """Each of them runs one task; its successor stands by from the beginning."""
    scene = Scene(site, "-c", "1", "--max-memory-per-child", "1000")
    results = [scene.tasks["t.who"].delay() for _ in range(10)]
    assert len({result.get(timeout=60)["pid"] for result in results}) == 10
    scene.worker.wait_log(r"child process exiting after exceeding memory limit \(\d+KiB/1000KiB\)", count=9)
    assert "exited with" not in scene.worker.log()


# -- autoscale


def test_autoscale_goes_with_the_load(site: Site) -> None:
    scene = Scene(site, "--autoscale=4,1", env={"AUTOSCALE_KEEPALIVE": "1"})
    assert "concurrency: {min=1, max=4} (prefork)" in scene.worker.log()
    assert scene.size() == 1
    results = scene.start(4)  # so many start only if it has grown
    assert scene.say("stats")["autoscaler"] == {"max": 4, "min": 1, "current": 4, "qty": 4}
    fifth = scene.tasks["t.work"].delay("gate")
    assert scene.say("autoscale", max=5, min=2) == {"ok": "autoscale now max=5 min=2"}
    site.ledger.wait("start", fifth.id)
    scene.finish([*results, fifth])
    wait_for(lambda: len(scene.pids()) == 2, 20, "the pool to shrink to its least")
    scene.worker.wait_log(r"Scaling up \d processes\.")
    scene.worker.wait_log(r"Scaling down 1 processes\.", count=3)
    assert scene.say("pool_grow", n=1)["error"]
    scene.works()


# -- other brokers


def test_queues_come_and_go_on_rabbitmq(
    rabbit_server: Any, ledger: Ledger, start_worker: Workers
) -> None:
    site = Site(rabbit_server.new_vhost(), ledger, start_worker)
    conf = {"result_backend": "rpc://"}
    env = {**site.environment(conf), "TEST_BACKEND": "rpc://"}
    start_worker("tests.support.app", "-c", "1", "-Q", "pool-one", env=env)
    client = make_app(OURS, site.url, "rpc://")
    try:
        add, control = client.tasks["t.add"], client.control
        assert control.add_consumer("pool-two", exchange="pool-x", exchange_type="topic", routing_key="a.#", reply=True)
        client.amqp.queues.add(Queue("pool-two", Exchange("pool-x", type="topic"), routing_key="a.#"))
        assert add.apply_async((1, 2), exchange="pool-x", routing_key="a.b.c").get(timeout=20) == 3
        control.cancel_consumer("pool-one", reply=True)
        waiting = add.apply_async((2, 2), queue="pool-one")
        assert add.apply_async((1, 3), queue="pool-two", routing_key="a.d").get(timeout=20) == 4
        assert not waiting.ready()
        control.add_consumer("pool-one", reply=True)
        assert waiting.get(timeout=20) == 4
    finally:
        client.close()


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The same on a file."""
    directory = tmp_path_factory.mktemp("sqlite")
    site = Site(f"sqlite:///{directory}/queue.db", Ledger(directory / "ledger"), Workers(directory))
    yield Scene(site, "-c", "1")
    site.close()


def test_queues_come_and_go_on_sqlite(on_sqlite: Scene) -> None:
    add = on_sqlite.tasks["t.add"]
    on_sqlite.say("add_consumer", queue="more")
    assert add.apply_async((1, 2), queue="more").get(timeout=20) == 3
    on_sqlite.say("cancel_consumer", queue="celery")
    waiting = add.apply_async((2, 2), queue="celery")
    assert add.apply_async((1, 3), queue="more").get(timeout=20) == 4
    assert not waiting.ready()
    on_sqlite.say("add_consumer", queue="celery")
    assert waiting.get(timeout=20) == 4


def test_pool_and_terminate_on_sqlite(on_sqlite: Scene) -> None:
    on_sqlite.say("pool_grow", n=1)
    results = [on_sqlite.tasks["t.work_late"].delay(None, 60) for _ in range(2)]
    for result in results:
        on_sqlite.site.ledger.wait("start", result.id)
    for result in results:
        on_sqlite.client.control.terminate(result.id)
        with pytest.raises(Exception, match="terminated"):
            result.get(timeout=20)
    on_sqlite.say("pool_shrink", n=1)
    wait_for(lambda: len(on_sqlite.pids()) == 1, 20, "one process to end")
    on_sqlite.works()
    assert set(on_sqlite.site.ledger.starts().values()) == {1}
