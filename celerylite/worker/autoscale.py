"""Autoscale: as many task processes (or threads) as the load wants, between two limits.

It runs in the control process, which can see the queues, and asks the parent for more or fewer. It grows as soon as
everything is busy while messages wait, and shrinks one by one after a quiet time. The setting `worker_autoscaler` may
name a subclass with rules of its own.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from celerylite.utils.clock import uptime
from celerylite.utils.imports import symbol_by_name
from celerylite.utils.log import get_logger
from celerylite.worker.node import Refused

if TYPE_CHECKING:
    from celerylite.worker.node import Node

logger = get_logger("celery.worker.autoscale")

#: Seconds of quiet before the pool shrinks.
AUTOSCALE_KEEPALIVE = float(os.environ.get("AUTOSCALE_KEEPALIVE", 30))
#: Seconds between looks at the board. The queues are only asked while everything is busy.
LOOK = 0.25
#: Seconds between two that are taken away.
SHRINK_PAUSE = 1.0


class Pool:
    """The worker's task processes or threads, as a number."""

    def __init__(self, node: Node) -> None:
        self.node = node

    @property
    def num_processes(self) -> int:
        """How many there are to be."""
        return self.node.board.size()

    def grow(self, n: int = 1) -> None:
        """Add some."""
        self.node.ask_parent("pool_grow", n=n)

    def shrink(self, n: int = 1) -> None:
        """Take some away; those that are busy finish their task first."""
        self.node.ask_parent("pool_shrink", n=n)


class Autoscaler:
    """Keeps the pool between `min_concurrency` and `max_concurrency`. Subclasses may override `_maybe_scale`."""

    def __init__(
        self,
        pool: Any,
        max_concurrency: int,
        min_concurrency: int = 0,
        worker: Node | None = None,
        keepalive: float = AUTOSCALE_KEEPALIVE,
        mutex: Any = None,
    ) -> None:
        self.pool = pool
        self.max_concurrency = max_concurrency
        self.min_concurrency = min_concurrency
        self.worker = worker
        self.keepalive = keepalive
        self.mutex = mutex or threading.RLock()
        #: Since when (`uptime`) not everything is busy, and when one was last taken away.
        self._quiet_since = uptime()
        self._shrunk_at = 0.0
        self._complaint = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="autoscaler", daemon=True)

    # -- the loop

    def start(self) -> None:
        """Scale in a thread of its own from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Scale no more."""
        self._stopping.set()

    def run(self) -> None:
        """Scale until stopped."""
        while not self._stopping.wait(LOOK):
            self.body()

    def body(self) -> None:
        """One look; whatever goes wrong is logged once and tried again."""
        try:
            self.maybe_scale()
            self._complaint = ""
        except Exception as exc:  # a border: brokers of any make, and rules of the user's own
            if str(exc) != self._complaint:
                self._complaint = str(exc)
                logger.error("Cannot scale the pool: %s", exc, extra={"action": "autoscale_failed"})

    # -- what to do

    def maybe_scale(self, req: Any = None) -> bool | None:
        """Scale if the load wants it; returns whether that was so."""
        with self.mutex:
            return self._maybe_scale(req)

    def _maybe_scale(self, req: Any = None) -> bool | None:
        size, now = self.processes, uptime()
        if size < self.fewest:
            self.scale_up(self.fewest - size)
            return True
        if self.busy >= size:
            self._quiet_since = now
            wanted = min(self.waiting, self.max_concurrency - size) if size < self.max_concurrency else 0
            if wanted > 0:
                self.scale_up(wanted)
                return True
        elif size > self.fewest and now - max(self._quiet_since + self.keepalive, self._shrunk_at + SHRINK_PAUSE) >= 0:
            self._shrunk_at = now
            self.scale_down(1)
            return True
        return False

    def scale_up(self, n: int) -> None:
        """Add `n`."""
        self._quiet_since = uptime()
        self._grow(n)

    def scale_down(self, n: int) -> None:
        """Take `n` away."""
        self._shrink(n)

    def update(self, max: int | None = None, min: int | None = None) -> tuple[int, int]:
        """Set other limits, to which the pool is brought at once; returns them."""
        with self.mutex:
            if max is not None:
                self.max_concurrency = max
            if min is not None:
                self.min_concurrency = min
            size = self.processes
            most = self.max_concurrency if self.max_concurrency > self.fewest else self.fewest
            if size > most:
                self._shrink(size - most)
            elif size < self.fewest:
                self._grow(self.fewest - size)
            return self.max_concurrency, self.min_concurrency

    def _grow(self, n: int) -> None:
        logger.info("Scaling up %s processes.", n, extra={"action": "scale_up"})
        self.pool.grow(n)

    def _shrink(self, n: int) -> None:
        logger.info("Scaling down %s processes.", n, extra={"action": "scale_down"})
        self.pool.shrink(n)

    # -- what there is

    @property
    def fewest(self) -> int:
        """The least that there may be: one has to be there to fetch."""
        return max(1, self.min_concurrency)

    @property
    def processes(self) -> int:
        """How many there are."""
        return self.pool.num_processes

    @property
    def busy(self) -> int:
        """How many tasks run."""
        return len(self.worker.running()) if self.worker is not None else 0

    @property
    def waiting(self) -> int:
        """How many messages wait in the queues of this worker."""
        if self.worker is None:
            return 0
        return sum(map(self.worker.broker.queue_length, list(self.worker.directives.queues)))

    @property
    def qty(self) -> int:
        """How many tasks there are for this worker: those that run and those that wait."""
        return self.busy + self.waiting

    def info(self) -> dict[str, Any]:
        """What `inspect stats` tells."""
        return {
            "max": self.max_concurrency,
            "min": self.min_concurrency,
            "current": self.processes,
            "qty": self.busy,
        }


def start_autoscaler(node: Node) -> Autoscaler | None:
    """The autoscaler of a worker, at work; None where it has none."""
    limits = node.directives.autoscale
    if limits is None:
        return None
    autoscaler: Autoscaler = symbol_by_name(node.app.conf.worker_autoscaler)(Pool(node), *limits, worker=node)

    def update(directive: dict[str, Any]) -> None:
        # Apart, because the parent's answer comes on the line that whoever calls this may be reading.
        def bring() -> None:
            try:
                autoscaler.update(directive["max"], directive["min"])
            except Refused as exc:
                logger.error("Cannot scale the pool: %s", exc, extra={"action": "autoscale_failed"})

        threading.Thread(target=bring, name="autoscale-update", daemon=True).start()

    node.directives.on("autoscale", update)
    autoscaler.start()
    return autoscaler


def limits_of(value: Any) -> tuple[int, int] | None:
    """Most and fewest, from what `--autoscale` or the keyword `autoscale` was given: "10,3", "10", (10, 3)."""
    if not value:
        return None
    parts = value.split(",") if isinstance(value, str) else list(value)
    numbers = sorted((int(part) for part in parts if str(part).strip()), reverse=True)
    return numbers[0], numbers[1] if len(numbers) > 1 else 0
