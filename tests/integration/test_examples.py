"""Every example is run as its reader would run it, and the demo too; the last word of each is checked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from celerylite.utils.running_worker import running_worker
from tests.support.redis_server import require_binary
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
#: Found by itself where celerylite is installed; here the tests may run from the source tree.
PLUGIN = "celerylite.contrib.pytest"

#: What must stand in the output (regular expressions, in this order).
EXPECTED = {
    "retry.py": ["by hand: +succeeded after 2", "automatic: +succeeded after 2", "gave up: still away"],
    "eta_countdown.py": [r"countdown=0\.5: ran 0\.[5-9]", r"eta in 1 s: +ran 1\.", "expires=0.05: +not run"],
    "revoke.py": ["kept: hello Eve", *["not run: REVOKED"] * 4, "ended: terminated"],
    "rate_limits.py": [
        "ran before most: True", "about two seconds: True", "global limit, too: True", "new rate limit set", "all done",
    ],
    "routing.py": ["order: priority 0, priority 3, priority 6, priority 9", "cat.png resized", "monthly"],
    "time_limits.py": ["soft: tidied up", "hard: TimeLimitExceeded"],
    "pool_control.py": [
        "at first: 1", r"with four tasks: 4 \['done', 'done', 'done', 'done'\]",
        "from another queue: done", "ended: terminated",
    ],
    "command_line.py": [
        "1 node online", r"\* command_line.add", "new rate limit set", "hello operator, from w1",
        "Did you mean rate_limit", r"pools: {'w1@example': 2}", "exit code: 69",
    ],
    "late_ack.py": ["ran again and finished"],
    "custom_task_class.py": [r"visits: \[1, 2, 3\]", "Hello, Ann"],
    "hooks.py": [
        r"divide\(1, 0\): FAILURE ZeroDivisionError", r"second_try\(\): now", "before_start hooks.divide",
        r"on_success hooks.divide -> 2\.0", "after_return hooks.divide SUCCESS", "on_failure hooks.divide",
        "after_return hooks.divide FAILURE", "on_retry hooks.second_try",
        "on_success hooks.second_try", "after_return hooks.second_try SUCCESS",
    ],
    "task_signals.py": [
        "after_task_publish: task_signals.add to celery", r"add: \[5, 'the example'\]",
        "task_postrun: task_signals.add SUCCESS", "task_failure: task_signals.broken raised KeyError",
    ],
    "pydantic_arguments.py": ["total=7.5", "wrong input: FAILURE"],
    "periodic_tasks.py": ["next morning: 09:00", r"tidy up: <freq: 1\.50 hours>", "ticks: at least 6", "sent twice: 0"],
    "edit_schedule.py": [
        "beat sent it: 3", "now at: 09:00", "at once: 7", "enabled: False", r"entries: \[\]",
    ],
    "rabbitmq.py": [
        "order: urgent, usual", "topic: fox by mammal.fox", r"delay: [12]\.", "dead letters: 1",
        "broadcast: hello hello",
    ],
    "redis_cluster.py": [
        "chord: cat.png resized, dog.png resized", r"delay: 1\.", "left in the queues: {'celery': 0, 'images': 0}",
    ],
    "embedded.py": [r"from the file: \[0, 2, 4\]", r"celerylite\.db"],
    "canvas_chain.py": [
        r"2 \+ 2 \+ 4 \+ 8: 16", r"on the way: \[4, 8\]", r"10 \+ 1 \+ 2: 13", "immutable: done",
        r"failed: cannot use 2 \| the step after it: FAILURE",
    ],
    "canvas_group.py": [
        "sum of squares: 332833500", "completed: 1000 of 1000", r"restored: \[0, 1, 4, 9\]",
        r"with errors: \[1, ValueError\('2 is even'\), 3\]", "failed: True",
    ],
    "canvas_chord.py": ["words: 10", r"each: \[6, 4\]", "twice: 20", "nested: 16", "ChordError: True"],
    "canvas_links.py": [
        r"result: 2\.5", r"callback: the result is 2\.5", "failing: ZeroDivisionError",
        "errback in place: canvas_links.divide failed: ZeroDivisionError", "errback as a task: FAILURE",
    ],
    "canvas_map_chunks.py": [
        r"map: \[2, 4, 6\]", r"starmap: \[3, 7\]", "chunks: 10 tasks, 9900", "followed: 21",
    ],
    "canvas_replace.py": [
        r"replaced: \['cat.png@64', 'cat.png@128'\]", "in a chain: dog.png@64, dog.png@128",
        r"more parts: \['2 more', 'bird.png@16', 'fish.png@16', 'frog.png@16'\]",
    ],
    "canvas_stamps.py": [
        r"first: \[\('depth', 0\), \('tenant', 'blue'\)\]",
        r"group: \[\[\('depth', 1\), \('tenant', 'blue'\)\], \[\('depth', 1\), \('tenant', 'blue'\)\]\]",
    ],
    "events.py": [
        r"workers: \['worker@here'\]", "failed: events.broken KeyError",
        r"events\.add\(2, 3\): SUCCESS 5, sent by gen", "times in order: True", "newest first",
    ],
    "remote_control.py": [
        r"ping: \{'w@here': \{'ok': 'pong'\}\}", r"active: \[\('remote_control.sleep', \[2\]\)\] True",
        r"queues: \['celery'\]",
        "limit: .*new rate limit set", "queue: .*add consumer other", "unknown: .*unknown task",
        "own: .*maintenance on w@here: True", r"own: .*'maintenance': True, 'running': 1",
        r"total: \{'remote_control.sleep': 1\}",
    ],
    "health_and_logs.py": [
        r'/live: 200 \{"live": true', r'/ready: 200 \{"ready": true', "log: INFO received", "log: INFO - packing 42",
        "log: INFO success",
    ],
    "abortable.py": ["asked: stopped before 1000: True", "not asked: counted to 2"],
    "security.py": ["signed: 5", "signed, behind it: 7", "set aside: .*ContentDisallowed"],
    "bootsteps.py": [
        "packed: a hat for Ann's shop", "pulse starts", "ready", "pulse: w@here runs 1", "pulse stops",
    ],
    "broadcast.py": ["reloaded by: ann, bob"],
    "bulk.py": ["2000 calls one by one", "sum: 2664667000"],
}  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    names = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "PYTEST_"))}
    return {**names, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "C_FORCE_ROOT": "1", **more}


def run(*command: str, cwd: Path = EXAMPLES, timeout: float = 90, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment(**more), timeout=timeout, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_example_is_here() -> None:
    files = {path.name for path in EXAMPLES.glob("*.py")} - {"running.py", "test_with_pytest.py"}
    assert files == set(EXPECTED)
    listed = re.findall(r"^\| `(\w+\.py)`", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert set(listed) == files | {"test_with_pytest.py"}


#: The quick suite runs a few; all take a minute and more.
QUICK = {"canvas_chord.py", "embedded.py", "late_ack.py", "retry.py"}
CASES = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in sorted(EXPECTED)]


@pytest.mark.parametrize("name", CASES)
def test_example(name: str, request: pytest.FixtureRequest) -> None:
    require_binary()
    more = {}
    if name == "rabbitmq.py":
        more["CELERY_BROKER_URL"] = request.getfixturevalue("rabbit_server").new_vhost()
    if name == "redis_cluster.py":
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()  # it knows the queues of other tests
        more["CELERY_BROKER_URL"] = cluster.url
    if name.startswith("pydantic"):
        pytest.importorskip("pydantic")
    if name == "security.py":
        pytest.importorskip("cryptography")
    text = run(name, **more)
    position = 0
    for pattern in EXPECTED[name]:
        found = re.compile(pattern).search(text, position)
        assert found, f"{pattern!r} is not in (the rest of) the output:\n{text}"
        position = found.start()


def test_example_of_tests() -> None:
    assert "5 passed" in run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", PLUGIN, "test_with_pytest.py"
    )


def test_first_steps(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {"CELERY_BROKER_URL": redis_url, "CELERY_RESULT_BACKEND": redis_url}
    for name, value in environment(**urls).items():
        monkeypatch.setenv(name, value)
    project = EXAMPLES / "first_steps"
    with running_worker("proj", "-Q", "celery,mail", "-c", "1", log=tmp_path / "log", cwd=project):
        text = run("send.py", cwd=project, **urls)
    assert "add: 8\ntotal: 6\nsend_mail: sent to ann@example.com\n" in text
    assert "mail to ann@example.com is out" in (tmp_path / "log").read_text()


def test_demo() -> None:
    text = run("-m", "celerylite", "demo", cwd=ROOT)
    for sentence in (
        "add.delay(2, 3).get()",
        "done at attempt 3",
        "s after the call",
        "Nothing is left behind.",
    ):
        assert sentence in text


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_interrupted_leaves_nothing_behind(signum: int) -> None:
    command = [sys.executable, "-m", "celerylite", "demo"]
    mark = f"interrupted-{os.getpid()}-{int(signum)}"
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(DEMO_MARK=mark), stdout=subprocess.PIPE, text=True,
        # Shells have what they start in the background ignore it, the tests' own process too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    while "is ready" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signum)
    assert process.wait(20) == 130
    process.stdout.close()
    wait_for(lambda: not processes_with(mark), 10, "the worker to be gone")


def processes_with(mark: str) -> list[str]:
    """The processes that have the mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"DEMO_MARK={mark}".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue  # gone, or not ours to look at
    return found
