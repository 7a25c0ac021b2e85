"""A broker that takes events, and keeps them."""

from __future__ import annotations

from typing import Any

from celerylite.brokers import Broker


class Recording(Broker):
    """Takes events, or refuses them while it is `away`; `listeners` is how many it says that there are."""

    def __init__(self, listeners: int | None = 1) -> None:
        self.listeners = listeners
        self.away = False
        self.refused = 0
        self.announced: list[Any] = []

    def announce(self, messages: Any) -> int | None:
        if self.away:
            self.refused += 1
            raise OSError("away")
        self.announced += messages
        return self.listeners

    def _send(self, messages: Any) -> None:
        raise AssertionError("events are no tasks")

    def consumer(self, queues: Any, *, serial: bool, lease: float, **options: Any) -> Any: ...

    def keeper(self, queues: Any, *, lease: float) -> Any: ...

    def purge(self, queues: Any) -> int: ...

    def queue_length(self, queue: str) -> int: ...

    def dead(self, limit: int = 100) -> Any: ...

    def retry_dead(self, ids: Any = None) -> int: ...

    def purge_dead(self) -> int: ...
