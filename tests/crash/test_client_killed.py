"""A client is killed between two calls: what it was told is sent, is run."""

from __future__ import annotations

import random
import sys

import pytest

from tests.crash.harness import Lab, poll
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.crash


def run_client(lab: Lab, how: str, number: int) -> None:
    """Start a client, let it send for a random while, kill it, and see that nothing of it is left."""
    argv = [sys.executable, "-m", "tests.crash.client", how]
    log_file = lab.directory / f"client-{number}.log"
    client = WorkerProcess(None, argv=argv, env=lab.environment(None, {}), log_file=log_file).start()
    before = len(lab.tally().others["sent"])
    count = before + lab.rng.randint(1, 300)
    enough = poll(lambda: len(lab.tally().others["sent"]) >= count, 20, every=0.0005)
    client.kill_tree()
    assert enough, client.tail()


@pytest.mark.parametrize(
    ("how", "rounds"),
    [
        ("one", 2),
        ("bulk", 1),
        pytest.param("one", 12, marks=pytest.mark.slow),
        pytest.param("bulk", 4, marks=pytest.mark.slow),
        pytest.param("later", 2, marks=pytest.mark.slow),
    ],
)
def test_every_call_that_returned_is_run(lab: Lab, rng: random.Random, how: str, rounds: int) -> None:
    lab.setup("early", task_ignore_result=True).worker()
    for number in range(rounds):
        run_client(lab, how, number)

    sent = {event.key for event in lab.tally().others["sent"]}
    assert not lab.wait_finished(sent, 20)
    lab.wait_quiet(1.0)
    assert not lab.tally().doubled()
    # The call that was interrupted may have arrived or not, but never in part: nothing else is left over.
    extra = set(lab.tally().starts) - sent
    assert len(extra) <= rounds * (20 if how == "bulk" else 1)
