"""A real worker as a process of its own, in its own session, that a test starts, watches and signals.

Nothing here knows how the worker works inside: it is a command line, an exit code and a log.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from .lifeline import die_with_parent
from .waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
#: The environment variable by which a worker's processes are found again, even after they have detached.
MARK = "TEST_WORKER_MARK"
#: The library under test. `CELERYLITE_TEST_AS=celery` proves the tests themselves against Celery.
OURS = os.environ.get("CELERYLITE_TEST_AS", "celerylite")
THEIRS = "celery"
#: Set to 0 where the tests must run an installed package instead of the source tree.
USE_SOURCE = os.environ.get("CELERYLITE_TEST_SOURCE", "1") != "0"


class WorkerProcess:
    """`python -m <program> -A <app> worker <args>`, or any other command line given as `argv`."""

    def __init__(
        self,
        app: str | None,
        *args: str,
        program: str = OURS,
        env: Mapping[str, str] | None = None,
        argv: Sequence[str] | None = None,
        log_file: Path,
        cwd: str | os.PathLike[str] | None = None,
    ) -> None:
        if program in (OURS, THEIRS) and argv is None:
            argv = [sys.executable, "-m", program, "-A", str(app), "worker", *args]
        self.argv = list(argv or ())
        self.program = program
        self.mark = uuid.uuid4().hex
        self.log_file = log_file
        self.cwd = cwd
        self.env = self._environment(env or {})
        self.process: subprocess.Popen[bytes] | None = None

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("CELERY_", "PYTEST_"))}
        path = [str(ROOT)] if USE_SOURCE else []
        if os.environ.get("PYTHONPATH"):
            path.append(os.environ["PYTHONPATH"])
        # As root with pickle accepted, Celery refuses to start without C_FORCE_ROOT.
        # Unbuffered, because the log is read while it grows.
        env.update(PYTHONPATH=os.pathsep.join(path), QUEUE_LIB=self.program, C_FORCE_ROOT="1", PYTHONUNBUFFERED="1")
        env.update(extra)
        env[MARK] = self.mark
        return env

    # -- life

    def start(self) -> WorkerProcess:
        """Start the process; returns at once. What it prints goes to the log file, appended."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=self.env, cwd=self.cwd or ROOT, start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        return self

    def wait_ready(self, timeout: float = 30.0) -> WorkerProcess:
        """Wait for the log line that ends with "ready."."""
        self.wait_log(r" ready\.\s*$", timeout)
        return self

    @property
    def pid(self) -> int:
        """The process id of the worker's first process."""
        assert self.process is not None, "the worker was not started"
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        assert self.process is not None, "the worker was not started"
        return self.process.poll()

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for its end and return the exit code; AssertionError with the log when it does not come."""
        assert self.process is not None, "the worker was not started"
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end in {timeout:g} s; its log:\n{self.tail()}") from None

    def signal(self, signum: int) -> None:
        """Send a signal to the first process only."""
        os.kill(self.pid, signum)

    def signal_group(self, signum: int) -> None:
        """Send a signal to the whole process group, as a terminal and systemd do."""
        os.killpg(self.pid, signum)

    def terminate(self, timeout: float = 20.0) -> int:
        """SIGTERM, then wait; returns the exit code."""
        if self.returncode is None:
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill_tree(self) -> None:
        """SIGKILL to every process of this worker, in one go."""
        if self.process is None:
            return
        # Twice, for what was forked while we looked.
        for _ in range(2):
            for pid in self.tree():
                _kill(pid)
        self.process.wait(10)
        wait_for(lambda: not self.tree(), 10, "the worker's processes to be gone")

    def tree(self) -> list[int]:
        """The process ids of all processes of this worker, the first one first."""
        needle = f"{MARK}={self.mark}".encode()
        # By session too: a process that sets its title may have overwritten its environment.
        pids = [pid for pid in _all_pids() if needle in _environ_of(pid) or _session_of(pid) == self.pid]
        return sorted(pids, key=lambda pid: (pid != self.pid, pid))

    def children(self) -> list[int]:
        """The process ids of all its processes but the first."""
        return [pid for pid in self.tree() if pid != self.pid]

    # -- log

    def log(self) -> str:
        """Everything it printed so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def tail(self, characters: int = 4000) -> str:
        """The end of the log without the list of tasks, for failure messages."""
        lines = [line for line in self.log().splitlines() if not line.startswith("  . ")]
        return "\n".join(lines)[-characters:]

    def wait_log(self, pattern: str, timeout: float = 10.0, count: int = 1) -> list[re.Match[str]]:
        """Wait until `pattern` (a regular expression, ^ and $ match at lines) was logged `count` times."""
        regex = re.compile(pattern, re.MULTILINE)

        def found() -> list[re.Match[str]]:
            ended = self.returncode is not None
            matches = list(regex.finditer(self.log()))
            if len(matches) < count and ended:
                raise AssertionError(f"ended ({self.returncode}) without logging {pattern!r}; its log:\n{self.tail()}")
            return matches if len(matches) >= count else []

        try:
            return wait_for(found, timeout, f"{count} × {pattern!r} in the log")
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n--- log ---\n{self.tail()}") from None


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _environ_of(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:  # gone, or not ours to look at
        return b""


def _session_of(pid: int) -> int:
    """The session of a living process, or -1."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, _parent, _group, session = file.read().rpartition(")")[2].split()[:4]
    except OSError:
        return -1
    return -1 if state == "Z" else int(session)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended between the look and the kill
