"""An app whose messages are kept, with some tasks."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

import pytest

from celerylite import Celery
from tests.unit.app.conftest import app, sent

__all__ = ("app", "sent")


class Told(NamedTuple):
    """What a message tells a worker."""

    name: str
    id: str
    args: list[Any]
    kwargs: dict[str, Any]
    headers: dict[str, Any]
    chain: Any
    chord: Any
    link: Any
    link_error: Any


class Tasks:
    """Tasks by name; `told` are the messages that were sent."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        #: What callbacks were called with, in eager mode.
        self.seen: list[Any] = []
        seen = self.seen

        @app.task(name="add")
        def add(*numbers: int) -> int:
            return sum(numbers)

        @app.task(name="total")
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        @app.task(name="boom")
        def boom(*args: Any) -> None:
            raise ValueError("boom")

        @app.task(name="note")
        def note(value: Any) -> Any:
            seen.append(value)
            return value

        @app.task(name="note_error")
        def note_error(request: Any, exc: Any, traceback: Any) -> None:
            seen.append((request.id, type(exc).__name__))

        self.add, self.total, self.boom, self.note, self.note_error = add, total, boom, note, note_error

    @property
    def told(self) -> list[Told]:
        found = []
        for envelope in self.app.broker.envelopes():
            args, kwargs, embed = json.loads(base64.b64decode(envelope["body"]))
            headers = envelope["headers"]
            found.append(Told(
                headers["task"], headers["id"], args, kwargs, headers,
                embed["chain"], embed["chord"], embed["callbacks"], embed["errbacks"],
            ))  # fmt: skip
        return found


@pytest.fixture
def tasks(app: Celery) -> Tasks:
    return Tasks(app)
