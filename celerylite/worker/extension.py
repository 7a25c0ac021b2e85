"""The steps of a project (`app.steps`): made in the worker's main process before it forks, started and stopped in its
control process, by a thread of their own. Only imported where there are some.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from celerylite.bootsteps import Blueprint
from celerylite.platforms import EX_FAILURE
from celerylite.utils.timer2 import Timer
from celerylite.worker.node import Refused

if TYPE_CHECKING:
    from celerylite.worker.controller import WorkController
    from celerylite.worker.node import Node

logger = logging.getLogger("celery.worker")

#: Keywords of a worker that steps are not given, as in Celery.
NOT_FOR_STEPS = frozenset({"queues", "exclude_queues", "include", "pidfile", "ready_callback", "use_eventloop"})
#: Seconds that the worker's start waits for the first connection of consumer steps.
START_PATIENCE = 5.0
#: Seconds that the worker's end waits for steps to stop.
STOP_PATIENCE = 30.0
#: Seconds of a wait for messages, and so until a consumer notices that it shall stop.
WAIT = 0.5
#: Seconds between tries to connect, at first and at most.
PAUSE, PAUSE_MOST = 0.5, 5.0


class Extension:
    """The steps of one worker. `start` once, in the process where they run; `close` when the worker begins to end."""

    def __init__(self, worker: WorkController, kwargs: dict[str, Any]) -> None:
        self.worker, self.consumer = worker, worker.consumer
        steps = worker.app.steps
        kwargs = {name: value for name, value in kwargs.items() if name not in NOT_FOR_STEPS}
        #: Not started before the fork, whatever steps may want of it by then.
        self.timer = worker.timer = Timer(on_exit=self.ask_to_end, held=True)
        worker.blueprint = Blueprint(steps["worker"], name="Worker")
        self.consumer.blueprint = Blueprint(steps["consumer"], name="Consumer")
        worker.blueprint.apply(worker, **kwargs)
        self.consumer.blueprint.apply(self.consumer, **kwargs)
        self.consuming: Consuming | None = None
        self._on_started: Callable[[], None] = lambda: None
        self._closing = threading.Event()
        self._terminate = False
        self._thread: threading.Thread | None = None

    def start(self, node: Node, on_started: Callable[[], None]) -> None:
        """Start the steps; `on_started` is called when that is done, and not at all where one of them fails."""
        self.consumer.attach(node)
        self.worker.node, self.worker.pool = node, self.consumer.pool
        self._on_started = on_started
        # Made here: one that is made before a fork counts as ended after it.
        self._thread = threading.Thread(target=self._run, name="steps", daemon=True)
        self._thread.start()

    def close(self, terminate: bool = False) -> None:
        """Let the steps stop, or be terminated; only asks, and may be called again."""
        self._terminate = self._terminate or terminate
        self._closing.set()

    def join(self, timeout: float = STOP_PATIENCE) -> None:
        """Wait until all have stopped, but not for ever: the worker must end."""
        if self._thread is None:
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.error(
                "The worker's own steps have not stopped within %s s; ending without them", timeout,
                extra={"action": "steps_stuck"},
            )  # fmt: skip

    # -- the thread

    def _run(self) -> None:
        worker, blueprint = self.worker, self.worker.blueprint
        self.timer.release()
        if self._start():
            self._on_started()
            self._closing.wait()
        self.timer.stop()
        blueprint.close(worker)
        # In Celery's order: what consumes ends first, and is told last that the worker has stopped.
        if self.consuming is not None:
            self.consuming.stop()
        blueprint.stop(worker, close=False, terminate=self._terminate)
        if self.consuming is not None:
            self.consuming.shut_down()

    def _start(self) -> bool:
        """Start all; False where one has failed, and the worker was told to end."""
        try:
            self.worker.blueprint.start(self.worker)
        except (Exception, SystemExit) as exc:  # a border: users' steps
            self.fail(self.worker, exc)
            return False
        if not self.consumer.steps:
            return True
        self.consuming = Consuming(self)
        return self.consuming.start()

    def fail(self, parent: Any, exc: BaseException) -> None:
        """A step could not start, or wants the worker to end. Those before it have something to stop."""
        number = max(parent.blueprint.started - 1, 0)
        if not isinstance(exc, SystemExit):
            step = parent.steps[number].name if parent.blueprint.started else "Connection"
            logger.critical(
                "Step %s failed to start: %r; the worker ends", step, exc, exc_info=exc, extra={"action": "step_failed"}
            )
        del parent.steps[number:]
        parent.blueprint.started = len(parent.steps)
        self.ask_to_end(exc)

    def ask_to_end(self, exc: BaseException | None = None) -> None:
        """Shut the worker down, warmly; with the exit code of a `SystemExit`, with 1 for other exceptions."""
        exitcode = exc.code if isinstance(exc, SystemExit) else exc and EX_FAILURE
        try:
            self.consumer.node.ask_parent("shutdown", exitcode=exitcode if isinstance(exitcode, int) else None)
        except Refused as refused:
            logger.error("The worker cannot be told to end: %s", refused)


class Consuming:
    """Runs the consumer steps: a connection of its own, drained by a thread, and both anew when it was lost."""

    def __init__(self, extension: Extension) -> None:
        self.extension = extension
        self.consumer = extension.consumer
        self._settled = threading.Event()
        self._failed = False
        #: Whether all steps have started.
        self._running = False
        self._stopping, self._stopped, self._ending = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="consumer-steps", daemon=True)

    def start(self) -> bool:
        """Returns when the steps have started, or after some seconds without a broker; False where one has failed."""
        self._thread.start()
        self._settled.wait(START_PATIENCE)
        return not self._failed

    def stop(self) -> None:
        """Stop the steps, and wait until they have."""
        self._stopping.set()
        self._stopped.wait(STOP_PATIENCE)

    def shut_down(self) -> None:
        """Call the steps' `shutdown`, close the connection, and end the thread."""
        self._ending.set()
        self._thread.join(STOP_PATIENCE)

    # -- the thread, which alone uses the connection

    def _run(self) -> None:
        consumer, pause = self.consumer, PAUSE
        while not self._stopping.is_set():
            try:
                self._connect()
                pause = PAUSE
                self._drain()
            except Exception as exc:  # a border: connections break in many ways, and steps are the user's
                if not isinstance(exc, self._errors()):
                    self._end(exc)
                    break
                self._disconnect(exc)
                self._stopping.wait(pause)
                pause = min(2 * pause, PAUSE_MOST)
            except SystemExit as exc:
                self._end(exc)
        consumer.blueprint.stop(consumer)
        self._stopped.set()
        self._ending.wait()
        consumer.blueprint.send_all(consumer, "shutdown", propagate=False)
        self._close_connection()

    def _connect(self) -> None:
        """Connect and start the steps, unless that was done."""
        consumer = self.consumer
        if consumer.blueprint.started:
            return
        consumer.connection = consumer.connection_for_read()
        consumer.connection.connect()
        consumer.restart_count += 1
        consumer.blueprint.start(consumer)
        for step in consumer.steps:
            for each in getattr(step, "consumers", None) or ():
                _guard(each)
        if consumer.init_callback is not None:
            consumer.init_callback(consumer)
        self._running = True
        self._settled.set()

    def _drain(self) -> None:
        """Have messages handled until we shall stop."""
        connection, errors = self.consumer.connection, self._errors()
        while not self._stopping.is_set():
            try:
                connection.drain_events(timeout=WAIT)
            except TimeoutError as exc:
                if exc.errno:  # the network's, not that of our wait
                    raise
                if connection.supports_heartbeats and connection.get_heartbeat_interval():
                    connection.heartbeat_check()
            except errors:
                raise
            except Exception as exc:  # a border: consumers that no step has told us of, messages that cannot be read
                _log_failure(exc)

    def _errors(self) -> tuple[type[Exception], ...]:
        """What means that everything must begin anew; an error of a channel at the start is a fault of the step."""
        connection = self.consumer.connection
        found = [*connection.connection_errors, *(connection.channel_errors if self._running else ())]
        # kombu's list for Redis has it; here it is a mistake in a step.
        return tuple(error for error in found if error is not KeyError)

    def _disconnect(self, exc: Exception) -> None:
        consumer = self.consumer
        if self._running or not self._settled.is_set():  # once for each outage
            logger.warning(
                "Consumer steps: connection to broker lost. Trying to re-establish the connection... (%s)", exc,
                extra={"action": "connection_lost"},
            )  # fmt: skip
        self._running = False
        if consumer.blueprint.started:
            consumer.blueprint.restart(consumer)
        consumer.blueprint.started = 0
        self._close_connection()
        self._settled.set()  # whoever waits for our start shall not wait for a broker

    def _end(self, exc: BaseException) -> None:
        """Steps want the worker to end, or one of them could not start."""
        self._failed = not self._settled.is_set()
        self._stopping.set()
        if self._running:
            self.extension.ask_to_end(exc)
        else:
            self.extension.fail(self.consumer, exc)
        self._settled.set()

    def _close_connection(self) -> None:
        try:
            self.consumer.connection.close()
        except Exception as exc:  # a border: it may be broken in any way
            logger.debug("Closing the connection of consumer steps: %r", exc)


def _guard(consumer: Any) -> None:
    """Log what a kombu consumer's callbacks raise, for an `OSError` of theirs would look like one of the connection.

    Their message stays unacknowledged.
    """
    for name in ("on_message", "receive"):
        call = getattr(consumer, name, None)
        if call is not None:
            setattr(consumer, name, partial(_call_guarded, call))


def _call_guarded(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as exc:  # a border: users' callbacks
        return _log_failure(exc)


def _log_failure(exc: Exception) -> None:
    logger.error("A consumer step failed: %r", exc, exc_info=exc, extra={"action": "step_failed"})
