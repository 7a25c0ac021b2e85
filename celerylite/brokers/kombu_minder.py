"""Beside `kombu_consumer`: the thread that looks after it while a task keeps its process busy, and what that does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from celerylite.brokers.kombu_letting_go import LettingGo
from celerylite.utils.clock import uptime

#: Seconds between heartbeats, if neither settings nor server say otherwise.
HEARTBEAT = 60.0
#: Seconds between two times that a message is given back which keeps coming again, at most.
GIVE_BACK_PAUSE = 1.0


class Minder(threading.Thread):
    """Looks after a consumer while a task keeps its process busy."""

    def __init__(self, consumer: Minded) -> None:
        super().__init__(daemon=True, name="broker-connection")
        self._consumer = consumer
        self._looking = threading.Event()
        self._stopping = False
        heartbeat = consumer.heartbeat()
        self._idle = max(0.5, heartbeat / 4)

    def look(self) -> None:
        """Something waits in the process: look often."""
        if not self._looking.is_set():
            self._looking.set()

    def run(self) -> None:
        """Look until stopped."""
        quiet = 0
        while not self._stopping:
            if self._consumer.mind():
                quiet = 0
            else:
                quiet += 1
            if quiet < 20:
                time.sleep(self._consumer.long_task / 2)
                continue
            self._looking.clear()
            self._looking.wait(self._idle)
            quiet = 0 if self._looking.is_set() else 20

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._looking.set()


class Minded(LettingGo):
    """See `kombu_consumer.KombuConsumer`."""

    #: Seconds after which a task is so long that nothing should wait behind it.
    long_task: float
    _connection: Any
    #: Whether a thread is within `fetch`; then it reads, and nobody else must.
    _fetching: bool
    _drain: Callable[[], None]
    #: When something may be given back again (`uptime`), and how long until the next time after that.
    _give_back_at: float
    _give_back_pause: float

    def mind(self) -> bool:
        """Called by the minder: give back what waits behind a long task, keep up the heartbeats; True while there may
        be something to give back.
        """
        with self._lock:
            if self._connection is None:
                return False
            try:
                if not self._fetching:
                    self._drain()
                    if self._busy_since and uptime() - self._busy_since > self.long_task:
                        self._give_back_waiting()
                self._connection.heartbeat_check(rate=3)
            except self.broker.errors as exc:
                self._lose(exc)
                return False
            return bool(self._busy_since and self._may_wait())

    def _may_wait(self) -> bool:
        """Whether messages may wait in this process, now or soon."""
        return bool(self._waiting or self._ready or (self._window is not None and self._window.may_push))

    def heartbeat(self) -> float:
        """Seconds between heartbeats, as agreed with the server."""
        return float(self._connection.get_heartbeat_interval() or HEARTBEAT)

    def _give_back_waiting(self) -> None:
        now = uptime()
        stays = self._window.stays if self._window is not None else lambda queue: False
        given = [held for held in (*self._waiting.values(), *self._ready) if not stays(held.queue)]
        if not given or now < self._give_back_at:
            return
        # What is consumed all the time may come straight back, when all others are busy too.
        self._give_back_pause = min(GIVE_BACK_PAUSE, 2 * self._give_back_pause or self.long_task)
        self._give_back_at = now + self._give_back_pause
        self._give_back(given)
