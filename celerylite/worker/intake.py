"""The way in: a delivery becomes a request that may run, or is dealt with here (unreadable, unknown, not due, expired).

Whatever cannot run is logged once and set aside where it can be looked at; nothing in a message can stop the worker.
"""

from __future__ import annotations

import logging
import time
from difflib import get_close_matches
from typing import TYPE_CHECKING

from celerylite import signals
from celerylite.brokers.envelope import deliveries
from celerylite.brokers.values import DELIVERY_COUNT, LIMITED, Unreadable
from celerylite.exceptions import ImproperlyConfigured, InvalidTaskError, NotRegistered, TaskRevokedError
from celerylite.execution import Plan, plan_for, safe_repr
from celerylite.worker.loss import fail_buried
from celerylite.worker.rate_limits import Limiter
from celerylite.worker.request import Request
from celerylite.worker.revoked import Revoked
from celerylite.worker.settling import settle_refused
from celerylite.worker.strategy import OWN_STRATEGY, own_strategy, request_class

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers import Broker, Consumer, Delivery
    from celerylite.message import Message
    from celerylite.worker.directives import Directives
    from celerylite.worker.emitter import Emitter
    from celerylite.worker.options import WorkerOptions

# Celery's loggers.
logger = logging.getLogger("celery.worker.consumer.consumer")
strategy_logger = logging.getLogger("celery.worker.strategy")
request_logger = logging.getLogger("celery.worker.request")

UNKNOWN_TASK = """\
Received unregistered task of type %s.
The message has been ignored and set aside (celerylite dead).

%sDid you remember to import the module containing this task?
Or maybe you're using relative imports?

The full contents of the message body was:
%s

The full contents of the message headers:
%s

The delivery info for this task is:
%s
"""

INVALID_TASK = """\
Received invalid task message: %s
The message has been ignored and set aside (celerylite dead).

The full contents of the message body was:
%s
"""

BODY_ERROR = "Can't decode message body: %r [type:%r encoding:%r headers:%s]. It was set aside (celerylite dead)."
UNREADABLE = "Received and set aside unknown message (celerylite dead): %s. It begins with %r"


class Intake:
    """Turns deliveries into requests for one task process."""

    def __init__(
        self, app: Celery, options: WorkerOptions, consumer: Consumer, broker: Broker, directives: Directives
    ) -> None:
        self.app = app
        self.directives = directives
        self.broker = broker
        self.options = options
        self.consumer = consumer
        self._plans: dict[str, Plan] = {}
        #: Task -> the class of its requests.
        self._classes: dict[str, type[Request]] = {}
        #: Whom to tell of each task; None while events are off.
        self.events: Emitter | None = None
        self.revoked = Revoked(directives)
        self.limiter = Limiter(app, options, broker, directives)
        #: Task -> its rate limit; empty as long as none has one.
        self.limits = self.limiter.limits

    def request(self, delivery: Delivery) -> Request | None:
        """The request in a delivery, or None where it was dealt with."""
        try:
            message = self.consumer.read(delivery)
        except Unreadable as exc:
            logger.error(UNREADABLE, exc, delivery.raw[:200], extra={"action": "unreadable"})
            self._refuse(delivery, None, exc, f"not a message: {exc}")
            return None
        name = message.headers.get("task")
        plan = self._plan(name) if isinstance(name, str) else None
        request = self._read(delivery, message, plan)
        if request is None:
            return None
        request.plan = plan or self._plan(request.name)
        if request.plan is None:
            self._has_strategy(request) if request.name in self.app.tasks else self._unknown(request)
            return None
        return self._admit(request)

    def _read(self, delivery: Delivery, message: Message, plan: Plan | None) -> Request | None:
        cls = self._classes[plan.name] if plan is not None else Request
        try:
            return cls.from_message(delivery, message, self.options.accept, self.options.hostname)
        except InvalidTaskError as exc:
            logger.error(INVALID_TASK, exc, _dump(message), exc_info=True, extra={"action": "invalid"})
            self._refuse(delivery, message, exc, f"invalid task message: {exc}")
        except Exception as exc:  # whatever a deserializer raises on hostile bytes
            headers = safe_repr(message.headers)
            logger.critical(
                BODY_ERROR,
                exc,
                message.content_type,
                message.content_encoding,
                headers,
                extra={"action": "undecodable"},
            )
            self._refuse(delivery, message, exc, f"body cannot be decoded: {safe_repr(exc)}")
        return None

    def _plan(self, name: str) -> Plan | None:
        task = self.app.tasks.get(name)
        if task is None:
            return None
        plan = self._plans.get(name)
        if plan is None or plan.task is not task:
            if own_strategy(task) is not None:
                return None
            plan = self._plans[name] = plan_for(task)
            self._classes[plan.name] = request_class(task)
        return plan

    def _admit(self, request: Request) -> Request | None:
        delivery = request.delivery
        assert delivery is not None
        if request.eta is not None and request.eta > time.time():
            self.consumer.defer(delivery, request.eta)
            return None
        if self.consumer.counts and DELIVERY_COUNT in request.headers and self._came_too_often(request):
            return None
        announced = self.limits and LIMITED in request.headers
        if signals.task_received.receivers and not announced:
            signals.task_received.send(sender=self.consumer, request=request)
        if strategy_logger.isEnabledFor(logging.INFO) and not announced:
            extra = request.log_extra("received")
            strategy_logger.info("Task %(name)s[%(id)s] received", extra["data"], extra=extra)
        if request.expires is not None and request.expired():
            self._discard(request, delivery, "expired")
            return None
        if self.revoked.any and (found := self.revoked.matches(request)) is not None:
            self._discard(request, delivery, "revoked", stamp=found)
            return None
        if self.events is not None and not announced:
            self.events.received(request)
        if self.limits and request.name in self.limits and (left := self.limiter.wait(request)):
            self.consumer.defer(delivery, time.time() + left, {LIMITED: request.name})
            return None
        return request

    def _came_too_often(self, request: Request) -> bool:
        """A quorum queue counts by itself how often a message came back; workers may have died of it, if its task
        acknowledges late. Set aside, the task fails; RabbitMQ's own limit would drop it without a word.
        """
        plan, delivery, limit = request.plan, request.delivery, self.options.delivery_limit
        assert plan is not None and delivery is not None
        count = deliveries(request.headers)
        if plan.early or limit is None or count < limit:
            return False
        reason = f"delivered {count} times, and no worker has finished it"
        fail_buried(self.app, self.options, self.broker, delivery.raw, reason, self.events)
        self.consumer.bury(delivery, reason)
        return True

    def _discard(self, request: Request, delivery: Delivery, reason: str, stamp: str = "") -> None:
        """It is `expired`, or was `revoked` (by a stamp, where one is named): it will not run."""
        assert request.plan is not None
        task = request.plan.task
        store = not request.plan.ignore_result
        settle_refused(self.app, self.broker, request, "REVOKED", TaskRevokedError(reason), store)
        self.consumer.ack(delivery)
        which = f" (revoked by header: {stamp})" if stamp else ""
        request_logger.info(
            "Discarding revoked task: %s[%s]%s", request.name, request.id, which, extra=request.log_extra("revoked")
        )
        if self.events is not None:
            self.events.revoked(request, terminated=False, signum=None, expired=reason == "expired")
        if signals.task_revoked.receivers:
            expired = reason == "expired"
            signals.task_revoked.send(sender=task, request=request, terminated=False, signum=None, expired=expired)

    def _unknown(self, request: Request) -> None:
        message, delivery = request.message, request.delivery
        assert delivery is not None
        exc = NotRegistered(request.name)
        logger.error(
            UNKNOWN_TASK, repr(request.name), self._nearest(request.name), _dump(message),
            safe_repr(message.headers, 4096),
            message.properties.get("delivery_info"), extra=request.log_extra("unknown_task"),
        )  # fmt: skip
        signals.task_unknown.send(sender=self.consumer, message=message, exc=exc, name=request.name, id=request.id)
        store = not request.headers.get("ignore_result")
        settle_refused(self.app, self.broker, request, "FAILURE", exc, store)
        self.consumer.bury(delivery, f"unregistered task {request.name!r}")

    def _has_strategy(self, request: Request) -> None:
        delivery, strategy = request.delivery, self.app.tasks[request.name].Strategy
        assert delivery is not None
        strategy_logger.error(OWN_STRATEGY, request.name, strategy, extra=request.log_extra("own_strategy"))
        exc = ImproperlyConfigured(f"{request.name} has a Strategy of its own, which celerylite's worker does not call")
        settle_refused(self.app, self.broker, request, "FAILURE", exc, not request.headers.get("ignore_result"))
        self.consumer.bury(delivery, str(exc))

    def _nearest(self, name: str) -> str:
        found = get_close_matches(name, list(self.app.tasks), 1)
        return f"Did you mean {found[0]!r}?\n" if found else ""

    def _refuse(self, delivery: Delivery, message: Message | None, exc: Exception, reason: str) -> None:
        signals.task_rejected.send(sender=self.consumer, message=message, exc=exc)
        self.consumer.bury(delivery, reason)


def _dump(message: Message) -> str:
    """The beginning of a body and its size, as Celery logs them."""
    return f"{safe_repr(message.body, 1024)} ({len(message.body)}b)"
