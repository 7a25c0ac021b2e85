"""What a task process hears from its parent: directives, that its turn has come, and that the parent is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from celerylite.utils.polling import readable
from celerylite.worker.consumed import define_queues

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers import Broker, Consumer, Delivery
    from celerylite.worker.board import Board
    from celerylite.worker.children import Line
    from celerylite.worker.directives import Directives, Message

logger = logging.getLogger("celery.worker")

#: Seconds between looks while a process stands by; words end the wait at once.
LOOK = 1.0


class Hearing:
    """The ears of one task process. Without a line (in one process) others apply the directives."""

    def __init__(
        self, app: Celery, directives: Directives, board: Board, line: Line | None, on_orphaned: Callable[[], None]
    ) -> None:
        self.app = app
        self.directives = directives
        self.board = board
        self.line = line
        self.on_orphaned = on_orphaned
        #: Whether another task process has to end before this one may fetch.
        self.standby = False
        self._told = board.told()
        #: Whether queues were added or cancelled that the consumer does not know of yet.
        self._queues_changed = False
        #: Queues whose messages go back if they come still.
        self._cancelled: set[str] = set()
        for kind in ("add_consumer", "cancel_consumer"):
            directives.on(kind, self._on_queue)

    def begin(self, queues: list[str]) -> None:
        """The consumer begins with these queues."""
        self._queues_changed = self.directives.queues != queues

    def listen(self) -> None:
        """Apply what the parent has told; if it is gone, say so."""
        if self.line is None or not readable((self.line,), 0):
            return
        self._told = self.board.told()
        messages = self.line.receive()
        if messages is None:
            logger.error("The worker's main process is gone: ending", extra={"action": "orphaned"})
            self.on_orphaned()
        for message in messages or ():
            if "directive" in message:
                self.directives.apply(message["directive"])
            if "go" in message:
                self.standby = False

    def refused(self, delivery: Delivery) -> bool:
        """Before a message is dealt with: hear what was told meanwhile; True where its queue was cancelled."""
        if self._told != self.board.told():
            self.listen()
        return delivery.queue in self._cancelled

    def stand_by(self, given_up: Callable[[], bool]) -> None:
        """Wait until it is this process' turn."""
        while self.standby and self.line is not None and not given_up():
            readable((self.line,), LOOK)
            self.listen()

    def follow(self, consumer: Consumer, broker: Broker) -> None:
        """Between two fetches: have the consumer fetch from the queues that are consumed by now."""
        if self._queues_changed:
            self._queues_changed = False
            define_queues(self.app, self.directives)
            broker.subscribe(self.app.amqp.queues.consume_from.values())
            consumer.set_queues(self.directives.queues)

    def _on_queue(self, directive: Message) -> None:
        self._queues_changed = True
        if directive["queue"] in self.directives.queues:
            self._cancelled.discard(directive["queue"])
        else:
            self._cancelled.add(directive["queue"])
