"""What an idle worker has in memory: by modules, since figures of memory depend on the machine."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Workers
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(OURS == THEIRS, reason="about the inside of ours")]

PROJECT = '''
import json, os, sys
from celerylite import Celery
from celerylite.signals import worker_ready
from celerylite.worker.control import inspect_command

app = Celery("idle", broker=os.environ["IDLE_BROKER"], backend=os.environ["IDLE_BROKER"])

@app.task
def loaded():
    return sorted(sys.modules)

@inspect_command()
def loaded_in_control(state):
    return sorted(sys.modules)

@worker_ready.connect
def show(**_):
    with open("parent.json", "w") as file:
        json.dump(sorted(sys.modules), file)
'''

#: Packages that cost a process a megabyte or more, or that bring others along, and that nobody needs who has nothing to
#: do. What kombu itself imports (ssl, email, yaml, billiard where it is installed, …) cannot be helped.
HEAVY = (
    "asyncio", "concurrent.futures", "cryptography", "croniter", "http", "kombu.messaging", "kombu.mixins",
    "kombu.pidbox", "opentelemetry", "redis", "sqlite3", "unittest", "xml", "rich", "celery",
    "celerylite.app.control", "celerylite.beat", "celerylite.bin.inspect", "celerylite.brokers.kombu",
    "celerylite.brokers.redis_cluster", "celerylite.contrib", "celerylite.events.state", "celerylite.schedules",
    "celerylite.security", "celerylite.shims", "celerylite.utils.debug",
)  # fmt: skip


def modules_by_process(broker: str, start_worker: Workers, directory: Path) -> dict[str, set[str]]:
    """Names of the modules in each kind of process of a worker that has had one task and one command."""
    (directory / "idle_project.py").write_text(textwrap.dedent(PROJECT))
    start_worker("idle_project", "-c", "1", env={"IDLE_BROKER": broker}, cwd=directory)
    app = _client(broker)
    try:
        task = app.send_task("idle_project.loaded").get(timeout=20)
        (answer,) = app.control.broadcast("loaded_in_control", reply=True, timeout=20, limit=1)
    finally:
        app.close()
    wait_for(lambda: (directory / "parent.json").exists(), 10, "the parent's list")
    parent = json.loads((directory / "parent.json").read_text())
    return {"parent": set(parent), "task process": set(task), "control process": set(*answer.values())}


def _client(broker: str) -> Any:
    from celerylite import Celery

    return Celery("client", broker=broker, backend=broker, set_as_current=False)


def test_on_redis_nothing_heavy_is_loaded_and_nothing_twice(
    redis_url: str, start_worker: Workers, tmp_path: Path
) -> None:
    seen = modules_by_process(redis_url, start_worker, tmp_path)
    for process, modules in seen.items():
        heavy = {name for name in modules for one in HEAVY if name == one or name.startswith(one + ".")}
        assert not heavy, process
    assert_shared(seen)


def test_on_sqlite_nothing_is_loaded_twice(start_worker: Workers, tmp_path: Path) -> None:
    assert_shared(modules_by_process(f"sqlite:///{tmp_path}/queue.db", start_worker, tmp_path))


def assert_shared(seen: dict[str, set[str]]) -> None:
    """What task processes and the control process use was imported before they were forked: see `Broker.preload`."""
    for process in ("task process", "control process"):
        late = {name for name in seen[process] - seen["parent"] if name.startswith("celerylite")}
        if process == "control process":  # only there, and only where remote control goes through kombu
            late -= {"celerylite.app.control", "celerylite.app.mailbox"}
        assert not late, process
