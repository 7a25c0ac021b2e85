"""Beside `kombu_consumer`: the thread that looks after it while a task keeps its process busy."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celerylite.brokers.kombu_consumer import KombuConsumer

#: Seconds between heartbeats, if neither settings nor server say otherwise.
HEARTBEAT = 60.0


class Minder(threading.Thread):
    """Looks after a consumer while a task keeps its process busy."""

    def __init__(self, consumer: KombuConsumer) -> None:
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
