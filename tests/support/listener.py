"""Listening to events, with the receiver and the state of either library."""

from __future__ import annotations

import importlib
import threading
from typing import Any

from .waiting import wait_for


class Listener:
    """A receiver of `lib` (whose app is given) in a thread, which keeps what it hears; it hears from the start."""

    def __init__(self, app: Any, lib: str) -> None:
        self.app = app
        self.state = importlib.import_module(f"{lib}.events.state").State()
        self.heard: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._connection = self.app.connection_for_read()
        self.receiver = self.app.events.Receiver(self._connection, handlers={"*": self._hear})
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _listen(self) -> None:
        listening = self.receiver.on_consume_ready

        def ready(*args: Any, **kwargs: Any) -> None:
            listening(*args, **kwargs)
            self._ready.set()

        self.receiver.on_consume_ready = ready  # type: ignore[method-assign]
        try:
            self.receiver.capture()
        except (*self._connection.connection_errors, AttributeError):
            assert self.receiver.should_stop  # the server has gone before us

    def _hear(self, event: dict[str, Any]) -> None:
        self.heard.append(dict(event))
        self.state.event(event)

    def of(self, task_id: str) -> list[dict[str, Any]]:
        return [event for event in self.heard if event.get("uuid") == task_id]

    def types_of(self, task_id: str) -> list[str]:
        return [event["type"] for event in self.of(task_id)]

    def wait_for(self, task_id: str, kind: str) -> None:
        wait_for(lambda: kind in self.types_of(task_id), 20, f"{kind} of {task_id}; heard {self.types_of(task_id)}")

    def close(self) -> None:
        self.receiver.should_stop = True
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._connection.close()
