"""`celerylite worker`: which options it takes, and what becomes of them."""

from __future__ import annotations

import ast
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from celerylite.bin import worker as module
from celerylite.bin.worker import worker
from celerylite.utils.nodenames import gethostname

Run = Callable[..., Result]

#: `celery worker --help` of Celery 5.7.
CELERYS_OPTIONS = """
-n --hostname -D --detach -S --statedb -l --loglevel -O --optimization --prefetch-multiplier
--disable-prefetch
-c --concurrency -P --pool -E --task-events --events --time-limit --soft-time-limit --max-tasks-per-child
--pool-start-method --max-memory-per-child --purge --discard -Q --queues -X --exclude-queues -I --include
--without-gossip --without-mingle --without-heartbeat --heartbeat-interval --autoscale
-B --beat -s --schedule-filename --schedule --scheduler -f --logfile --pidfile --uid --gid --umask
--executable
""".split()


def options(run: Run, *words: str) -> dict[str, Any]:
    """What the worker was made with."""
    result = run("-A", "clirecorder", "worker", *words)
    assert result.exit_code == 3, result.output
    return {
        name: ast.literal_eval(value)
        for name, value in (line.split("=", 1) for line in result.stdout.splitlines())
    }


def test_every_option_of_celery() -> None:
    ours = {name for param in worker.params for name in param.opts}
    assert set(CELERYS_OPTIONS) <= ours


def test_help_has_headings(run: Run) -> None:
    text = run("worker", "--help").stdout
    headings = ("Worker", "Pool", "Queue", "Daemonization", "Embedded Beat")
    assert all(f"{heading} Options:" in text for heading in headings)


def test_what_is_not_given_is_left_to_the_settings(run: Run) -> None:
    given = options(run)
    assert given["loglevel"] == logging.WARNING
    assert given["hostname"].startswith("celery@")
    left = "concurrency pool task_events time_limit max_tasks_per_child logfile pidfile"
    assert {name: given[name] for name in left.split()} == dict.fromkeys(left.split())


def test_what_is_given_arrives(run: Run) -> None:
    words = (
        "-n w1@here -l debug -c 4 -P threads -E -Q a,b -X c -I m,n --purge -O fair --prefetch-multiplier 2 "
        "--time-limit 10 --soft-time-limit 5.5 --max-tasks-per-child 7 --max-memory-per-child 100 "
        "--autoscale 3,10"
    )
    given = options(run, *words.split())
    expected = {
        "hostname": "w1@here",
        "loglevel": logging.DEBUG,
        "concurrency": 4,
        "pool": "threads",
        "task_events": True,
        "queues": ["a", "b"],
        "exclude_queues": ["c"],
        "include": ["m", "n"],
        "purge": True,
        "optimization": "fair",
        "prefetch_multiplier": 2,
        "time_limit": 10.0,
        "soft_time_limit": 5.5,
        "max_tasks_per_child": 7,
        "max_memory_per_child": 100,
        "autoscale": (10, 3),
    }
    assert {name: given[name] for name in expected} == expected


def test_paths_take_the_name_of_the_node(run: Run) -> None:
    given = options(run, "-n", "w1@here", "--pidfile", "/run/%n.pid", "-S", "%h.state")
    assert given["pidfile"] == "/run/w1.pid"
    assert given["statedb"] == "here.state"


def test_names_expand(run: Run) -> None:
    assert options(run, "-n", "w1@%h")["hostname"] == f"w1@{gethostname()}"


def test_options_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_WORKER_CONCURRENCY", "6")
    assert options(run)["concurrency"] == 6


def test_settings_after_the_options(run: Run) -> None:
    assert options(run, "--", "worker.prefetch_multiplier=7")["concurrency"] is None
    import clirecorder  # the project of this test

    assert clirecorder.app.conf.worker_prefetch_multiplier == 7


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-P", "gevent"), "the pool 'gevent' is not part of this release"),
        (("-P", "custom"), "the pool 'custom' is not part of this release"),
        (("-P", "nope"), "is not one of"),
        (("-c", "x"), "must be a non-negative integer or 'auto'"),
        (("-c", "-1"), "must be a non-negative integer or 'auto'"),
        (("--autoscale", "x"), "expected one or two whole numbers"),
        (("--autoscale", "1,2,3"), "at most two"),
        (("-l", "loud"), "is not one of"),
        (("--pidfile", "%N.pid"), "%N"),
        (("-D", "-f", "/no/such/directory/w.log"), "its directory does not exist"),
        (("-D", "--executable", "/no/such/python"), "/no/such/python is not a program"),
        (("--uid", "no-such-user"), "no-such-user"),
        (("extra",), "Settings stand last"),
    ],
)
def test_wrong_values_are_refused_with_a_sentence(run: Run, words: tuple[str, ...], sentence: str) -> None:
    result = run("-A", "clirecorder", "worker", *words)
    assert result.exit_code == 2
    assert sentence in result.output


def test_processes_is_another_name_for_prefork(run: Run) -> None:
    assert options(run, "-P", "processes")["pool"] == "prefork"


def test_auto_concurrency(run: Run) -> None:
    assert 1 <= options(run, "-c", "auto")["concurrency"] <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("quota", "cpus"), [("max 100000", None), ("150000 100000", 1.5)])
def test_quota_of_the_control_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, quota: str, cpus: float | None
) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    monkeypatch.setattr(module, "CGROUP_V2", str(path))
    assert module._cgroup_cpus() == cpus
