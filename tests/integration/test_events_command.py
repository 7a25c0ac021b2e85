"""`celerylite events`: text, pictures and the live view, of a real worker's events."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OURS, Site
from tests.support.waiting import wait_for
from tests.support.worker import ROOT, WorkerProcess

pytestmark = pytest.mark.slow

CAMERA = """
import json, os
from celerylite.events.snapshot import Polaroid

class Camera(Polaroid):
    clear_after = True

    def on_shutter(self, state):
        if state.event_count:
            with open(os.environ["PICTURES"], "a") as file:
                picture = {"workers": list(state.workers), "tasks": {t.uuid: t.state for t in state.tasks.values()}}
                file.write(json.dumps(picture) + "\\n")
"""


@pytest.fixture(scope="module")
def worker(module_site: Site) -> WorkerProcess:
    return module_site.worker("-c", "1", "-E", "-n", "w@here", "--heartbeat-interval", "1")


@pytest.fixture
def call(module_site: Site, worker: WorkerProcess) -> Any:
    return module_site.client(OURS).tasks["t.add"].delay


def command(site: Site, *args: str) -> list[str]:
    return [sys.executable, "-m", "celerylite", "-A", "tests.support.app", *args]


def environment(site: Site, **more: str) -> dict[str, str]:
    path = os.pathsep.join((str(ROOT), more.pop("PYTHONPATH", "")))
    return {**os.environ, **site.environment(), "QUEUE_LIB": "celerylite", "PYTHONPATH": path, **more}


def test_dump(module_site: Site, call: Any, tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    with log.open("wb") as out:
        dumping = subprocess.Popen(
            command(module_site, "events", "--dump"), stdout=out, cwd=ROOT, env=environment(module_site)
        )
    try:
        wait_for(lambda: "heartbeat" in log.read_text(), 30, "a heartbeat in the dump")
        result = call(2, 3)
        wait_for(lambda: f"task succeeded: t.add({result.id})" in log.read_text(), 30, "the task in the dump")
    finally:
        dumping.terminate()
        dumping.wait(20)
    lines = log.read_text().splitlines()
    assert lines[0] == "-> evdump: starting capture..."
    received = next(line for line in lines if "task received" in line and result.id in line)
    assert received.startswith("w@here [2") and f"t.add({result.id}) args=(2, 3) kwargs={{}}" in received


def test_camera(module_site: Site, call: Any, tmp_path: Path) -> None:
    (tmp_path / "cameras.py").write_text(CAMERA)
    pictures, pidfile = tmp_path / "pictures", tmp_path / "camera.pid"
    pictures.touch()
    args = ("events", "-c", "cameras:Camera", "--freq=0.2", "--maxrate=100/s", f"--pidfile={pidfile}")
    env = environment(module_site, PICTURES=str(pictures), PYTHONPATH=str(tmp_path))
    camera = subprocess.Popen(command(module_site, *args), cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: "w@here" in pictures.read_text(), 30, "a picture of the worker")
        assert int(pidfile.read_text()) == camera.pid
        result = call(1, 1)
        wait_for(lambda: f'"{result.id}": "SUCCESS"' in pictures.read_text(), 30, "a picture of the task")
    finally:
        camera.terminate()
        camera.wait(20)
    # cleared behind each picture, so the task that has ended is in one of them only
    last = [json.loads(line) for line in pictures.read_text().splitlines()]
    assert sum(picture["tasks"].get(result.id) == "SUCCESS" for picture in last) == 1


def test_a_camera_in_the_background(module_site: Site, worker: WorkerProcess, tmp_path: Path) -> None:
    (tmp_path / "cameras.py").write_text(CAMERA)
    pictures, pidfile, log = (tmp_path / name for name in ("pictures", "camera.pid", "camera.log"))
    pictures.touch()
    args = ("events", "-c", "cameras:Camera", "--detach", "--freq=0.2", f"--pidfile={pidfile}", f"--logfile={log}")
    env = environment(module_site, PICTURES=str(pictures), PYTHONPATH=str(tmp_path))
    subprocess.run(command(module_site, *args), cwd=ROOT, env=env, timeout=60, check=True)
    try:
        wait_for(lambda: "w@here" in pictures.read_text(), 30, "a picture of the worker")
    finally:
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
    wait_for(lambda: not pidfile.exists(), 20, "the camera's end")


class Terminal:
    """A program on a terminal of 30 lines and 140 columns."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.pid, self.file = pty.fork()
        if not self.pid:
            os.chdir(ROOT)
            os.execvpe(argv[0], argv, {**env, "TERM": "xterm", "LINES": "30", "COLUMNS": "140"})
        self.seen = ""

    def wait_for(self, text: str, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} is not on the screen:\n{self.seen[-3000:]}"
            if select.select([self.file], [], [], 0.5)[0]:
                self.seen += os.read(self.file, 65536).decode(errors="replace")

    def press(self, key: str) -> None:
        self.seen = ""
        os.write(self.file, key.encode())

    def wait_end(self) -> int:
        while True:  # a program cannot end while nobody reads its terminal
            try:
                if not os.read(self.file, 65536):
                    break
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def screen(module_site: Site, worker: WorkerProcess) -> Iterator[Terminal]:
    terminal = Terminal(command(module_site, "events"), environment(module_site))
    yield terminal
    os.close(terminal.file)


def test_the_live_view(screen: Terminal, call: Any, module_site: Site) -> None:
    screen.wait_for("w@here")
    failed = module_site.client(OURS).tasks["t.fail"].delay("ValueError", "as foreseen")
    screen.wait_for(failed.id)
    screen.wait_for("FAILURE")
    screen.press("j")
    screen.wait_for("Selected: t.fail")
    screen.press("t")
    screen.wait_for("ValueError: as foreseen")
    screen.press(" ")
    screen.wait_for("Keys:")
    screen.press("q")
    assert screen.wait_end() == 0


def test_the_live_view_needs_a_terminal(module_site: Site) -> None:
    done = subprocess.run(
        command(module_site, "top"), cwd=ROOT, env=environment(module_site), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "--dump" in done.stderr


EXPORTER = """
import json, sys, time
from celerylite.alias import install_as_celery; install_as_celery()
from collections import Counter
from celery import Celery
from celery.events.state import State
from celery.utils import nodesplit
from celery.utils.time import adjust_timestamp, maybe_iso8601, utcoffset
from kombu.exceptions import ChannelError

app = Celery(broker=sys.argv[1])
state, counts = State(), Counter()

def on_task(event):
    state.event(event)
    task = state.tasks.get(event["uuid"])
    counts[event["type"], task.name, nodesplit(task.hostname)[0]] += 1
    if event["type"] == "task-succeeded":
        task.runtime + 1
        receiver.should_stop = True

def on_heartbeat(event):
    worker = state.event(event)[0][0]
    counts["alive", nodesplit(worker.hostname)[0], worker.alive] += worker.active >= 0
    adjust_timestamp(event["timestamp"], utcoffset())
    print("listening", flush=True)

with app.connection() as connection:
    handlers = {"worker-heartbeat": on_heartbeat, "task-received": on_task, "task-succeeded": on_task}
    receiver = app.events.Receiver(connection, handlers=handlers)
    receiver.capture(limit=None, timeout=60, wakeup=True)
    stats, queues = app.control.inspect().stats(), app.control.inspect().active_queues()
    print(json.dumps({
        "transport": connection.info()["transport"],
        "length": connection.default_channel.client.llen("celery"),
        "processes": {worker: len(found["pool"]["processes"]) for worker, found in stats.items()},
        "queues": {worker: [queue["name"] for queue in found] for worker, found in queues.items()},
        "counts": sorted(map(str, counts)),
    }))
"""


def test_an_exporter(module_site: Site, call: Any) -> None:
    """What celery-exporter imports and calls, under celery's names."""
    exporter = subprocess.Popen(
        [sys.executable, "-c", EXPORTER, module_site.url], cwd=ROOT, env=environment(module_site), text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert exporter.stdout is not None
    assert exporter.stdout.readline() == "listening\n"
    call(2, 3)
    told = json.loads(exporter.communicate(timeout=60)[0].splitlines()[-1])
    assert told["transport"] == "redis" and told["length"] == 0
    assert told["processes"] == {"w@here": 1} and told["queues"] == {"w@here": ["celery"]}
    assert told["counts"] == [
        "('alive', 'w', True)", "('task-received', 't.add', 'w')", "('task-succeeded', 't.add', 'w')",
    ]  # fmt: skip
