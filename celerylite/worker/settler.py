"""What a finished task leaves is let go here: stored, sent and acknowledged, in one transaction where that is possible.

The steps are in `settling.py`; here is what one task process needs around them: a broker's consumer, and patience.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import sleep
from typing import TYPE_CHECKING

from celerylite import followup, signals, states
from celerylite.brokers.values import Settlement, Store
from celerylite.worker.acks import acks_failure
from celerylite.worker.settling import fits, is_one_server, settle_apart, settlement_of

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers import Broker, Consumer
    from celerylite.execution import Execution
    from celerylite.followup import Following
    from celerylite.worker.emitter import Emitter
    from celerylite.worker.request import Request

logger = logging.getLogger("celery.worker")


class Settler:
    """Lets go of the tasks of one consumer; any of its process' threads may use it."""

    def __init__(self, app: Celery, broker: Broker, consumer: Consumer, stopping: Callable[[], bool]) -> None:
        self.app = app
        self.broker = broker
        self.consumer = consumer
        self.stopping = stopping
        #: Told of messages that are sent, where the app wants such events.
        self.emitter: Emitter | None = None
        self._same_server = is_one_server(app, broker)

    def let_go(
        self,
        request: Request,
        execution: Execution,
        record: bytes | None,
        following: Following | None,
        last: bool = False,
    ) -> bool:
        """Returns whether the outcome is held back until the fetch that comes next, which `last` promises."""
        delivery, outcome = request.delivery, execution.outcome
        assert delivery is not None
        acked = request.acknowledged
        if outcome.state == states.REJECTED and not acked and outcome.value.requeue:
            self.consumer.requeue(delivery)
            return False
        if acked and record is None and following is None:
            return False  # it leaves nothing behind
        held_back = False
        keep = not acked and outcome.state == states.FAILURE and not acks_failure(request.task, outcome.value)
        refused = not acked and outcome.state == states.REJECTED and self.consumer.rejects
        if self._same_server and fits(self.app, following):
            settlement = settlement_of(self.app, self._store(request, record), following)
            sent = self.consumer.settle(delivery, settlement, acked=acked or keep or refused, last=last)
            # Of a late one that dies here the message is still there, and the task runs again.
            held_back = acked and not sent
            if _is_watched(request):
                self.consumer.push()  # hooks and signals come next, and may take their time
        else:
            self._settle_apart(request, record, following, ack=not (acked or keep or refused))
        if following is not None and self.emitter is not None and self.app.amqp.sends_sent_event:
            self.emitter.sent(following.messages)
        if keep:
            self.consumer.bury(delivery, "failed, and acks_on_failure is off")
        elif refused:
            self.consumer.reject(delivery)
        return held_back

    def finish_chords(self) -> None:
        """Send the bodies of chords whose last part was settled here, as far as the answers have come."""
        while answers := self.consumer.ended_chords():
            for answer in answers:
                try:
                    ended = self.app.backend.ended_chord(answer)
                    settlement = settlement_of(self.app, None, followup.finish_chord(self.app, ended))
                    self.consumer.finish_chord(ended.chord, settlement)
                except Exception as exc:  # a border, as for tasks; housekeeping will try again
                    logger.exception("A chord could not be finished: %r", exc, extra={"action": "internal_error"})

    def _settle_apart(self, request: Request, record: bytes | None, following: Following | None, ack: bool) -> None:
        assert request.delivery is not None
        if record is not None:
            self._store_surely(request, record)
        if following is not None:
            settle_apart(self.app, self.broker, following)
        if ack:
            self.consumer.ack(request.delivery)

    def _store_surely(self, request: Request, record: bytes) -> None:
        """A result store that is away makes the worker wait; it does not lose results."""
        backend = self.app.backend
        while True:
            try:
                backend.store(request.id, record)
                return
            except Exception as exc:  # a border: stores of any make raise what they like
                if self.stopping() or not backend.exception_safe_to_retry(exc):
                    raise
                logger.error(
                    "Cannot store the result of %s[%s]: %s. Trying again…", request.name, request.id, exc,
                    extra=request.log_extra("store_failed"),
                )  # fmt: skip
                sleep(1.0)

    def _store(self, request: Request, record: bytes | None) -> Store | None:
        if record is None:
            return None
        backend = self.app.backend
        return Store(backend.get_key_for_task(request.id), record, backend.ttl(record.state), backend.db)  # type: ignore[attr-defined]

    def store_now(self, request: Request, record: bytes) -> None:
        """Store a record of a task that goes on."""
        if self._same_server:
            assert request.delivery is not None
            self.consumer.settle(request.delivery, Settlement(self._store(request, record)), acked=True)
        else:
            self.app.backend.store(request.id, record)


def _is_watched(request: Request) -> bool:
    """Whether somebody's code runs between the settlement and the next task."""
    plan = request.plan
    return bool(
        plan is None or not plan.quiet or request.embed.get("errbacks")
        or signals.task_success.receivers or signals.task_failure.receivers
        or signals.task_retry.receivers or signals.task_postrun.receivers
    )  # fmt: skip
