"""A task process is gone: give back what it had not started, and decide about what it was running.

A task that was acknowledged early is lost with its process and fails with `WorkerLostError`; one that acknowledges
late fails too, unless `reject_on_worker_lost` sends it back (a limited number of times) or `retry_on_worker_lost`
retries it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from celerylite import signals
from celerylite.brokers.envelope import decode
from celerylite.brokers.values import Delivery
from celerylite.context import pop, push
from celerylite.exceptions import MaxRetriesExceededError, Retry, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from celerylite.execution import Execution, Outcome, plan_for
from celerylite.followup import call_errbacks, follow
from celerylite.utils.einfo import ExceptionInfo
from celerylite.worker.acks import acks_failure
from celerylite.worker.children import describe
from celerylite.worker.request import Request
from celerylite.worker.settling import settle_apart, settle_refused

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers import Broker, Keeper
    from celerylite.worker.board import Running
    from celerylite.worker.emitter import Emitter
    from celerylite.worker.options import WorkerOptions

logger = logging.getLogger("celery.worker.request")


@dataclass(slots=True)
class Loss:
    """What the parent knows of a task process that has ended."""

    #: Which of its children it was (the parent's number for it).
    number: int
    name: str
    pid: int
    consumer_id: str
    #: The status that `waitpid` gave.
    status: int
    #: Seconds of the hard limit for which it was killed, or None.
    timeout: float | None = None
    #: Whether the worker itself ended it (cold shutdown).
    wanted: bool = False
    #: The signal with which somebody had its task ended, or None.
    terminated: int | None = None
    #: What it was running.
    running: list[Running] = field(default_factory=list)


def settle_loss(
    app: Celery,
    options: WorkerOptions,
    broker: Broker,
    keeper: Keeper,
    loss: Loss,
    events: Emitter | None = None,
) -> None:
    """Leave nothing behind of a dead task process; may be repeated after a broken connection."""
    held = keeper.abandon(loss.consumer_id, [running.tag for running in loss.running])
    for running in loss.running:
        delivery = _take(held, running)
        _Mourning(app, options, broker, keeper, loss, running, delivery, events).settle()
    for delivery in held:  # in the inbox without having been started
        keeper.give_back(loss.consumer_id, delivery)


def _take(held: list[Delivery], running: Running) -> Delivery | None:
    """The message that was running, if the broker still has it as held."""
    for delivery in held:
        if delivery.tag == running.tag and (running.tag or delivery.raw.startswith(running.raw)):
            held.remove(delivery)
            if not delivery.raw and running.whole:  # only the board has it
                delivery.raw = running.raw
            return delivery
    return None


class _Mourning:
    """One task that lost its process."""

    def __init__(
        self,
        app: Celery,
        options: WorkerOptions,
        broker: Broker,
        keeper: Keeper,
        loss: Loss,
        running: Running,
        delivery: Delivery | None,
        events: Emitter | None,
    ) -> None:
        self.app = app
        self.events = events
        self.options = options
        self.broker = broker
        self.keeper = keeper
        self.loss = loss
        self.running = running
        self.delivery = delivery
        self.how = describe(loss.status)

    def settle(self) -> None:
        """Give back, retry or fail."""
        if self.loss.terminated is not None:
            self._on_terminated(self.loss.terminated)
            return
        if self.running.acked and self.delivery is not None:
            # Its acknowledgement never went out, so it had not started.
            self.keeper.give_back(self.loss.consumer_id, self.delivery)
            return
        late = not self.running.acked
        if late and self.delivery is None:
            return  # settled before the process died, or in other hands by now
        request = self._request()
        if request is None or request.plan is None:
            self._give_back(count=True)
            return
        if self.loss.wanted:
            self._give_back(count=False)
            return
        if self.loss.timeout is not None:
            self._on_timeout(request, self.loss.timeout)
        else:
            self._on_lost(request)

    def _request(self) -> Request | None:
        if self.delivery is None and not self.running.whole:
            logger.error("A task was lost with its process, and its message was too large to be kept on the board")
            return None
        raw = self.delivery.raw if self.delivery is not None else self.running.raw
        return read_lost(self.app, self.options, self.delivery, raw)

    def _on_terminated(self, signum: int) -> None:
        """Somebody wanted its end: it is revoked, and its message done with, even if it was not acknowledged."""
        if not self.running.acked and self.delivery is None:
            return  # settled just before
        request = self._request()
        if request is not None and request.plan is not None:
            store = not request.plan.ignore_result
            settle_refused(self.app, self.broker, request, "REVOKED", TaskRevokedError("terminated"), store)
            logger.info(
                "Task %s[%s] was terminated (%s)", request.name, request.id, describe(-signum),
                extra=request.log_extra("terminated"),
            )  # fmt: skip
            if self.events is not None:
                self.events.revoked(request, terminated=True, signum=signum, expired=False)
            signals.task_revoked.send(
                sender=request.task, request=request, terminated=True, signum=signum, expired=False
            )
        self._acknowledge()

    def _on_timeout(self, request: Request, limit: float) -> None:
        logger.error(
            "Hard time limit (%ss) exceeded for %s[%s]", limit, request.name, request.id,
            extra=request.log_extra("timeout"),
        )  # fmt: skip
        request.on_timeout(False, limit)
        if self.delivery is not None and not acks_failure(request.task, TimeLimitExceeded(limit)):
            self._give_back(count=True)
            return
        self._fail(request, TimeLimitExceeded(limit))

    def _on_lost(self, request: Request) -> None:
        task = request.task
        exc = WorkerLostError(f"Worker exited prematurely: {self.how}.")
        logger.error(
            "Process %r pid:%s exited with %r while it ran %s[%s]", self.loss.name, self.loss.pid, self.how,
            request.name, request.id, extra=request.log_extra("worker_lost"),
        )  # fmt: skip
        if _setting(task, "retry_on_worker_lost") and self._retry(request, exc):
            return
        if self.delivery is not None and _setting(task, "reject_on_worker_lost"):
            self._give_back(count=True)
            return
        self._fail(request, exc)

    def _retry(self, request: Request, exc: WorkerLostError) -> bool:
        """Send the task again as `Task.retry` would; False where its retries are used up or sending fails."""
        execution = _execution(request)
        task = request.task
        token = push(task, execution.context)
        try:
            task.retry(exc=exc, throw=True)
        except Retry as retry:
            execution.outcome = Outcome("RETRY", retry, ExceptionInfo((Retry, retry, None)))
        except (WorkerLostError, MaxRetriesExceededError):
            return False
        finally:
            pop(token)
        record = task.backend.record(request.id, "RETRY", exc, None, request=execution.context)
        _leave(self.app, self.broker, execution, record)
        if self.events is not None:
            self.events.ended(request, execution.outcome)
        self._acknowledge()
        return True

    def _fail(self, request: Request, exc: Exception) -> None:
        fail_lost(self.app, self.broker, request, exc, self.events)
        self._acknowledge()

    def _acknowledge(self) -> None:
        # Last: dying before this repeats the storing, it loses nothing.
        if self.delivery is not None:
            self.keeper.discard(self.loss.consumer_id, self.delivery)

    def _give_back(self, *, count: bool) -> None:
        if self.delivery is not None:
            limit = self.options.delivery_limit
            buried = partial(fail_buried, self.app, self.options, self.broker, events=self.events)
            self.keeper.give_back(self.loss.consumer_id, self.delivery, count=count, limit=limit, on_buried=buried)


def fail_buried(
    app: Celery, options: WorkerOptions, broker: Broker, raw: bytes, reason: str, events: Emitter | None = None
) -> None:
    """A message was set aside because workers die of it: whoever waits for its result must hear of it."""
    logger.error("Message set aside (celerylite dead): %s", reason, extra={"action": "buried"})
    request = read_lost(app, options, None, raw)
    if request is not None and request.plan is not None:
        fail_lost(app, broker, request, WorkerLostError(f"set aside: {reason}"), events)


def read_lost(app: Celery, options: WorkerOptions, delivery: Delivery | None, raw: bytes) -> Request | None:
    """The request in a message whose process is gone, or None where it cannot be read."""
    try:
        request = Request.from_message(delivery, decode(raw), options.accept, options.hostname)
    except Exception:  # a border: whatever a deserializer raises on hostile bytes
        logger.exception("Cannot read the message of a task that was lost")
        return None
    task = app.tasks.get(request.name)
    request.plan = plan_for(task) if task is not None else None
    return request


def fail_lost(
    app: Celery, broker: Broker, request: Request, exc: Exception, events: Emitter | None = None
) -> None:
    """Mark a task as failed that cannot do so itself, and call its errbacks."""
    execution = _execution(request)
    einfo = ExceptionInfo((type(exc), exc, None))
    execution.outcome = Outcome("FAILURE", exc, einfo)
    task = request.task
    wanted = not execution.ignore_result or task.store_errors_even_if_ignored
    record = task.backend.record(request.id, "FAILURE", exc, einfo.traceback, request=execution.context)
    _leave(app, broker, execution, record if wanted else None)
    call_errbacks(execution)
    request.on_failure(einfo)
    if events is not None:
        events.ended(request, execution.outcome)
    signals.task_failure.send(
        sender=task, task_id=request.id, exception=exc, args=request.args, kwargs=request.kwargs,
        traceback=None, einfo=einfo,
    )  # fmt: skip


def _leave(app: Celery, broker: Broker, execution: Execution, record: bytes | None) -> None:
    if record is not None:
        app.backend.store(execution.context.id, record)
    settle_apart(app, broker, follow(execution))


def _execution(request: Request) -> Execution:
    assert request.plan is not None
    return Execution(request.plan, request.context(), request.args, request.kwargs, lambda *_: None)


def _setting(task: Any, name: str) -> bool:
    return bool(getattr(task, name, None))
