"""A task process, or the whole worker, is killed right before and right after each of its transactions in turn."""

from __future__ import annotations

import pytest

from celerylite import chord
from tests.crash.harness import Lab, lost, poll

pytestmark = [pytest.mark.crash, pytest.mark.slow]

#: More transactions than three tasks need; the search ends at the first that is not reached.
POINTS = 30
TASKS = 3


def strike(lab: Lab, mode: str, spec: str, number: int) -> tuple[list[str], bool]:
    """Let a worker be killed at a point while it works; the tasks, and whether the point was reached."""
    flag = lab.directory / f"flag-{number}-{spec.split()[0]}"
    ids = lab.send(TASKS)  # before it starts, so that they come as a batch
    worker = lab.worker(f"p{number}", concurrency=1, wait=False, commit=f"{spec} {flag}")
    poll(lambda: flag.exists() or not lab.tally().unfinished(ids), 20)
    if " tree" in spec and flag.exists():
        assert worker.wait_gone(5)
        worker = lab.worker(f"h{number}", concurrency=1)
    if mode == "late":
        lab.wait_records(ids, 15)
    else:
        lab.wait_over(ids, 10, spare=1)
    lab.wait_quiet(0.5)
    worker.terminate()
    return ids, flag.exists()


# Each takes more than a minute: every side of every question is asked, not every combination.
@pytest.mark.parametrize(
    ("mode", "victim", "when"),
    [("early", "child", "after"), ("early", "tree", "before"), ("late", "child", "before"), ("late", "tree", "after")],
)
def test_killed_at_each_commit(lab: Lab, mode: str, victim: str, when: str) -> None:
    lab.setup(mode, worker_lease=2.0)
    for point in range(1, POINTS):
        ids, reached = strike(lab, mode, f"{when} {point} {victim}", point)
        tally, records = lab.tally(), lab.records(ids)
        doubled = {key for key in ids if len(tally.starts[key]) > 1}
        if mode == "early":
            assert not doubled, f"commit {point}: run twice"
            gone = {key for key in ids if not tally.finishes[key]}
            assert len(gone) <= 1, f"commit {point}: {len(gone)} gone"
            if victim == "child":
                assert all(lost(records[key]) for key in gone), f"commit {point}: nobody was told"
        else:
            assert not tally.unfinished(ids), f"commit {point}: lost"
            assert all(record and record["status"] == "SUCCESS" for record in records.values())
            assert len(doubled) <= 1, f"commit {point}"
        if not reached:
            assert point > TASKS, "the points were never reached"
            return
    pytest.fail("the search did not end")


@pytest.mark.parametrize(("victim", "when"), [("child", "after"), ("tree", "before")])
def test_a_chord_killed_at_each_commit(lab: Lab, victim: str, when: str) -> None:
    """Late acknowledgement: the body is sent once, wherever the process dies that counts the last part."""
    lab.setup("late", worker_lease=2.0)
    work = lab.app.tasks["crash.work"]
    for point in range(1, POINTS):
        body = chord([work.si() for _ in range(TASKS)])(work.si())
        flag = lab.directory / f"chord-{point}"
        worker = lab.worker(f"p{point}", concurrency=1, wait=False, commit=f"{when} {point} {victim} {flag}")
        poll(lambda flag=flag, body=body: flag.exists() or body.ready(), 20)
        if victim == "tree" and flag.exists():
            assert worker.wait_gone(5)
            worker = lab.worker(f"h{point}", concurrency=1)
        assert not lab.wait_records([body.id], 20), f"commit {point}: the body never ended"
        lab.wait_quiet(0.5)
        worker.terminate()
        starts = {event.pid for event in lab.tally().starts[body.id]}
        assert len(lab.tally().starts[body.id]) == len(starts) <= 2, f"commit {point}: the body was sent twice"
        if not flag.exists():
            assert point > TASKS
            return
    pytest.fail("the search did not end")
