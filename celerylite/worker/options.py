"""What a worker was told, as one value that its parts share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerylite.worker.rate_limits import RateBoard


@dataclass(slots=True)
class WorkerOptions:
    """Settings of one worker, after the command line and `app.conf` were read."""

    hostname: str
    queues: list[str]
    #: Slots in which tasks run: processes for prefork, threads for threads.
    concurrency: int = 1
    #: prefork, threads or solo.
    pool: str = "prefork"
    #: Most messages that a task process may hold beside the one it runs; None leaves it to the measured run time.
    prefetch: int | None = None
    fetch_max: int = 100
    #: Seconds after which a task is long: what waits behind it is given back.
    long_task: float = 0.1
    #: Seconds after which the messages of a worker that is gone are taken over.
    lease: float = 15.0
    #: Deaths of a process that one message may cause before it is set aside; None is no limit.
    delivery_limit: int | None = 5
    #: Limits for tasks that have none of their own, in seconds.
    time_limit: float | None = None
    soft_time_limit: float | None = None
    max_tasks_per_child: int | None = None
    #: KiB of resident memory.
    max_memory_per_child: int | None = None
    #: Seconds that a cold shutdown leaves running tasks.
    soft_shutdown_timeout: float = 0.0
    loglevel: int | None = None
    logfile: str | None = None
    task_events: bool = False
    #: Whether the worker speaks of itself to monitors, and every how many seconds (None: as often as it is of use).
    heartbeats: bool = True
    heartbeat_interval: float | None = None
    #: Whether it takes part in elections.
    gossip: bool = True
    #: Most and fewest tasks at a time, where the load decides.
    autoscale: tuple[int, int] | None = None
    #: Content types that bodies may have.
    accept: frozenset[str] = frozenset(("application/json",))
    #: The rate limits' shared memory; None where they are switched off.
    rates: RateBoard | None = None
    extra: dict[str, Any] = field(default_factory=dict)
