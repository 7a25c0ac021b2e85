"""Remote control of real workers: while every process is stuck, after the server was away, by Celery's command line,
and what listening costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import pools

from tests.conftest import OURS, THEIRS, Workers
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_for
from tests.support.worker import ROOT

pytestmark = pytest.mark.slow

HOST = "w1@h"
PROJECT = '''
import importlib, json, os, re, sys

lib = os.environ.get("QUEUE_LIB", "celery")
Celery = importlib.import_module(lib).Celery
control = importlib.import_module(f"{lib}.worker.control")
broker = os.environ["TEST_BROKER"]
app = Celery("boxed", broker=broker, backend=os.environ.get("TEST_RESULTS", broker))
app.conf.broker_transport_options = json.loads(os.environ.get("TEST_OPTIONS") or "{}")


@app.task(name="stuck")
def stuck(length):
    re.match("(a+)+$", "a" * length + "b")  # one call into C that holds the interpreter's lock


@control.inspect_command(args=[("n", int)], signature="[N=1]")
def modules(state, n=1):
    """How many modules of kombu are loaded, times N."""
    return {"names": sorted(name for name in sys.modules if name.startswith("kombu.")) * n}
'''


class Boxed:
    """A worker of the project above, and Celery's client for it."""

    def __init__(self, directory: Path, server: RedisServer, workers: Workers) -> None:
        (directory / "boxed.py").write_text(PROJECT)
        self.directory = directory
        self.server = server
        self.env = {"TEST_BROKER": server.url(), "PYTHONPATH": f"{ROOT}:{directory}"}
        self.worker = workers("boxed", "-c", "2", "-n", HOST, env=self.env)
        self.client = self.new_client()

    def new_client(self) -> Any:
        """Celery's, with connections of its own."""
        from celery import Celery

        return Celery("client", broker=self.server.url(), backend=self.server.url(), set_as_current=False)

    def ask(self, command: str, **arguments: Any) -> Any:
        """The answer, and the milliseconds that it took."""
        before = time.monotonic()
        answers = self.client.control.broadcast(command, arguments, reply=True, timeout=10, limit=1)
        self.took = (time.monotonic() - before) * 1000
        assert answers, f"no answer to {command}; the log:\n{self.worker.tail()}"
        return answers[0][HOST]


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxed]:
    directory = tmp_path_factory.mktemp("boxed")
    server, workers = RedisServer(appendonly=True).start(), Workers(directory)
    yield Boxed(directory, server, workers)
    workers.close()
    server.close()


def test_what_an_idle_worker_costs_its_server(boxed: Boxed) -> None:
    """First, before anybody has asked anything: what is sent, not what scripts call."""
    seconds = 15
    sent: Counter[str] = Counter()
    with boxed.server.client() as client, client.monitor() as monitor:
        deadline = time.monotonic() + seconds
        client.connection_pool.connection_kwargs["socket_timeout"] = 1
        while time.monotonic() < deadline:
            with boxed.server.client() as other:
                other.echo("tick")  # so that listening never waits for long
            entry = monitor.next_command()
            if entry["client_type"] != "lua" and not entry["command"].startswith(("ECHO", "CLIENT SETINFO", "HELLO")):
                sent[entry["command"][:40]] += 1
            else:
                time.sleep(0.05)
    assert sent.total() < seconds, sent


def test_kombu_is_not_loaded_for_it(boxed: Boxed) -> None:
    assert boxed.ask("ping") == {"ok": "pong"}
    names = boxed.ask("modules")["names"]
    assert "kombu.pidbox" not in names
    assert "kombu.transport.redis" not in names


def test_answers_while_every_process_is_stuck_in_c(boxed: Boxed) -> None:
    ids = {boxed.client.send_task("stuck", (40,)).id for _ in range(2)}
    wait_for(lambda: {task["id"] for task in boxed.ask("active")} == ids, 20, "both to run")
    took: dict[str, list[float]] = {}
    for _ in range(10):
        for command in ("ping", "active", "stats", "reserved", "registered", "active_queues"):
            boxed.ask(command)
            took.setdefault(command, []).append(boxed.took)
    for command, times in took.items():  # the machine may be busy, the worker must not be
        assert min(times) < 100, f"{command}: {times}"
    answer = boxed.ask("revoke", task_id=sorted(ids), terminate=True, signal="KILL")
    assert set(answer["ok"].removeprefix("terminate: ").split(", ")) == ids
    wait_for(lambda: not boxed.ask("active"), 20, "both to be gone")


def test_celerys_command_line_and_a_command_of_the_projects_own(boxed: Boxed) -> None:
    command = [sys.executable, "-m", THEIRS, "-A", "boxed", "inspect", "-t", "10", "-d", HOST, "--json", "modules", "2"]
    env = {**os.environ, **boxed.env, "QUEUE_LIB": THEIRS}
    done = subprocess.run(command, env=env, cwd=boxed.directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout)[HOST]["names"]
    assert len(names) == 2 * len(set(names)) > 0


def test_answers_that_nobody_fetches_go_away(boxed: Boxed) -> None:
    queue, exchange = "gone.reply.celery.pidbox", "reply.celery.pidbox"
    with boxed.server.client() as client:
        client.sadd(f"_kombu.binding.{exchange}", f"gone\x06\x16\x06\x16{queue}")
        to = boxed.client.control.mailbox.exchange
        with boxed.client.connection_for_write() as connection:
            body = {
                "method": "ping", "arguments": {}, "ticket": "1",
                "reply_to": {"exchange": exchange, "routing_key": "gone"},
            }  # fmt: skip
            connection.Producer().publish(body, exchange=to, declare=[to], serializer="json")
        wait_for(lambda: client.llen(queue), 10, "the answer")
        assert 0 < client.ttl(queue) <= 300


def test_the_server_is_restarted(boxed: Boxed) -> None:
    boxed.server.kill()
    boxed.worker.wait_log("Remote control lost the broker", 20)
    boxed.server.start()
    boxed.worker.wait_log("Remote control is connected again", 30)
    pools.reset()
    boxed.client = boxed.new_client()
    assert boxed.ask("ping") == {"ok": "pong"}


@pytest.mark.parametrize(
    "place, pool",
    [("sqlite", "prefork"), ("rabbitmq", "prefork"), ("redis", "threads"), ("filesystem", "prefork")],
)
def test_other_brokers_and_pools(
    place: str, pool: str, tmp_path: Path, start_worker: Workers, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "boxed.py").write_text(PROJECT)
    url = f"sqlite:///{tmp_path}/box.db"
    if place == "rabbitmq":
        url = request.getfixturevalue("rabbit_server").new_vhost()
    elif place == "redis":
        url = request.getfixturevalue("redis_url")
    env = {"TEST_BROKER": url, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    if place in ("rabbitmq", "filesystem"):
        env["TEST_RESULTS"] = "cache+memory://"
    options: dict[str, Any] = {}
    if place == "filesystem":
        (tmp_path / "queue").mkdir()
        folders = {name: f"{tmp_path}/queue" for name in ("data_folder_in", "data_folder_out")}
        options = {**folders, "control_folder": f"{tmp_path}/queue/control", "polling_interval": 0.02}
        url, env["TEST_BROKER"], env["TEST_OPTIONS"] = "filesystem://", "filesystem://", json.dumps(options)
    worker = start_worker("boxed", "-c", "2", "-P", pool, "-n", HOST, env=env)
    from celerylite import Celery

    client = Celery("client", broker=url, set_as_current=False)
    client.conf.broker_transport_options = options
    assert client.control.ping(timeout=10, destination=[HOST]) == [{HOST: {"ok": "pong"}}]
    stats = _ask(client, "stats")
    assert stats["pid"] == worker.pid and stats["pool"]["max-concurrency"] == 2
    if place in ("sqlite", "redis"):  # elsewhere delays cannot be listed
        later = client.send_task("stuck", (1,), countdown=1000).id
        wait_for(lambda: _ask(client, "scheduled"), 20, "the task to be listed")
        assert _ask(client, "query_task", ids=later)[later][0] == "scheduled"
    assert _ask(client, "add_consumer", queue="more") == {"ok": "add consumer more"}
    assert [queue["name"] for queue in _ask(client, "active_queues")] == ["celery", "more"]
    client.control.shutdown()
    assert worker.wait(20) == 0
    client.close()


def _ask(client: Any, command: str, **arguments: Any) -> Any:
    (answer,) = client.control.broadcast(command, arguments, reply=True, timeout=10, limit=1)
    return answer[HOST]


def test_remote_control_is_off(new_redis_url: Callable[[], str], tmp_path: Path, start_worker: Workers) -> None:
    (tmp_path / "boxed.py").write_text(PROJECT + "\napp.conf.worker_enable_remote_control = False\n")
    url = new_redis_url()
    env = {"TEST_BROKER": url, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    worker = start_worker("boxed", "-P", "solo", "-n", HOST, env=env, program=OURS)
    worker.wait_log(r"Remote control is off \(worker_enable_remote_control\)\.")
