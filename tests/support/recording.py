"""A broker that keeps what is sent to it, and a tap on kombu's in-memory transport: what two libraries
would send."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celerylite.brokers.base import Broker
from celerylite.brokers.envelope import encode
from celerylite.message import Message


class RecordingBroker(Broker):
    """Keeps messages in the order in which they were published."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def _send(self, messages: Sequence[Message]) -> None:
        self.sent.extend(messages)

    def envelopes(self) -> list[dict[str, Any]]:
        """The messages as they would stand in a Redis list."""
        return [json.loads(encode(message)) for message in self.sent]

    def _unused(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("this broker only takes messages")

    consumer = keeper = purge = queue_length = dead = retry_dead = purge_dead = _unused


@contextmanager
def kombu_memory() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Collects (queue, envelope) of everything that is put into queues of kombu's transport `memory://`."""
    from kombu.transport import memory

    put: list[tuple[str, dict[str, Any]]] = []
    original = memory.Channel._put

    def collect(self: Any, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        put.append((queue, json.loads(json.dumps(message))))

    memory.Channel._put = collect
    try:
        yield put
    finally:
        memory.Channel._put = original
