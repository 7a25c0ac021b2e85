"""What this machine has to offer: load, disk space, and how many CPUs this process may really use."""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

from .objects import cached_property

__all__ = (
    "load_average",
    "df",
    "AUTO_CONCURRENCY",
    "is_auto_concurrency",
    "available_cpu_count",
    "cgroup_cpu_quota",
    "CpuBudget",
    "cpu_budget",
)

AUTO_CONCURRENCY = "auto"
CGROUP_ROOT = "/sys/fs/cgroup"
PROC_SELF_CGROUP = "/proc/self/cgroup"


def load_average() -> tuple[float, ...]:
    """The load of the last 1, 5 and 15 minutes; empty where the system does not count it."""
    try:
        return tuple(math.ceil(load * 1e2) / 1e2 for load in os.getloadavg())
    except (AttributeError, OSError):
        return ()


class df:  # the lower-case name is Celery's
    """The disk that a path is on."""

    def __init__(self, path: str | bytes | os.PathLike[Any]) -> None:
        self.path = path

    @cached_property
    def stat(self) -> os.statvfs_result:
        """The figures of the file system."""
        return os.statvfs(os.path.abspath(self.path))

    @property
    def total_blocks(self) -> float:
        """Its size in KiB."""
        return self.stat.f_blocks * self.stat.f_frsize / 1024

    @property
    def available(self) -> float:
        """What is free in KiB."""
        return self.stat.f_bavail * self.stat.f_frsize / 1024

    @property
    def capacity(self) -> int:
        """How full it is, in per cent."""
        available = self.stat.f_bavail
        used = self.stat.f_blocks - self.stat.f_bfree
        return int(math.ceil(used * 100.0 / (used + available) + 0.5)) if used + available else 0


class CpuBudget(NamedTuple):
    """How many CPUs there are for this process."""

    #: How many task processes make sense.
    count: int  # type: ignore[assignment]
    #: How many CPUs it may be scheduled on.
    available: int
    #: How many CPUs' worth of time its control group gets; None: no limit.
    quota: float | None


def is_auto_concurrency(value: Any) -> bool:
    """Whether the concurrency asked for is "auto"."""
    return isinstance(value, str) and value.strip().lower() == AUTO_CONCURRENCY


def available_cpu_count() -> int:
    """How many CPUs this process may be scheduled on."""
    try:
        return len(os.sched_getaffinity(0)) or 1
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def cpu_budget(use_cgroup_quota: bool = True) -> CpuBudget:
    """The CPUs of this process, with the limit of its container counted in."""
    available = available_cpu_count()
    quota = cgroup_cpu_quota() if use_cgroup_quota else None
    count = available if quota is None else max(1, min(available, math.ceil(quota)))
    return CpuBudget(count, available, quota)


def cgroup_cpu_quota() -> float | None:
    """The smallest CPU limit of this process's control group and the groups it is in; None: no limit."""
    limits = [
        limit for folder, version in _cgroup_folders() if (limit := _quota_of(folder, version)) is not None
    ]
    return min(limits) if limits else None


def _cgroup_folders() -> list[tuple[str, int]]:
    """(folder, cgroup version) of our group and of those above it."""
    folders: list[tuple[str, int]] = []
    for line in (_read_text(PROC_SELF_CGROUP) or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            folders += [(CGROUP_ROOT + above, 2) for above in _ancestors(path)]
        elif "cpu" in controllers.split(","):
            for base in (f"{CGROUP_ROOT}/{controllers}", f"{CGROUP_ROOT}/cpu"):
                folders += [(base + above, 1) for above in _ancestors(path)]
    return folders


def _ancestors(path: str) -> list[str]:
    """A path and all above it, as parts to be put after a root."""
    parts = [part for part in path.split("/") if part]
    return ["".join(f"/{part}" for part in parts[:count]) for count in range(len(parts), -1, -1)]


def _quota_of(folder: str, version: int) -> float | None:
    if version == 2:
        quota, _, period = (_read_text(f"{folder}/cpu.max") or "").partition(" ")
    else:
        quota = _read_text(f"{folder}/cpu.cfs_quota_us") or ""
        period = _read_text(f"{folder}/cpu.cfs_period_us") or ""
    try:
        used, of = int(quota), int(period)
    except ValueError:
        return None  # "max", or no such file
    return used / of if used > 0 and of > 0 else None


def _read_text(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return None
