"""Elections: one of all the workers that hear of it sends a task (`app.control.election`).

Celery's workers vote with events; ours claim the election in a notebook on the broker, which takes no messages while
nobody is elected.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerylite.brokers.base import Notebook
    from celerylite.worker.node import Node

logger = logging.getLogger("celery.worker.control")

#: The notebook, and how many elections it remembers: far more than can be going on at a time.
BOOK = "elections"
REMEMBERED = 100


def hold(node: Node, id: str, topic: str, action: Any) -> None:
    """Do what the election is about if this worker is the one: send the task `action`, for the topic "task"."""
    if topic != "task":
        logger.error("Unknown election topic %r: only \"task\" is known", topic, extra={"action": "election"})
        return
    book = node.broker.notebook(BOOK)
    if book is None:
        logger.warning("No election %s: the broker has no notebooks", id, extra={"action": "election"})
        return
    elected = claim(book, id, node.hostname)
    if elected != node.hostname:
        logger.info("node %s elected", elected, extra={"action": "election"})
        return
    logger.info("I won the election %s", id, extra={"action": "election"})
    try:
        node.app.signature(action).apply_async()
    except Exception as exc:  # a border: the task may be anything, and the broker away
        logger.exception("Could not call task: %r", exc, extra={"action": "election"})


def claim(book: Notebook, id: str, hostname: str) -> str:
    """Who has claimed the election first."""
    while True:
        version, notes = book.read()
        if id in notes:
            return notes[id].partition(b" ")[2].decode()
        old = sorted(notes, key=lambda name: notes[name])[: max(0, len(notes) - REMEMBERED + 1)]
        if book.change({id: f"{time.time():017.6f} {hostname}".encode()}, old, version=version):
            return hostname
