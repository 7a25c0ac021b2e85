"""Waiting for file descriptors with `poll`: `select` refuses numbers from 1024 on, which busy processes have."""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Any


def readable(fds: Iterable[Any], timeout: float) -> list[Any]:
    """Those of `fds` (numbers, or objects that have one) that can be read, or have ended, within `timeout` seconds."""
    poll = select.poll()
    by_number = {}
    for fd in fds:
        number = fd if isinstance(fd, int) else fd.fileno()
        by_number[number] = fd
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(max(0.0, timeout) * 1000)]
