"""The banner and the log lines that people search for, and the settings and signals that change them."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

STAMP = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: "
SECONDS = r"\d+\.\d+(e-\d+)?s"


@pytest.fixture(scope="module")
def worker(module_site: Site) -> WorkerProcess:
    return module_site.worker("-c", "1", "-n", "w1@%h", "-Q", "celery,other", signals="logging")


def call(site: Site, name: str, *args: Any, **options: Any) -> str:
    """Run a task to its end and return its id."""
    result = site.client().tasks[f"t.{name}"].apply_async(args, **options)
    result.get(timeout=10, propagate=False)
    return result.id


# -- banner


def test_banner(worker: WorkerProcess, module_site: Site) -> None:
    log = worker.log()
    for pattern in (
        r"w1@\S+ v\d+\.\d+\.\d+",
        r"\[config\]",
        r"\.> app:\s+support:0x[0-9a-f]+",
        rf"\.> transport:\s+redis://(:\*\*@)?{re.escape(module_site.url.removeprefix('redis://'))}",
        rf"\.> results:\s+{re.escape(module_site.url)}",
        r"\.> concurrency: 1 \(prefork\)",
        r"\.> task events: OFF",
        r"\[queues\]",
        r"\.> celery\s+exchange=celery\(direct\) key=celery",
        r"\.> other\s+exchange=other\(direct\) key=other",
        r"\[tasks\]",
        r"^  \. t\.add$",
    ):
        assert re.search(pattern, log, re.MULTILINE), pattern
    assert "celery.backend_cleanup" not in log.split("[tasks]")[1].split("\n\n")[0]


def test_start_up_lines(worker: WorkerProcess, module_site: Site) -> None:
    assert re.search(STAMP + r"INFO/MainProcess\] Connected to redis://", worker.log(), re.MULTILINE)
    assert re.search(STAMP + r"INFO/MainProcess\] w1@\S+ ready\.$", worker.log(), re.MULTILINE)


def test_passwords_are_hidden(make_redis: Any, site: Site) -> None:
    server = make_redis()
    with server.client() as client:
        client.config_set("requirepass", "s3cret")
    url = server.url().replace("redis://", "redis://:s3cret@")
    worker = site.worker("-c", "1", env={"TEST_BROKER": url, "TEST_BACKEND": url})
    assert re.search(r"transport:\s+redis://:\*\*@", worker.log())
    assert re.search(r"results:\s+redis://:\*\*@", worker.log())
    worker.terminate()
    assert "s3cret" not in worker.log()


# -- one line per event


def test_received_and_succeeded(worker: WorkerProcess, module_site: Site) -> None:
    tid = call(module_site, "add", 1, 2)
    worker.wait_log(STAMP + rf"INFO/[\w-]+\] Task t\.add\[{tid}\] received\s*$")
    worker.wait_log(STAMP + rf"INFO/ForkPoolWorker-\d+\] Task t\.add\[{tid}\] succeeded in {SECONDS}: 3$")


def test_raised_unexpected(worker: WorkerProcess, module_site: Site) -> None:
    tid = call(module_site, "fail", "ValueError", "boom")
    worker.wait_log(
        STAMP + rf"ERROR/[\w-]+\] Task t\.fail\[{tid}\] raised unexpected: ValueError\('boom'\)\n"
        r"Traceback \(most recent call last\):\n(.*\n)+?ValueError: boom$"
    )


def test_raised_expected(worker: WorkerProcess, module_site: Site) -> None:
    tid = call(module_site, "throws")
    worker.wait_log(STAMP + rf"INFO/[\w-]+\] Task t\.throws\[{tid}\] raised expected: Expected\('as foreseen'\)")


def test_retry(worker: WorkerProcess, module_site: Site) -> None:
    tid = call(module_site, "flaky", 1)
    worker.wait_log(STAMP + rf"INFO/[\w-]+\] Task t\.flaky\[{tid}\] retry: Retry in 0\.05s$")
    tid = call(module_site, "hopeless")
    worker.wait_log(STAMP + rf"INFO/[\w-]+\] Task t\.hopeless\[{tid}\] retry: Retry in 0s: Broken\(7, 'still'\)")


def test_ignored(worker: WorkerProcess, module_site: Site) -> None:
    result = module_site.client().tasks["t.ignore"].delay()
    worker.wait_log(STAMP + rf"INFO/[\w-]+\] Task t\.ignore\[{result.id}\] ignored")


def test_rejected(worker: WorkerProcess, module_site: Site) -> None:
    tid = call(module_site, "reject", False)
    worker.wait_log(rf"Task t\.reject\[{tid}\] .*[Rr]eject")


def test_expired(worker: WorkerProcess, module_site: Site) -> None:
    tid = call(module_site, "add", 1, 1, expires=-1)
    worker.wait_log(STAMP + rf"INFO/[\w-]+\] Discarding revoked task: t\.add\[{tid}\]")


def test_unknown_task(worker: WorkerProcess, module_site: Site) -> None:
    result = module_site.client().send_task("t.nowhere", (1,), task_id="an-unknown-call")
    worker.wait_log(STAMP + r"ERROR/[\w-]+\] Received unregistered task of type '?t\.nowhere'?\.")
    result.get(timeout=10, propagate=False)
    assert (result.state, type(result.result).__name__) == ("FAILURE", "NotRegistered")


def test_lost_process(worker: WorkerProcess, module_site: Site) -> None:
    call(module_site, "die", 99)
    worker.wait_log(
        STAMP + r"ERROR/MainProcess\] Process 'ForkPoolWorker-\d+' pid:\d+ exited with 'signal 9 \(SIGKILL\)'"
    )


def test_long_arguments_are_cut(worker: WorkerProcess, module_site: Site) -> None:
    tid = call(module_site, "big", 100_000)
    (match,) = worker.wait_log(rf"Task t\.big\[{tid}\] succeeded in .*$")
    assert len(match.group()) < 3000


def test_task_logger(worker: WorkerProcess, module_site: Site) -> None:
    tid = call(module_site, "log", "hello from the task")
    worker.wait_log(STAMP + rf"INFO/ForkPoolWorker-\d+\] t\.log\[{tid}\]: hello from the task$")


def test_logging_signals(worker: WorkerProcess, module_site: Site) -> None:
    events = {event.name.removeprefix("signal:"): event for event in module_site.ledger.events()}
    assert events["after_setup_logger"].data["keys"] == [
        "colorize",
        "format",
        "logfile",
        "loglevel",
        "sender",
        "signal",
    ]
    assert "celery.task" in {event.key for event in module_site.ledger.events("signal:after_setup_task_logger")}


# -- settings


def test_log_formats(site: Site) -> None:
    conf = {
        "worker_log_format": "W %(levelname)s %(processName)s %(message)s",
        "worker_task_log_format": "T %(task_name)s %(task_id)s %(message)s",
        "worker_redirect_stdouts_level": "ERROR",
    }
    worker = site.worker("-c", "1", conf=conf)
    tid = call(site, "add", 1, 2)
    worker.wait_log(rf"^W INFO ForkPoolWorker-1 Task t\.add\[{tid}\] succeeded in {SECONDS}: 3$")
    tid = call(site, "log", "hello")
    worker.wait_log(rf"^T t\.log {tid} hello$")
    call(site, "print", "printed", "also")
    worker.wait_log(r"ERROR .*printed$|^T .*printed$")


def test_stdout_left_alone(site: Site) -> None:
    worker = site.worker("-c", "1", conf={"worker_redirect_stdouts": False})
    call(site, "print", "plainly printed", "and on stderr")
    worker.wait_log(r"^plainly printed$")
    worker.wait_log(r"^and on stderr$")


def test_a_project_that_sets_up_logging_itself(site: Site) -> None:
    worker = site.worker("-c", "1", signals="own_logging")
    tid = call(site, "add", 1, 2)
    worker.wait_log(rf"^OWN INFO celery\.app\.trace Task t\.add\[{tid}\] succeeded" if OURS == THEIRS else
                    rf"^OWN INFO \S+ Task t\.add\[{tid}\] succeeded")  # fmt: skip
    assert not re.search(STAMP, worker.log(), re.MULTILINE)


def test_warning_level_shows_no_tasks(site: Site) -> None:
    worker = site.worker("-c", "1", loglevel="WARNING", ready=False)
    tid = call(site, "add", 1, 2)
    call(site, "fail", "ValueError", "boom")
    worker.wait_log("raised unexpected")
    assert tid not in worker.log()


def test_a_log_file_per_process(site: Site, tmp_path: Any) -> None:
    site.worker("-c", "1", "-n", "w1@%h", "-f", str(tmp_path / "%n%I.log"), ready=False)
    tid = call(site, "add", 1, 2)
    child = tmp_path / "w1-1.log"
    wait_for(lambda: child.exists() and f"t.add[{tid}] succeeded" in child.read_text(), what="the child's log file")
    wait_for(lambda: " ready." in (tmp_path / "w1.log").read_text(), what="the parent's log file")


@pytest.mark.skipif(OURS == THEIRS, reason="Celery has no JSON lines")
def test_json_lines(site: Site) -> None:
    worker = site.worker("-c", "1", "--log-format", "json", ready=False)
    worker.wait_log(r"ready\.")
    call(site, "add", 1, 2)
    call(site, "fail", "ValueError", "boom")
    call(site, "print", "printed", "also")
    tid = call(site, "log", "hello")
    worker.terminate()
    lines = [json.loads(line) for line in worker.log().splitlines() if line]  # the banner, too, would fail here
    assert all({"time", "level", "logger", "message", "process", "pid"} <= set(line) for line in lines)
    (hello,) = [line for line in lines if line["message"] == "hello"]
    assert (hello["task_id"], hello["task_name"], hello["level"]) == (tid, "t.log", "INFO")
    actions = {line.get("action"): line for line in lines}
    assert actions["received"]["task_name"].startswith("t.")
    assert actions["success"]["runtime"] >= 0
    assert actions["failure"]["exception"]["message"] == "boom"
    assert "printed" in {line["message"] for line in lines}
    assert actions["shutdown"]["message"] == "worker: Warm shutdown (MainProcess)"


@pytest.mark.slow
@pytest.mark.skipif(OURS == THEIRS, reason="Celery has no JSON lines")
def test_json_lines_of_beat(start_worker: Any, tmp_path: Any) -> None:
    (tmp_path / "clock.py").write_text(
        "from celerylite import Celery\napp = Celery('clock', broker='sqlite:///clock.db')\n"
        "app.conf.beat_schedule = {'tick': {'task': 't.tick', 'schedule': 1.0}}\n"
    )
    argv = [sys.executable, "-m", OURS, "-A", "clock", "beat", "-l", "INFO", "--log-format", "json"]
    beat = start_worker(None, argv=argv, cwd=tmp_path, ready=False)
    beat.wait_log('"action": "due"')
    beat.terminate()
    lines = [json.loads(line) for line in beat.log().splitlines() if line]
    (tick, *_) = [line for line in lines if line.get("action") == "due"]
    found = tick["level"], tick["logger"], tick["entry"], tick["task_name"]
    assert found == ("INFO", "celery.beat", "tick", "t.tick")


@pytest.mark.skipif(OURS == THEIRS, reason="Celery takes the handlers away")
def test_a_configuration_made_before_survives(site: Site) -> None:
    worker = site.worker("-c", "1", signals="configured_logging", ready=False)
    tid = call(site, "log", "hello from the task")
    worker.wait_log(r"^MINE INFO \S+ hello from the task$")
    worker.wait_log(rf"^MINE INFO celery\.app\.trace Task t\.log\[{tid}\] succeeded")
    assert "Logging is as the project has configured it" in worker.log()
    assert not re.search(STAMP, worker.log(), re.MULTILINE)
