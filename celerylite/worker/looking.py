"""What a worker runs, holds and waits for, as remote control shows it. Reads the board and the broker, changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celerylite.brokers.envelope import decode
from celerylite.message import json_dumps
from celerylite.utils.saferepr import saferepr
from celerylite.worker.request import Request

if TYPE_CHECKING:
    from celerylite.brokers.values import Waiting
    from celerylite.worker.node import Node

logger = logging.getLogger("celery.worker.control")

#: Most tasks in one answer.
MOST = 1000
#: What Celery's timer gives to waiting tasks.
TIMER_PRIORITY = 6


def active(node: Node, safe: bool = False) -> list[dict[str, Any]]:
    """The tasks that run; with `safe`, arguments as the caller's repr of them."""
    found = []
    for running in node.running():
        info = node.request_info(running)
        request = node.read_request(running) if safe else None
        if request is not None:
            info.update(_reprs(request))
        found.append(_writable(info))
    return found


def reserved(node: Node) -> list[dict[str, Any]]:
    """What task processes have taken and not started yet, as far as the broker can tell."""
    return [_info(request) for request, _ in readable(node, held_back(node))]


def held_back(node: Node) -> list[Waiting]:
    """The messages that wait in task processes.

    A process starts what it holds in order, so they are what has a higher number than what runs.
    """
    newest: dict[str, int] = {}
    for running in node.running():
        if running.consumer_id and running.tag:
            number = int(running.tag.split(b"\0", 1)[0].rstrip(b"r"))
            newest[running.consumer_id] = max(number, newest.get(running.consumer_id, 0))
    return [
        message
        for consumer_id, messages in node.broker.held(newest).items()
        for message in messages
        if message.number > newest[consumer_id]
    ]


def scheduled(node: Node) -> list[dict[str, Any]]:
    """The tasks of our queues that are not due yet. They wait on the broker, so workers of one queue show the same."""
    waiting = node.broker.delayed(node.directives.queues, MOST)
    return [
        {
            "eta": datetime.fromtimestamp(message.due or 0.0, timezone.utc).isoformat(),
            "priority": TIMER_PRIORITY,
            "request": _info(request),
        }
        for request, message in readable(node, waiting)
    ]


def find(node: Node, ids: set[str]) -> dict[str, list[Any]]:
    """Id -> what is done with the task (active, reserved, scheduled) and what is known of it."""
    found: dict[str, list[Any]] = {}
    for word, infos in (
        ("scheduled", [entry["request"] for entry in scheduled(node)]),
        ("reserved", reserved(node)),
        ("active", active(node)),
    ):
        found.update((info["id"], [word, info]) for info in infos if info["id"] in ids)
    return found


def readable(node: Node, waiting: list[Waiting]) -> Iterator[tuple[Request, Waiting]]:
    """The requests in those of the messages that can be read."""
    for message in waiting:
        try:
            yield Request.from_message(None, decode(message.raw), node.options.accept, node.hostname), message
        except Exception as exc:  # a border: hostile bytes are set aside by the process that takes them
            logger.debug("A message in %s cannot be shown: %r", message.queue, exc)


def _info(request: Request) -> dict[str, Any]:
    return _writable(request.info())


def _reprs(request: Request) -> dict[str, Any]:
    headers = request.headers
    return {
        "args": headers.get("argsrepr") or saferepr(request.args),
        "kwargs": headers.get("kwargsrepr") or saferepr(request.kwargs),
    }


def _writable(info: dict[str, Any]) -> dict[str, Any]:
    """Arguments that JSON cannot write (pickled objects, say) as their repr, so that the answer goes out."""
    for name in ("args", "kwargs"):
        try:
            json_dumps(info[name])
        except (TypeError, ValueError, RecursionError):
            info[name] = saferepr(info[name])
    return info
