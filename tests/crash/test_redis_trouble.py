"""Redis is not itself: frozen, full, without its scripts, handled by an operator, away for longer than a lease."""

from __future__ import annotations

import signal

import pytest

from tests.crash.harness import Lab, outlast, poll, send_signal

pytestmark = pytest.mark.crash

COMMANDS = ["SCRIPT FLUSH", "CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub"]


def assert_all_once(lab: Lab, ids: list[str], timeout: float) -> None:
    """Every task ran to its end, once, and has its result."""
    left = lab.wait_finished(ids, timeout)
    assert not left, f"{len(left)} of {len(ids)} did not run"
    missing = lab.wait_records(ids, 10)
    assert not missing, f"{len(missing)} results are missing"
    lab.wait_quiet(lab.settings["worker_lease"] + 1.0)
    assert not lab.tally().doubled()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_frozen_for_longer_than_any_timeout(durable_lab: Lab, mode: str) -> None:
    """What was sent before is done when it thaws, after the workers have given up on it and asked again."""
    lab = durable_lab.setup(mode)
    workers = [lab.worker("w1"), lab.worker("w2")]
    ids = lab.send(3000) + lab.send(100, 0.02)
    assert poll(lambda: len(lab.tally().starts) > 300, 10, every=0.001)
    send_signal(lab.server.pid, signal.SIGSTOP)
    outlast(8.0)
    send_signal(lab.server.pid, signal.SIGCONT)
    assert_all_once(lab, ids, 20)
    assert [worker.returncode for worker in workers] == [None, None]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["frozen", "restarted"])
def test_away_for_longer_than_the_lease_while_long_tasks_run(durable_lab: Lab, how: str) -> None:
    """Nobody could renew, and everybody lives: whoever comes back first must not take what is not abandoned."""
    lab = durable_lab.setup("late", worker_lease=1.0)
    workers = [lab.worker(f"w{number}") for number in range(3)]
    ids = lab.send(4, 8.0)
    assert poll(lambda: not lab.tally().missing(ids), 10)
    if how == "frozen":
        send_signal(lab.server.pid, signal.SIGSTOP)
        outlast(4.0)
        send_signal(lab.server.pid, signal.SIGCONT)
    else:
        lab.server.kill()
        outlast(4.0)
        lab.server.start()
    assert_all_once(lab, ids, 15)
    assert [worker.returncode for worker in workers] == [None, None, None]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_operators_commands(lab: Lab, mode: str, command: str) -> None:
    worker = lab.setup(mode).worker()
    ids = lab.send(60, 0.02) + lab.send(5, countdown=0.5)
    with lab.server.client() as client:
        for _ in range(3):
            assert lab.wait_more_starts(12, 10)
            client.execute_command(*command.split())
    assert_all_once(lab, ids, 10)
    assert worker.returncode is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_out_of_memory_for_a_while(durable_lab: Lab, mode: str) -> None:
    """Redis refuses every write (`maxmemory`); nothing that was done may be forgotten for that."""
    lab = durable_lab.setup(mode)
    worker = lab.worker()
    ids = lab.send(200, 0.02) + lab.send(10, countdown=1.0)
    assert poll(lambda: len(lab.tally().starts) > 20, 10)
    with lab.server.client() as client:
        client.config_set("maxmemory", 1)
        outlast(3.0)
        client.config_set("maxmemory", 0)
    assert_all_once(lab, ids, 20)
    assert worker.returncode is None


@pytest.mark.slow
def test_restarted_empty(durable_lab: Lab) -> None:
    """All keys are gone, as after a FLUSHALL: the worker does not know, and goes on with what comes."""
    lab = durable_lab.setup("early")
    worker = lab.worker()
    ids = lab.send(50, 0.02)
    assert poll(lambda: len(lab.tally().starts) > 10, 10)
    with lab.server.client() as client:
        client.flushall()
    lab.server.kill()
    lab.server.start()
    more = lab.send(20) + lab.send(5, countdown=1.0)
    assert not lab.wait_finished(more, 10)
    assert not set(lab.tally().doubled()) & set(ids)
    assert worker.returncode is None


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_warm_shutdown_while_redis_is_gone(durable_lab: Lab, pool: str) -> None:
    """The worker does not wait for ever; what it held comes back by its lease when Redis does."""
    lab = durable_lab.setup("late")
    worker = lab.worker(pool=pool)
    ids = lab.send(40, 0.05)
    assert poll(lambda: len(lab.tally().starts) > 5, 10)
    lab.server.kill()
    outlast(1.0)
    worker.signal(signal.SIGTERM)
    worker.wait(20)
    assert not worker.tree()
    lab.server.start()
    lab.worker("next")
    assert not lab.wait_finished(ids, 20)


@pytest.mark.slow
def test_idle_worker_ends_though_redis_is_gone(durable_lab: Lab) -> None:
    worker = durable_lab.setup("early").worker()
    durable_lab.server.kill()
    outlast(3.0)
    worker.signal(signal.SIGTERM)
    worker.wait(15)
    assert not worker.tree()
