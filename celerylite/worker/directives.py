"""What a worker has been told since it started: revokes, limits, queues, events. Plain data, which children inherit.

The control process tells the parent, the parent tells the task processes (see `Node.post`); each applies every
directive to its own copy. Nothing here talks to a broker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from celerylite.app.revoking import REVOKE_EXPIRES, REVOKES_MAX
from celerylite.utils.collections import LimitedSet

logger = logging.getLogger("celery.worker.control")

#: One directive: `{"directive": kind, …}`, made of what JSON can write.
Message = dict[str, Any]


class Directives:
    """The sum of all directives so far; `on` tells of those to come."""

    def __init__(self, queues: Iterable[str] = (), *, events: bool = False) -> None:
        #: Ids of tasks that must not start.
        self.revoked = LimitedSet(maxlen=REVOKES_MAX, expires=REVOKE_EXPIRES)
        #: Stamp -> values: tasks with such a stamp must not start.
        self.revoked_stamps: dict[str, list[Any]] = {}
        #: Task -> its rate limit as it was given; None is none.
        self.rate_limits: dict[str, Any] = {}
        #: Task -> soft and hard time limit in seconds, in place of those of the task; None leaves it to the worker's.
        self.time_limits: dict[str, tuple[float | None, float | None]] = {}
        #: The queues that are consumed, in order.
        self.queues = list(queues)
        #: Queue -> exchange, exchange_type, routing_key and options, where `add_consumer` named them.
        self.definitions: dict[str, Message] = {}
        #: Whether task events are sent.
        self.events = events
        #: Most and fewest task processes (or threads), while autoscale is on.
        self.autoscale: tuple[int, int] | None = None
        #: How many threads run tasks, where `pool_grow` or `pool_shrink` has changed that.
        self.concurrency: int | None = None
        #: Most messages that a task process may hold, where a command has changed that.
        self.prefetch: int | None = None
        self._listeners: dict[str, list[Callable[[Message], object]]] = {}
        self._appliers: dict[str, Callable[[Message], None]] = {
            "revoke": self._revoke,
            "revoke_stamps": self._revoke_stamps,
            "rate_limit": self._rate_limit,
            "time_limit": self._time_limit,
            "add_consumer": self._add_consumer,
            "cancel_consumer": self._cancel_consumer,
            "events": self._events,
            "autoscale": self._autoscale,
            "concurrency": self._concurrency,
            "prefetch": self._prefetch,
        }

    def on(self, kind: str, listener: Callable[[Message], object]) -> None:
        """Call `listener(directive)` after each directive of this kind.

        In a task process that is between two tasks; in a worker within one process any thread may be the caller, so a
        listener may only take a note.
        """
        self._listeners.setdefault(kind, []).append(listener)

    def apply(self, directive: Message) -> None:
        """Note one directive, then tell the listeners; unknown kinds are ignored, as newer processes may post them."""
        kind = directive.get("directive", "")
        applier = self._appliers.get(kind)
        if applier is None and kind not in self._listeners:
            logger.debug("Unknown directive %r is ignored", kind)
            return
        if applier is not None:
            applier(directive)
        for listener in self._listeners.get(kind, ()):
            try:
                listener(directive)
            except Exception:  # a border: one listener must not keep the others from hearing it
                logger.exception("Directive %r could not be carried out", kind, extra={"action": "directive_failed"})

    # -- one method a kind

    def _revoke(self, directive: Message) -> None:
        for task_id in directive["ids"]:
            self.revoked.add(task_id)
        self.revoked.purge()

    def _revoke_stamps(self, directive: Message) -> None:
        for header, values in directive["stamps"].items():
            known = self.revoked_stamps.setdefault(header, [])
            known += [value for value in values if value not in known]

    def _rate_limit(self, directive: Message) -> None:
        self.rate_limits[directive["task"]] = directive.get("limit")

    def _time_limit(self, directive: Message) -> None:
        self.time_limits[directive["task"]] = (directive.get("soft"), directive.get("hard"))

    def _add_consumer(self, directive: Message) -> None:
        queue = directive["queue"]
        definition = {
            key: value for key, value in directive.items() if key not in ("directive", "queue") and value is not None
        }
        if definition:
            self.definitions.setdefault(queue, definition)
        if queue not in self.queues:
            self.queues.append(queue)

    def _cancel_consumer(self, directive: Message) -> None:
        if directive["queue"] in self.queues:
            self.queues.remove(directive["queue"])

    def _events(self, directive: Message) -> None:
        self.events = bool(directive["on"])

    def _autoscale(self, directive: Message) -> None:
        self.autoscale = (directive["max"], directive["min"])

    def _concurrency(self, directive: Message) -> None:
        self.concurrency = int(directive["slots"])

    def _prefetch(self, directive: Message) -> None:
        self.prefetch = directive["most"]
