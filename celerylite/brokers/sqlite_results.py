"""Writing a result within somebody's transaction: the settlement of a task, or the result store's own."""

from __future__ import annotations

import time

from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.sqlite_file import Link
from celerylite.states import READY_STATES


def write_result(link: Link, key: bytes, value: bytes, state: str, ttl: float | None) -> None:
    """Store a record unless its task has succeeded, and wake who waits for it."""
    now = time.time()
    link.execute(schema.STORE, (key, state, now + ttl if ttl else None, value, now))
    waiting = link.read(schema.WAITERS, (key,))
    for (bell,) in waiting:
        link.ring(bell)
    if waiting and state in READY_STATES:
        link.execute("DELETE FROM waiter WHERE key = ?", (key,))
