"""The command line of the worker: every option does what Celery's does.

Workers are shared where options do not disturb each other.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site
from tests.support.waiting import wait_for
from tests.support.worker import ROOT, USE_SOURCE, WorkerProcess

needs_ours = pytest.mark.skipif(OURS == THEIRS, reason="Celery itself does not do this")
APP = "tests.support.app"


def run(site: Site, *argv: str, timeout: float = 20, **options: Any) -> tuple[int, str]:
    """Run a whole command line of the library to its end; returns exit code and output."""
    worker = site.workers(None, argv=[sys.executable, "-m", OURS, *argv], env=site.environment(**options), ready=False)
    return worker.wait(timeout), worker.log()


def who(site: Site, queue: str = "celery") -> dict[str, Any]:
    return site.client().tasks["t.who"].apply_async(queue=queue).get(timeout=10)


# -- the common options, in one worker


@pytest.fixture(scope="module")
def rich(module_site: Site) -> WorkerProcess:
    """A worker with every option that only needs to be accepted, and some that can be seen."""
    return module_site.worker(
        "-c", "2", "-n", "rich@%n.%d", "-Q", "red,green", "--prefetch-multiplier", "1", "-O", "fair", "-E",
        "--without-gossip", "--without-mingle", "--without-heartbeat", "--heartbeat-interval", "5",
        "--max-tasks-per-child", "3", "--max-memory-per-child", "400000", "--time-limit", "60",
        "--soft-time-limit", "50", "-I", "tests.support.sideload", "--loglevel=debug",
    )  # fmt: skip


def test_concurrency(rich: WorkerProcess, module_site: Site) -> None:
    client = module_site.client()
    results = [client.tasks["t.work"].apply_async(("conc",), queue="red") for _ in range(2)]
    for result in results:
        module_site.ledger.wait("start", result.id)
    module_site.open("conc", 2)
    assert [result.get(timeout=10) for result in results] == ["worked"] * 2
    assert "concurrency: 2 (prefork)" in rich.log()


def test_hostname(rich: WorkerProcess, module_site: Site) -> None:
    name, _, domain = socket.gethostname().partition(".")
    assert who(module_site, "green")["host"] == f"rich@{name}.{domain}"


def test_queues(rich: WorkerProcess, module_site: Site) -> None:
    assert who(module_site, "red")
    other = module_site.client().tasks["t.who"].delay()
    assert who(module_site, "green")
    assert other.state == "PENDING"
    assert module_site.redis.llen("celery") == 1


def test_max_tasks_per_child(rich: WorkerProcess, module_site: Site) -> None:
    pids = [who(module_site, "red")["pid"] for _ in range(24)]
    assert max(pids.count(pid) for pid in pids) <= 3
    assert len(set(pids)) >= 8


def test_include(rich: WorkerProcess, module_site: Site) -> None:
    assert module_site.client().send_task("t.sideloaded", queue="red").get(timeout=10) == "side"


def test_events_are_said_to_be_on(rich: WorkerProcess) -> None:
    assert "task events: ON" in rich.log()


def test_log_level(rich: WorkerProcess) -> None:
    assert re.search(r": DEBUG/", rich.log())


# -- memory


@pytest.mark.slow
def test_max_memory_per_child(site: Site) -> None:
    site.worker("-c", "1", "--max-memory-per-child", "150000")
    client = site.client()
    first = client.tasks["t.who"].delay().get(timeout=30)["pid"]
    fat = client.tasks["t.eat"].delay(200)  # it may end its task, then it is replaced
    behind = [client.tasks["t.who"].delay() for _ in range(5)]
    assert fat.get(timeout=30) == first
    assert first not in {result.get(timeout=30)["pid"] for result in behind}


# -- queues


def test_exclude_queues(site: Site) -> None:
    site.worker("-c", "1", "-X", "green", conf={"task_queues": ["celery", "red", "green"]})
    green = site.client().tasks["t.who"].apply_async(queue="green")
    assert who(site, "red") and who(site)
    assert site.redis.llen("green") == 1
    assert green.state == "PENDING"


def test_purge(site: Site) -> None:
    client = site.client()
    before = [client.tasks["t.add"].delay(n, n) for n in range(5)]
    site.worker("-c", "1", "--purge")
    assert client.tasks["t.add"].delay(1, 1).get(timeout=10) == 2
    assert [result.state for result in before] == ["PENDING"] * 5


def test_default_queue_of_the_settings(site: Site) -> None:
    site.worker("-c", "1", conf={"task_default_queue": "house"})
    assert who(site, "house")


# -- files


def test_pidfile(site: Site, tmp_path: Path) -> None:
    pidfile = tmp_path / "%n.pid"
    real = tmp_path / "w7.pid"
    worker = site.worker("-c", "1", "-n", "w7@%h", "--pidfile", str(pidfile))
    assert int(real.read_text()) == worker.pid
    second = site.worker("-c", "1", "-n", "w7@%h", "--pidfile", str(pidfile), ready=False)
    assert second.wait(10) not in (0, None)
    assert "already exists" in second.log()
    assert int(real.read_text()) == worker.pid
    assert worker.terminate() == 0
    assert not real.exists()


def test_stale_pidfile(site: Site, tmp_path: Path) -> None:
    pidfile = tmp_path / "w.pid"
    worker = site.worker("-c", "1", "--pidfile", str(pidfile))
    worker.kill_tree()
    assert pidfile.exists()
    again = site.worker("-c", "1", "--pidfile", str(pidfile))
    assert int(pidfile.read_text()) == again.pid


def test_logfile(site: Site, tmp_path: Path) -> None:
    logfile = tmp_path / "%n.log"
    site.worker("-c", "1", "-n", "w8@%h", "-f", str(logfile), ready=False)
    real = tmp_path / "w8.log"
    wait_for(
        lambda: real.exists() and "w8@" in real.read_text() and " ready." in real.read_text(),
        15,
        "the log file",
    )
    result = site.client().tasks["t.add"].delay(1, 1)
    assert result.get(timeout=10) == 2
    wait_for(lambda: f"t.add[{result.id}] succeeded" in real.read_text(), what="the task in the log file")


def test_detach(site: Site, tmp_path: Path) -> None:
    pidfile, logfile = tmp_path / "d.pid", tmp_path / "d.log"
    starter = site.worker(
        "-c", "1", "--detach", "--pidfile", str(pidfile), "--logfile", str(logfile), ready=False
    )  # fmt: skip
    assert starter.wait(20) == 0
    wait_for(lambda: logfile.exists() and " ready." in logfile.read_text(), 20, "the detached worker")
    assert site.client().tasks["t.add"].delay(1, 1).get(timeout=10) == 2
    pid = int(pidfile.read_text())
    assert pid != starter.pid
    assert os.getsid(pid) != os.getsid(0)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not pidfile.exists(), 15, "the detached worker to end")


# -- finding the app


@pytest.mark.parametrize(
    "argv",
    [
        ["-A", APP, "worker"],
        ["--app", APP, "worker"],
        [f"--app={APP}:app", "worker"],
        ["worker", "-A", APP],
        ["worker", f"--app={APP}"],
        ["-A", f"{APP}.app", "worker"],
    ],
    ids=" ".join,
)
def test_app_before_or_after_the_command(site: Site, argv: list[str]) -> None:
    if OURS == THEIRS and argv[0] == "worker":
        pytest.skip("Celery 5 only takes it before")
    worker = site.workers(
        None, argv=[sys.executable, "-m", OURS, *argv, "-l", "INFO", "-P", "solo"], env=site.environment()
    )
    assert worker.terminate() == 0


PROJECT = """
import os
from importlib import import_module
url = os.environ["TEST_BROKER"]
app = import_module(os.environ["QUEUE_LIB"]).Celery("proj", broker=url, backend=url)
@app.task
def where():
    return os.path.basename(os.getcwd())
"""


@pytest.mark.parametrize("module", ["celery", "celeryapp"])
def test_a_package_with_its_app_in_a_module(site: Site, tmp_path: Path, module: str) -> None:
    """`-A proj` finds `proj.celery:app` in the current directory, and `--workdir` changes to it."""
    package = tmp_path / "proj"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / f"{module}.py").write_text(PROJECT)
    name = "proj" if module == "celery" else "proj.celeryapp"
    worker = site.workers(name, "-P", "solo", program=OURS, env=site.environment(), cwd=tmp_path)
    result = site.client().send_task(f"proj.{module}.where")
    assert result.get(timeout=10) == tmp_path.name
    worker.terminate()
    argv = [
        sys.executable,
        "-m",
        OURS,
        "-A",
        name,
        "--workdir",
        str(tmp_path),
        "worker",
        "-l",
        "INFO",
        "-P",
        "solo",
    ]
    site.workers(None, argv=argv, env=site.environment())
    assert site.client().send_task(f"proj.{module}.where").get(timeout=10) == tmp_path.name


def test_broker_and_backend_options(site: Site) -> None:
    """Before the command, they win over the settings of the app."""
    environment = site.environment(
        env={"TEST_BROKER": "redis://127.0.0.1:1/0", "TEST_BACKEND": "redis://127.0.0.1:1/0"}
    )
    argv = [
        sys.executable,
        "-m",
        OURS,
        "-A",
        APP,
        "-b",
        site.url,
        "--result-backend",
        site.url,
        "--no-color",
        "worker",
    ]
    site.workers(None, argv=[*argv, "-l", "INFO", "-P", "solo"], env=environment)
    assert site.client().tasks["t.add"].delay(1, 1).get(timeout=10) == 2


@pytest.mark.parametrize("method", ["worker_main", "start"])
def test_started_by_the_app(site: Site, method: str) -> None:
    arguments = ["worker", "-l", "INFO", "-P", "solo", "-n", "main@%h"]
    code = f"from tests.support.app import app; app.{method}({arguments!r})"
    environment = site.environment(env={"QUEUE_LIB": OURS, **_source_env()})
    worker = site.workers(None, argv=[sys.executable, "-c", code], env=environment)
    assert who(site)["host"].startswith("main@")
    assert worker.terminate() == 0


def _source_env() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])} if USE_SOURCE else {}


# -- what goes wrong is said


@pytest.mark.parametrize(
    "argv,words",
    [
        (["-A", "no.such.module", "worker"], "no.such.module|No module named 'no'"),
        (["-A", "tests.support.errors", "worker"], "tests.support.errors"),
        (["-A", APP, "worker", "--concurency", "2"], "concurrency"),
        (["-A", APP, "worker", "-c", "many"], "many"),
        (["-A", APP, "worker", "-l", "LOUD"], "LOUD|loud"),
        (["-A", APP, "worker", "-P", "swimming"], "swimming"),
        (["-A", APP, "wroker"], "worker"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_mistakes(site: Site, argv: list[str], words: str) -> None:
    code, output = run(site, *argv)
    assert code != 0
    assert re.search(words, output), output
    assert "Traceback" not in output or OURS == THEIRS


def test_queue_that_is_not_configured(site: Site) -> None:
    conf = {"task_queues": ["celery"], "task_create_missing_queues": False}
    code, output = run(site, "-A", APP, "worker", "-Q", "typo", conf=conf)
    assert code != 0
    assert "typo" in output


def test_help(site: Site) -> None:
    code, output = run(site, "worker", "--help")
    assert code == 0
    for option in (
        "--hostname", "--detach", "--statedb", "--loglevel", "--optimization", "--prefetch-multiplier",
        "--concurrency",
        "--pool", "--task-events", "--time-limit", "--soft-time-limit", "--max-tasks-per-child",
        "--max-memory-per-child", "--purge", "--queues", "--exclude-queues", "--include", "--without-gossip",
        "--without-mingle", "--without-heartbeat", "--heartbeat-interval", "--autoscale", "--beat",
        "--logfile",
        "--pidfile", "--uid", "--gid", "--umask", "--executable", "--disable-prefetch",
    ):  # fmt: skip
        assert option in output, option


def test_version(site: Site) -> None:
    code, output = run(site, "--version")
    assert (code, bool(re.search(r"\d+\.\d+\.\d+", output))) == (0, True)


def test_prefetch_multiplier_is_an_upper_bound(site: Site) -> None:
    """With 1, a busy worker of one slot holds no more than one message beyond the one that runs."""
    site.worker("-c", "1", "--prefetch-multiplier", "1", "-O", "fair")
    client = site.client()
    running = client.tasks["t.work_late"].delay("gate")
    site.ledger.wait("start", running.id)
    for _ in range(20):
        client.tasks["t.noop"].delay()
    assert site.redis.llen("celery") >= 19
    site.open("gate")
    assert running.get(timeout=10) == "worked"
    wait_for(lambda: site.redis.llen("celery") == 0, what="the queue to be empty")


def test_disable_prefetch(site: Site) -> None:
    site.worker("-c", "1", "--disable-prefetch")
    client = site.client()
    running = client.tasks["t.work_late"].delay("gate")
    site.ledger.wait("start", running.id)
    for _ in range(5):
        client.tasks["t.noop"].delay()
    assert site.redis.llen("celery") == 5
    site.open("gate")
    assert running.get(timeout=10) == "worked"


BARE = """
import os
from importlib import import_module
app = import_module(os.environ["QUEUE_LIB"]).Celery("bare")
@app.task(name="t.add")
def add(x, y):
    return x + y
app.worker_main(["worker", "-l", "INFO", "-P", "solo"])
"""


def test_environment_of_the_broker(site: Site) -> None:
    """CELERY_BROKER_URL and CELERY_RESULT_BACKEND, as containers set them, count where the app names none."""
    names = {
        "CELERY_BROKER_URL": site.url,
        "CELERY_RESULT_BACKEND": site.url,
        "QUEUE_LIB": OURS,
        **_source_env(),
    }
    site.workers(None, argv=[sys.executable, "-c", BARE], env=names)
    assert site.client().tasks["t.add"].delay(1, 1).get(timeout=10) == 2


@needs_ours
def test_a_broker_that_there_is_not_is_told_in_a_sentence(site: Site) -> None:
    code, log = run(site, "-A", APP, "-b", "foo://x", "worker")
    assert code != 0
    assert "Error: broker_url: No such transport: foo." in log
    assert "Traceback" not in log
