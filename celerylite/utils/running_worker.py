"""A worker as a child process, ready inside `with` and gone afterwards: for the demo and the examples."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY = b" ready."


class WorkerFailed(RuntimeError):
    """The worker ended, or was not ready in time; the message is its log."""


@contextmanager
def running_worker(
    app: str, *options: str, log: Path, cwd: str | os.PathLike[str] | None = None, timeout: float = 30.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `celerylite -A <app> worker <options>`; what it prints goes to the file `log`."""
    command = [sys.executable, "-m", "celerylite", "-A", app, "worker", "-l", "INFO", *options]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches only us, and we end it in order.
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=cwd, start_new_session=True)
    try:
        _wait_ready(process, log, timeout)
        yield process
    finally:
        _end(process)


def _wait_ready(process: subprocess.Popen[bytes], log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while READY not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise WorkerFailed(f"The worker did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.01)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
