"""Revoked tasks, the worker's side: what it is told is kept first and then made known to its task processes.

`revoke`, `revoke_stamps` and `catch_up` are for remote control; a task process calls `recall` before it takes its first
message and asks `Revoked` about each message that it has taken.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from celerylite import states
from celerylite.app import revoking
from celerylite.utils.functional import maybe_list

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers import Broker
    from celerylite.worker.directives import Directives
    from celerylite.worker.node import Node
    from celerylite.worker.request import Request

logger = logging.getLogger("celery.worker.control")

#: Seconds between tries to read what was kept.
AGAIN = 0.5
#: States of tasks that nobody has begun: their result store may say at once that they are revoked.
NOT_BEGUN = frozenset((states.PENDING, states.RECEIVED, states.RETRY, states.REJECTED))


def revoke(node: Node, task_ids: Iterable[str], running: Iterable[str] = (), *, keep: bool = True) -> None:
    """These tasks must not start any more: keep that, tell the task processes, and note it in the result store.

    It is kept first, so that whoever gets an answer can rely on it; without `keep` only this worker knows. `running`
    are those that this worker runs, whose states are theirs.
    """
    ids = [str(task_id) for task_id in task_ids]
    if keep:
        revoking.remember(node.app, ids, node.broker)
    node.post("revoke", ids=ids)
    for task_id in set(ids).difference(running):
        _mark(node.app, task_id)
    logger.info("Tasks flagged as revoked: %s", ", ".join(ids), extra={"action": "revoke"})


def revoke_stamps(node: Node, headers: Mapping[str, Any], *, keep: bool = True) -> None:
    """The same for all tasks with one of these stamps: `{header: value, or values}`."""
    stamps = {header: list(maybe_list(values) or ()) for header, values in headers.items()}
    if keep:
        revoking.remember_stamps(node.app, stamps, node.broker)
    node.post("revoke_stamps", stamps=stamps)


def _mark(app: Celery, task_id: str) -> None:
    """The result store says so at once, unless the task has begun or ended somewhere."""
    backend = app.backend
    try:
        if backend.get_state(task_id) in NOT_BEGUN:
            backend.mark_as_revoked(task_id, reason="revoked", store_result=True)
    except Exception as exc:  # a border: stores of any make raise what they like
        logger.warning("Failed to mark task %s as revoked in backend: %s", task_id, exc)


def recall(app: Celery, broker: Broker, directives: Directives, given_up: Callable[[], bool]) -> None:
    """Have all that was kept among the directives of a task process, before it takes its first message.

    Tried again while the server is away, until `given_up` says so; where it refuses, the worker goes without.
    """
    complaint = ""
    while not given_up():
        try:
            ids, stamps = revoking.recall(app, broker)
        except Exception as exc:  # a border: connections of any make
            if complaint != str(exc):
                complaint = str(exc)
                logger.error("Revokes cannot be read: %s", exc, extra={"action": "revokes_not_read"})
            if not _may_pass(app, broker, exc):
                return
            time.sleep(AGAIN)
            continue
        directives.revoked.update(ids)
        if ids or stamps:  # one directive tells whoever listens
            directives.apply({"directive": "revoke_stamps", "stamps": stamps})
        return


def _may_pass(app: Celery, broker: Broker, exc: Exception) -> bool:
    """Whether the server is only away."""
    errors = (broker.outlet or broker).connection_errors
    return isinstance(exc, errors) or isinstance(exc.__cause__, errors) or app.backend.exception_safe_to_retry(exc)


def catch_up(node: Node) -> None:
    """Tell the task processes what was revoked while nobody listened: after remote control has (re)connected."""
    try:
        ids, stamps = revoking.recall(node.app, node.broker)
    except Exception as exc:  # a border: connections of any make; the next connection will catch up
        logger.warning("Revokes cannot be read: %s", exc, extra={"action": "revokes_not_read"})
        return
    missed = [task_id for task_id in ids if task_id not in node.directives.revoked]
    if missed:
        node.post("revoke", ids=missed)
    known = node.directives.revoked_stamps
    if any(value not in known.get(header, ()) for header, values in stamps.items() for value in values):
        node.post("revoke_stamps", stamps=stamps)


class Revoked:
    """Answers for one task process whether a request is revoked. `any` is False as long as nothing is."""

    def __init__(self, directives: Directives) -> None:
        self.directives = directives
        self.any = False
        for kind in ("revoke", "revoke_stamps"):
            directives.on(kind, self.refresh)
        self.refresh()

    def refresh(self, directive: Any = None) -> None:
        """Something was revoked."""
        self.any = bool(self.directives.revoked or self.directives.revoked_stamps)

    def matches(self, request: Request) -> str | None:
        """'' for a request that is revoked by its id, which stamp it is for one revoked by a stamp; else None."""
        if request.id in self.directives.revoked:
            return ""
        stamps = request.headers.get("stamps")
        if not self.directives.revoked_stamps or not isinstance(stamps, Mapping):
            return None
        for header in request.headers.get("stamped_headers") or ():
            revoked = self.directives.revoked_stamps.get(header)
            for value in maybe_list(stamps.get(header)) or ():
                if revoked and value in revoked:
                    return repr({header: value})
        return None
