"""`celerylite multi` with real workers in the background."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_for
from tests.support.worker import ROOT

pytestmark = pytest.mark.slow

PROJECT = '''
import os

from celerylite import Celery

app = Celery("multiproj", broker=os.environ["MULTI_URL"], backend=os.environ["MULTI_URL"])
'''

Multi = Callable[..., subprocess.CompletedProcess[str]]


def pids(directory: Path) -> dict[str, int]:
    return {path.stem: int(path.read_text()) for path in directory.glob("*.pid")}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def multi(tmp_path: Path, redis_url: str) -> Iterator[Multi]:
    """Run `multi` in a directory, where the pid files and logs are; afterwards no worker is left."""
    (tmp_path / "multiproj.py").write_text(PROJECT)
    env = {**os.environ, "MULTI_URL": redis_url, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "C_FORCE_ROOT": "1"}
    seen: set[int] = set()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        files = ("--pidfile=%n.pid", "--logfile=%n%I.log")
        argv = [sys.executable, "-m", "celerylite", "multi", *words, "-A", "multiproj", "-c", "1", "-l", "INFO", *files]
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100)
        seen.update(pids(tmp_path).values())
        return done

    yield run
    for pid in seen:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_start_restart_stop(multi: Multi, tmp_path: Path, redis_url: str) -> None:
    started = multi("start", "w1", "w2", "-c:w2", "2", "--no-color")
    assert started.returncode == 0, started.stderr
    first = pids(tmp_path)
    assert set(first) == {"w1", "w2"}
    assert started.stdout.count(": OK\n") == 2
    for name in first:
        wait_for(lambda name=name: " ready." in (tmp_path / f"{name}.log").read_text(), 30, f"{name} to be ready")

    again = multi("start", "w1", "w2", "-c:w2", "2")
    assert again.returncode == 0
    assert f"already running, pid {first['w1']}" in again.stdout
    assert pids(tmp_path) == first

    restarted = multi("restart", "w1", "w2", "--nosplash", "--no-color")
    assert restarted.returncode == 0, restarted.stderr
    second = pids(tmp_path)
    assert set(second) == {"w1", "w2"} and not set(second.values()) & set(first.values())
    assert not any(map(alive, first.values()))
    assert restarted.stdout.startswith("> Stopping nodes...\n")

    stopped = multi("stopwait", "w1", "w2", "w3", "--quiet")
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert not any(map(alive, second.values()))
    assert pids(tmp_path) == {}


def test_kill_and_signals(multi: Multi, tmp_path: Path) -> None:
    assert multi("start", "2", "--quiet").returncode == 0
    before = pids(tmp_path)
    killed = multi("kill", "1", "--no-color")
    assert "Sending KILL to node celery1@" in killed.stdout
    wait_for(lambda: not alive(before["celery1"]), 20, "it to be gone")
    stopped = multi("stop", "2", "-INT", "--no-color")
    assert f"INT -> {before['celery2']}" in stopped.stdout
    assert ": DOWN\n" in stopped.stdout, "the one that was killed"
    wait_for(lambda: not alive(before["celery2"]), 20, "it to be gone")


def test_what_does_not_start(multi: Multi, tmp_path: Path) -> None:
    wrong = multi("start", "w1", "--bogus=1")
    assert wrong.returncode == 1
    assert "No such option '--bogus" in wrong.stderr
    assert "Child terminated with exit code 2" in wrong.stderr
    assert pids(tmp_path) == {}
