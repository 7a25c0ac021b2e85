"""Which workers `multi` means and how it would start them: Celery's syntax."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from celerylite.apps import multi
from celerylite.utils.nodenames import gethostname

Run = Callable[..., Result]

HOST = gethostname()


def options(run: Run, line: str) -> list[list[str]]:
    """The options of each worker that `multi show` prints, without its name and files."""
    result = run("multi", "show", *shlex.split(line))
    assert result.exit_code == 0, result.output
    found = []
    for shown in result.stdout.splitlines():
        words = shlex.split(shown)
        rest = words[words.index("--detach") + 1 :]
        at = rest.index("-n")
        files = ("--pidfile=", "--logfile=", "--executable=")
        found.append([word for word in (*rest[:at], *rest[at + 2 :]) if not word.startswith(files)])
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("3", [f"celery1@{HOST}", f"celery2@{HOST}", f"celery3@{HOST}"]),
        ("2 --range-prefix=worker", [f"worker1@{HOST}", f"worker2@{HOST}"]),
        ("foo bar", [f"foo@{HOST}", f"bar@{HOST}"]),
        ("foo@far bar --hostname=eta.com", ["foo@far", "bar@eta.com"]),
        ("foo bar --suffix=x.y", ["foo@x.y", "bar@x.y"]),
        ("2 -n %n@x.y", ["celery1@x.y", "celery2@x.y"]),
        ("foo@%h", [f"foo@{HOST}"]),
        ("-A proj 2 worker", [f"2@{HOST}", f"worker@{HOST}"]),
        ("-E 2", [f"celery1@{HOST}", f"celery2@{HOST}"]),
        ("2 --loglevel INFO", [f"celery1@{HOST}", f"celery2@{HOST}"]),
    ],
)
def test_names(run: Run, line: str, expected: list[str]) -> None:
    assert run("multi", "names", *shlex.split(line)).stdout.split() == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2 -c 3", [["-c", "3"], ["-c", "3"]]),
        ("2 -c3 -E", [["-c", "3", "-E"], ["-c", "3", "-E"]]),
        ("2 -c 3 -c:1 10", [["-c", "10"], ["-c", "3"]]),
        ("foo bar -c:foo 5 -l INFO", [["-l", "INFO", "-c", "5"], ["-l", "INFO"]]),
        ("foo bar -c:2 5", [[], ["-c", "5"]]),
        ("3 -c:1-2,3 7", [["-c", "7"]] * 3),
        ("2 --concurrency:1=7 --loglevel=INFO", [["--loglevel=INFO", "--concurrency=7"], ["--loglevel=INFO"]]),
        ("3 -Q:1-2 images -Q:3,default data", [["-Q", "images"], ["-Q", "images"], ["-Q", "data"]]),
        ("2 --statedb=%n.state", [["--statedb=celery1.state"], ["--statedb=celery2.state"]]),
        ("1 -- worker.prefetch_multiplier=3", [["--", "worker.prefetch_multiplier=3"]]),
    ],
)
def test_options(run: Run, line: str, expected: list[list[str]]) -> None:
    assert options(run, line) == expected


def test_the_example_of_ten_workers(run: Run) -> None:
    found = options(run, "10 -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 DEBUG")
    queues = [words[words.index("-Q") + 1] for words in found]
    assert queues == ["images,video"] * 3 + ["data"] * 2 + ["default"] * 5
    assert ["-L" in words for words in found] == [False] * 3 + [True] * 2 + [False] * 5


def test_the_whole_command_line(run: Run) -> None:
    words = shlex.split(run("multi", "show", "w1", "-A", "proj", "--workdir=/srv", "--executable=/bin/py").stdout)
    assert words == [
        "/bin/py", "-m", "celerylite", "-A", "proj", "--workdir=/srv", "worker", "--detach", "--executable=/bin/py",
        "-n", f"w1@{HOST}", "--pidfile=/var/run/celery/w1.pid", "--logfile=/var/log/celery/w1%I.log",
    ]  # fmt: skip


def test_the_app_before_the_command(run: Run) -> None:
    assert " -A cliproj worker " in run("-A", "cliproj", "multi", "show", "w1").stdout


def test_expand_and_get(run: Run) -> None:
    assert run("multi", "expand", "%n-%h-%d-%p-%i%I", "w1@a.b").stdout == "w1-w1@a.b-a.b-w1@a.b-%i%I\n"
    assert run("multi", "get", "w2@x", "w1@x", "w2@x", "-c:w2", "4").stdout.startswith("-m celerylite worker")
    assert run("multi", "get", "w3@x", "w1@x").stdout == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "A command is missing"),
        (("strat", "2"), "Invalid command: strat"),
        (("show",), "needs names of nodes"),
        (("show", "2", "-c:9", "3"), "there is no node '9'"),
        (("show", "foo", "foo"), "There are two nodes foo@"),
        (("expand",), "needs a template"),
    ],
)
def test_mistakes(run: Run, words: tuple[str, ...], says: str) -> None:
    result = run("multi", *words)
    assert result.exit_code == 2
    assert says in result.output


def test_help(run: Run) -> None:
    for words in (("multi", "help"), ("multi", "--help")):
        assert "multi stopwait <nodes>" in run(*words).stdout


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("-9", signal.SIGKILL),
        ("-INT", signal.SIGINT),
        ("-SIGQUIT", signal.SIGQUIT),
        ("-E", None),
        ("-l", None),
        ("--KILL", None),
        ("TERM", None),
    ],
)
def test_signals(word: str, expected: signal.Signals | None) -> None:
    assert multi.parse_signal(word) == expected


def test_files_stand_where_the_worker_runs(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "w1.pid").write_text(f"{ended.pid}\n")
    words = multi.parse(["w1", f"--workdir={tmp_path}", "--pidfile=%n.pid"], {})
    (node,) = multi.nodes(words)
    assert node.pid is None, "that process is gone"
    assert not (tmp_path / "w1.pid").exists(), "the file was left over"


def test_a_stranger_is_no_worker() -> None:
    """A number in an old pid file may be that of another process by now: it must not be killed."""
    assert not multi.is_worker(1)
