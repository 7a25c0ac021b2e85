"""How much memory a process uses, sampled over time: `sample_mem` notes it down, `memdump` shows what was noted."""

from __future__ import annotations

import os
import resource
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = ("humanbytes", "mem_rss", "memdump", "ps", "sample", "sample_mem")

UNITS = ((2**40, "TB"), (2**30, "GB"), (2**20, "MB"), (2**10, "KB"))
#: The last samples, as text.
_samples: deque[str] = deque(maxlen=10_000)


def sample_mem(pids: Sequence[int] | None = None) -> str | None:
    """Measure memory and remember it for `memdump`; returns it as text. `pids`: as for `mem_rss`."""
    current = mem_rss(pids)
    if current is not None:
        _samples.append(current)
    return current


def memdump(samples: int = 10, file: Any = None, pids: Sequence[int] | None = None) -> None:
    """Print up to `samples` of what was sampled, evenly chosen, and what is used now; forgets the samples."""
    out = sys.stdout if file is None else file
    if _samples:
        print("- rss (sample):", file=out)
        for line in sample(list(_samples), max(1, samples)):
            print(f"-    > {line},", file=out)
        _samples.clear()
    print(f"- rss (end): {mem_rss(pids)}.", file=out)


def sample(x: Sequence[Any], n: int, k: int = 0) -> Iterator[Any]:
    """About `n` values of a sequence, evenly spread, the last one among them."""
    step = max(1, len(x) // n)
    for at in range(0, len(x), step):
        if k + 1 == n:
            break
        yield x[at]
        k += 1
    if x:
        yield x[-1]


def mem_rss(pids: Iterable[int] | None = None) -> str | None:
    """The resident memory of this process, as text; with `pids` that of these, shared pages counted once."""
    if pids is None:
        return humanbytes(_resident())
    return humanbytes(sum(map(_share, pids)))


def humanbytes(s: float) -> str:
    """A number of bytes with the unit that fits: 58.2MB."""
    for size, unit in UNITS:
        if s >= size:
            return f"{s / size:.6g}{unit}"
    return f"{s:.6g}b"


def ps() -> Any:
    """psutil's view of this process; None where psutil is not installed."""
    try:
        from psutil import Process  # type: ignore[import-untyped]  # lazy: an optional package
    except ImportError:
        return None
    return Process(os.getpid())


def _resident() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:  # a system without /proc: the most that it ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _share(pid: int) -> int:
    """What a process takes of the machine: its own pages, and its part of those that it shares."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            lines = [line.split() for line in file]
        return sum(int(words[1]) * 1024 for words in lines if words[0] == "Pss:")
    except OSError:  # it has ended, or is not ours to look at
        return _resident() if pid == os.getpid() else 0
