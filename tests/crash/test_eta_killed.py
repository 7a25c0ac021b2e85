"""Tasks that wait for their time survive the death of the worker, and of the moment of moving them into their queue."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.crash.harness import Lab, poll, send_signal

pytestmark = pytest.mark.crash


def send_spread(lab: Lab, count: int, first: float, last: float) -> dict[str, float]:
    """Tasks due at times spread over a span from now; id → due time."""
    now = time.time()
    due = {}
    for number in range(count):
        countdown = first + (last - first) * number / count
        due[lab.send(1, countdown=countdown)[0]] = now + countdown
    return due


def assert_on_time(lab: Lab, due: dict[str, float], late: float, *, after: float = 0.0) -> None:
    """None before its time; none later than `late` seconds after it, or after `after`, whatever came last."""
    starts = {key: lab.tally().starts[key][0].time for key in due}
    early = {key: starts[key] - due[key] for key in due if starts[key] < due[key] - 0.001}
    assert not early, f"{len(early)} started up to {-min(early.values()):.3f} s before their time"
    lateness = max(starts[key] - max(due[key], after) for key in due)
    assert lateness <= late, f"the latest start came {lateness:.2f} s after its time"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_worker_killed_while_500_wait(lab: Lab, mode: str) -> None:
    first = lab.setup(mode).worker("first")
    due = send_spread(lab, 500, 4.0, 6.0)
    seen = lab.send(1)  # all that was sent before has been looked at by the worker, if it looks at all
    assert not lab.wait_finished(seen, 5)

    first.kill_tree()
    lab.worker("second")
    ready = time.time()

    assert not lab.wait_finished(due, 15)
    lab.wait_quiet(3.0)
    assert not lab.tally().doubled()
    assert_on_time(lab, due, 3.0, after=ready)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_worker_killed_while_they_become_due(lab: Lab, rng: random.Random, mode: str) -> None:
    """Some are being moved to their queue, some are held: no one is lost in between."""
    lab.setup(mode)
    due = send_spread(lab, 600, 1.0, 7.0)
    kills = 3
    for number in range(kills):
        worker = lab.worker(f"w{number}")
        assert lab.wait_more_starts(rng.randint(20, 100), 10)
        worker.kill_tree()
    lab.worker("last")
    left = lab.wait_over(due, 20, spare=kills * 2)
    lab.wait_quiet(3.0)
    tally = lab.tally()
    if mode == "early":
        assert len(left) <= kills * 2
        assert not tally.doubled()
    else:
        assert not tally.unfinished(due)
    assert min(tally.starts[key][0].time - due[key] for key in tally.starts) >= -0.001


@pytest.mark.slow
def test_promoting_process_killed_again_and_again(lab: Lab, rng: random.Random) -> None:
    """Due tasks are moved by the control process; a task is in the one place or in the other, whenever it dies."""
    worker = lab.setup("early").worker()
    due = send_spread(lab, 800, 1.0, 6.0)
    while len(lab.tally().starts) < 600:
        old = worker.control_process()
        if old is not None:
            send_signal(old, signal.SIGKILL)
        assert worker.wait_other_control(old, 5)
        lab.wait_more_starts(rng.randint(1, 40), 3)
    assert not lab.wait_finished(due, 10)
    lab.wait_quiet(3.0)
    assert not lab.tally().doubled()
    assert_on_time(lab, due, 6.0)
    assert worker.returncode is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_countdown_longer_than_the_visibility_timeout(lab: Lab, mode: str) -> None:
    """Celery runs these again and again: they wait unacknowledged in its worker. Here each runs once."""
    lab.setup(mode, broker_transport_options={"visibility_timeout": 1})
    lab.worker("w1")
    lab.worker("w2")
    due = send_spread(lab, 100, 2.5, 3.0)
    assert not lab.wait_finished(due, 10)
    lab.wait_quiet(1.5)
    assert not lab.tally().doubled()
    assert_on_time(lab, due, 3.0)


@pytest.mark.slow
def test_retry_waits_through_a_kill(lab: Lab) -> None:
    """A task that asked to be tried again is on the server, not in the worker."""
    first = lab.setup("early").worker("first")
    ids = lab.send(20, 3.0, task="crash.retry_once")
    assert poll(lambda: not lab.tally().missing(ids), 10)
    assert poll(lambda: all(r and r["status"] == "RETRY" for r in lab.records(ids).values()), 5)
    first.kill_tree()
    lab.worker("second")
    assert not lab.wait_finished(ids, 10)
    lab.wait_quiet(2.5)
    assert all(len(lab.tally().starts[key]) == 2 for key in ids)
