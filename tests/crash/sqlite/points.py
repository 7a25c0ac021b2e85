"""Kills a worker's process at an exact transaction: `strike_at("before 3 child /path/of/a/flag")`. No tests here.

The n-th commit of a task process is counted from its first one, so that striking at each n in turn closes every gap
between taking a message and settling it. The flag is a file by which it happens once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celerylite.brokers.sqlite_file import Link
from celerylite.signals import worker_process_init

#: The process that counts; a worker's parent and its control process do not.
_counting: list[int] = []
_commits = 0


def strike_at(spec: str) -> None:
    """Strike "before" or "after" the n-th commit, at this "child" or the whole "tree"."""
    when, number, victim, flag = spec.split(" ", 3)
    commit = Link.__exit__

    def counted(self: Link, kind: Any, exc: Any, traceback: Any) -> None:
        global _commits
        counts = kind is None and os.getpid() in _counting
        _commits += counts
        due = counts and _commits == int(number)
        if due and when == "before":
            _strike(victim, Path(flag))
        commit(self, kind, exc, traceback)
        if due and when == "after":
            _strike(victim, Path(flag))

    Link.__exit__ = counted  # type: ignore[method-assign]

    @worker_process_init.connect(weak=False)
    def on_process(**_: Any) -> None:
        _counting.append(os.getpid())


def _strike(victim: str, flag: Path) -> None:
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return
    if victim == "tree":
        os.killpg(0, signal.SIGKILL)  # a test's worker is a session of its own
    os.kill(os.getpid(), signal.SIGKILL)
