"""The queues that a worker consumes: declaring them, and those that `add_consumer` has defined while it runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celerylite import brokers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celerylite.app.base import Celery
    from celerylite.worker.directives import Directives

logger = logging.getLogger("celery.worker")


def declare_queues(app: Celery, names: Iterable[str]) -> None:
    """Declare the consumed queues as kombu does, so that producers of any kind find their way."""
    queues = app.amqp.queues
    try:
        broker = brokers.connect(app, app.connection_for_read())
        try:
            broker.declare(queues[name] for name in names)
        finally:
            broker.close()
    except Exception as exc:  # a border: the worker works without, and producers declare too
        logger.warning("Could not declare the queues: %s", exc, extra={"action": "declare_failed"})


def define_queues(app: Celery, directives: Directives) -> None:
    """Make the app of this process know the queues that were added, and consume from those that are consumed."""
    queues = app.amqp.queues
    for name in directives.queues:
        if name not in queues.consume_from:
            add_queue(app, name, directives.definitions.get(name, {}))
    for name in set(queues.consume_from) - set(directives.queues):
        queues.deselect([name])


def add_queue(app: Celery, name: str, definition: dict[str, Any]) -> Any:
    """The queue of this name, consumed from now on: as the app knows it, else with an exchange of the same name.

    `definition` may have exchange, exchange_type ("direct"), routing_key and whatever else `Queue.from_dict` takes.
    """
    queues = app.amqp.queues
    if name in queues:  # not by asking for it, which would make it
        return queues.select_add(queues[name])
    options = {"exchange": name, "exchange_type": "direct", **definition}
    return queues.select_add(name, **options)
