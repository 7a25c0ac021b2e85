"""`inspect`, `control` and `status` against a real worker, with a project that has commands of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from celerylite.bin.celery import celery
from tests.conftest import OURS, Workers
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

Run = Callable[..., Result]

PROJECT = '''
import os

from celerylite import Celery
from celerylite.worker.control import control_command, inspect_command

app = Celery("remoteproj", broker=os.environ["REMOTE_URL"], backend=os.environ["REMOTE_URL"], set_as_current=False)
app.conf.imports = ["remotecommands"]


@app.task(name="p.add", rate_limit="100/s")
def add(x, y):
    return x + y


@control_command(args=[("n", int)], signature="[N=1]")
def increase(state, n=1):
    """Increase the number.

    By as much as you like.
    """
    return {"ok": f"increased by {n!r}"}
'''
COMMANDS = '''
from celerylite.worker.control import inspect_command


@inspect_command(variadic="words", signature="[word …]")
def echo(state, words=(), loud=False):
    """Say it again."""
    return [word.upper() if loud else word for word in words]
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, new_redis_url: Any) -> Iterator[Path]:
    """A project in a directory of its own, on a database of its own."""
    directory = tmp_path_factory.mktemp("remote")
    (directory / "remoteproj.py").write_text(PROJECT)
    (directory / "remotecommands.py").write_text(COMMANDS)
    os.environ["REMOTE_URL"] = new_redis_url()
    sys.path.insert(0, str(directory))
    yield directory
    sys.path.remove(str(directory))
    del os.environ["REMOTE_URL"]
    for name in ("remoteproj", "remotecommands"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def worker(project: Path, start_module_worker: Workers) -> Any:
    env = {"PYTHONPATH": f"{Path(__file__).resolve().parents[2]}{os.pathsep}{project}"}
    return start_module_worker("remoteproj", "-c", "2", "-n", "w1@here", program=OURS, env=env, cwd=project)


@pytest.fixture
def run(worker: Any) -> Run:
    """Run a command; each may take long on a busy machine, and ends when the worker has replied."""

    def run_it(*words: str, timeout: str = "10") -> Result:
        given = [*words, "-t", timeout] if timeout else list(words)
        result = CliRunner().invoke(celery, ["-A", "remoteproj", *given], prog_name="celerylite")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_it


def test_inspect_prints_as_celery(run: Run) -> None:
    result = run("inspect", "ping")
    assert result.stdout == "->  w1@here: OK\n        pong\n\n1 node online.\n"
    assert result.exit_code == 0
    assert run("inspect", "active").stdout == "->  w1@here: OK\n    - empty -\n\n1 node online.\n"
    assert "    * p.add [rate_limit=100/s]\n" in run("inspect", "registered").stdout
    assert '"clock": ' in run("inspect", "clock").stdout


def test_options_stand_anywhere(run: Run) -> None:
    for words in (("inspect", "-j", "ping"), ("inspect", "ping", "-j")):
        assert json.loads(run(*words).stdout) == {"w1@here": {"ok": "pong"}}
    assert run("inspect", "ping", "-d", "w1@here,w1@here", "-q").exit_code == 0
    assert "->" not in run("-q", "inspect", "ping").stdout


def test_status(run: Run) -> None:
    result = run("status")
    assert (result.stdout, result.exit_code) == ("->  w1@here: OK\n\n1 node online.\n", 0)
    assert json.loads(run("status", "--json").stdout) == {"w1@here": {"ok": "pong"}}


def test_nobody_replies(run: Run) -> None:
    for words in (("status",), ("inspect", "ping"), ("control", "enable_events")):
        started = time.monotonic()
        result = run(*words, "-d", "nobody@here", timeout="0.2")
        assert result.exit_code == 69
        assert "No nodes replied within time constraint" in result.output
        assert time.monotonic() - started < 5, "not much longer than the time-out"


def test_control(run: Run) -> None:
    assert run("control", "rate_limit", "p.add", "7/m").stdout == (
        "->  w1@here: OK\n        new rate limit set successfully\n"
    )
    assert "p.add [rate_limit=7/m]" in run("inspect", "registered", "rate_limit").stdout
    (reply,) = json.loads(run("control", "time_limit", "p.add", "10", "20", "-j").stdout)
    assert reply == {"w1@here": {"ok": "time limits set successfully"}}
    failed = run("control", "rate_limit", "p.nosuch", "7/m")
    assert (failed.exit_code, failed.stdout) == (0, "->  w1@here: ERROR\n        unknown task\n")


def test_queues(run: Run) -> None:
    def queues() -> set[str]:
        answer = json.loads(run("inspect", "active_queues", "-j").stdout)
        return {queue["name"] for queue in answer["w1@here"]}

    assert "add consumer extra" in run("control", "add_consumer", "extra").stdout
    wait_for(lambda: queues() == {"celery", "extra"}, 10, "the queue to be consumed from")
    assert "no longer consuming from extra" in run("control", "cancel_consumer", "extra").stdout
    wait_for(lambda: queues() == {"celery"}, 10, "the queue to be left")


def test_commands_of_the_project(run: Run) -> None:
    assert "increased by 4" in run("control", "increase", "4").stdout
    assert "increased by -4" in run("control", "increase", "-4").stdout, "a number, not an option"
    assert run("inspect", "echo", "a", "b").stdout.startswith("->  w1@here: OK\n    * a\n    * b\n")
    assert "* A\n" in run("inspect", "echo", "a", "--loud").stdout, "by name"


def test_revoke_is_kept(run: Run) -> None:
    assert "flagged as revoked" in run("control", "revoke", "one", "two").stdout
    revoked = json.loads(run("inspect", "revoked", "-j").stdout)["w1@here"]
    assert set(revoked) >= {"one", "two"}
    assert "terminate" in run("control", "terminate", "SIGKILL", "three").stdout
    result = run("control", "revoke_by_stamped_headers", "customer=1", "customer=2", "--terminate", "--signal=SIGKILL")
    assert (result.exit_code, "ERROR" in result.stdout) == (0, False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("inspect", "actve"), "Did you mean active"),
        (("control", "ping"), "ping is a command of `celerylite inspect`"),
        (("inspect",), "Missing argument 'COMMAND'"),
        (("control", "rate_limit", "p.add"), "takes arguments: <task_name> <rate_limit"),
        (("control", "pool_grow", "1", "2"), "takes arguments: [N=1]"),
        (("control", "pool_grow", "many"), "n is of type int, not 'many'"),
        (("control", "revoke", "x", "--termnate"), "Did you mean '--terminate'?"),
        (("control", "revoke_by_stamped_headers", "customer"), "A stamp is given as name=value"),
    ],
)
def test_what_cannot_be_understood(run: Run, words: tuple[str, ...], says: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert says in result.output


def test_help(run: Run) -> None:
    listed = run("inspect", "--list", timeout="").stdout
    assert "  query_task [id1 [id2 [... [idN]]]]\n" in listed
    assert "  echo [word …]" in listed, "of a module that only workers import"
    assert "increase" not in listed
    assert listed.strip() in run("inspect", "--help", timeout="").stdout
    one = run("control", "increase", "--help", timeout="").stdout
    assert "increase [N=1]" in one and "By as much as you like." in one


def test_bindings(run: Run) -> None:
    result = run("list", "bindings", timeout="")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["Queue", "Exchange", "Routing", "Key"]
    (binding, *_) = json.loads(run("list", "bindings", "-j", timeout="").stdout)
    assert {"destination", "source", "routing_key"} <= set(binding)


def test_shutdown(run: Run, worker: Any) -> None:
    """The last test: it ends the worker."""
    result = run("control", "shutdown", "-d", "w1@here", timeout="1")
    assert result.exit_code == 0
    assert worker.wait() == 0
