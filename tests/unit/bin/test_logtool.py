"""What `logtool` reads in logs: Celery's and ours, with colours or without, text and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from celerylite.bin.log_audit import Audit, entries

Run = Callable[..., Result]

LOG = """\

 -------------- celery@host v5.7.0 (immunity)
[2026-05-01 10:00:00,000: INFO/MainProcess] Connected to redis://localhost:6379//
[2026-05-01 10:00:00,001: INFO/MainProcess] celery@host ready.
[2026-05-01 10:00:01,000: INFO/MainProcess] Task t.add[id-1] received
[2026-05-01 10:00:01,001: INFO/ForkPoolWorker-1] Task t.add[id-1] succeeded in 0.001s: 3
[2026-05-01 10:00:02,000: INFO/MainProcess] Task t.fail[id-2] received
\x1b[31m[2026-05-01 10:00:02,001: ERROR/ForkPoolWorker-1] Task t.fail[id-2] raised unexpected: ValueError('boom')
Traceback (most recent call last):
  File "t.py", line 1, in fail
    raise ValueError("boom")

ValueError: boom\x1b[0m
[2026-05-01 10:00:03,000: INFO/MainProcess] Task t.flaky[id-3] received
[2026-05-01 10:00:03,001: INFO/ForkPoolWorker-1] Task t.flaky[id-3] retry: Retry in 1s
[2026-05-01 10:00:04,000: INFO/MainProcess] Task t.flaky[id-3] received
[2026-05-01 10:00:04,001: INFO/ForkPoolWorker-1] Task t.flaky[id-3] succeeded in 0.1s: None
[2026-05-01 10:00:05,000: INFO/MainProcess] Task t.slow[id-4] received
[2026-05-01 10:00:06,000: INFO/MainProcess] Task t.slow[id-5] received
[2026-05-01 10:00:06,500: ERROR/MainProcess] Hard time limit (1s) exceeded for t.slow[id-5]
[2026-05-01 10:00:07,000: INFO/MainProcess] Task t.add[id-6] received
[2026-05-01 10:00:07,001: INFO/MainProcess] Discarding revoked task: t.add[id-6]
[2026-05-01 10:00:08,000: WARNING/ForkPoolWorker-1] printed by a task
in two lines
"""


def as_json(text: str) -> str:
    """The same log as JSON lines."""
    lines = []
    for entry in entries(text.splitlines(keepends=True)):
        head, _, rest = entry.text.partition("] ")
        if rest:
            line = {"time": "2026-05-01T10:00:00.000+00:00", "level": "INFO", "message": rest.partition("\n")[0]}
            if "Traceback" in rest:
                line["exception"] = {"type": "ValueError", "traceback": rest.partition("\n")[2]}
            lines.append(json.dumps(line))
    return "\n".join(lines)


@pytest.mark.parametrize("text", [LOG, as_json(LOG)], ids=["text", "json"])
def test_what_became_of_tasks(text: str) -> None:
    audit = Audit()
    for entry in entries(text.splitlines(keepends=True)):
        audit.add(entry)
    report = audit.report()
    assert report["tasks"] == {
        "received": 7, "failed": 1, "ignored": 0, "lost": 0, "rejected": 0, "retried": 1, "revoked": 1,
        "succeeded": 2, "timeout": 1, "incomplete": 1,
    }  # fmt: skip
    assert report["names"] == {"t.add": 2, "t.flaky": 2, "t.slow": 2, "t.fail": 1}
    assert list(audit.open) == ["id-4"]


def test_entries_have_all_their_lines() -> None:
    found = list(entries(LOG.splitlines(keepends=True)))
    (failure,) = [entry for entry in found if entry.has_traceback]
    assert failure.text.endswith("\n\nValueError: boom") and "\x1b" not in failure.text
    assert found[-1].text.endswith("in two lines")


def test_celerys_older_sentence() -> None:
    (entry,) = entries(["[2026-05-01 10:00:01,000: INFO/MainProcess] Received task: t.add[id-1]  \n"])
    assert (entry.event, entry.name, entry.id) == ("received", "t.add", "id-1")


def test_a_pattern_of_ones_own() -> None:
    lines = ["2026-05-01 10:00:01 worker INFO Task t.add[id-1] received\n", "2026-05-01 10:00:02 worker INFO bye\n"]
    assert [entry.event for entry in entries(lines)] == ["received", None]


@pytest.fixture
def log(project: Path) -> str:
    (project / "worker.log").write_text(LOG)
    return "worker.log"


def test_the_commands(run: Run, log: str) -> None:
    assert json.loads(run("logtool", "stats", "--json", log).stdout)["tasks"]["received"] == 7
    assert "received" in run("logtool", "stats", log).stdout
    assert run("logtool", "traces", log).stdout.splitlines()[-1] == "ValueError: boom"
    assert [line.partition("] ")[2] for line in run("logtool", "errors", log).stdout.splitlines()] == [
        "Task t.fail[id-2] raised unexpected: ValueError('boom')",
        "Hard time limit (1s) exceeded for t.slow[id-5]",
    ]
    assert run("logtool", "incomplete", log).stdout.count("\n") == 1
    assert "printed by a task\nin two lines" in run("logtool", "debug", log).stdout
    assert "t.add" not in run("logtool", "debug", log).stdout


def test_standard_input(run: Run) -> None:
    assert "id-4" in run("logtool", "incomplete", input=LOG).stdout
