"""What the kernel knows about a worker: its processes, their CPU time and their memory (Linux only).

A worker is started in a session of its own, so "its processes" are all processes of that session, whoever
their parent is. Used by the benchmarks and, inside the worker, by the task that marks a moment.
"""

from __future__ import annotations

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command name; index 0 is the state. Empty when it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def session_pids(session: int) -> list[int]:
    """Every live process of one session."""
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    found = []
    for pid in pids:
        fields = stat_fields(pid)
        if fields and fields[0] != "Z" and int(fields[3]) == session:
            found.append(pid)
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes, without what their dead children used."""
    total = 0
    for pid in pids:
        fields = stat_fields(pid)
        if fields:
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def pss_bytes(pids: list[int]) -> int:
    """Proportional set size: memory, with each shared page divided among those who share it."""
    return sum(_kilobytes(pid, "smaps_rollup", "Pss:") for pid in pids) * 1024


def rss_bytes(pids: list[int]) -> int:
    """Resident set size; counts shared pages once for every process."""
    return sum(_kilobytes(pid, "status", "VmRSS:") for pid in pids) * 1024


def _kilobytes(pid: int, name: str, label: str) -> int:
    try:
        text = (PROC / str(pid) / name).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in text.splitlines():
        if line.startswith(label):
            return int(line.split()[1])
    return 0
