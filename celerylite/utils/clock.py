"""The clock for spans: seconds since boot, time asleep included, the same in all processes of a machine."""

from __future__ import annotations

import time
from functools import partial

#: Unlike `time.monotonic` it goes on while the machine sleeps, which is when leases run out unnoticed.
uptime = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
