"""Beat's remote control (`beat_enable_remote_control`): it answers `inspect ping`, and nothing else.

A thread with a connection of its own. A beat whose scheduler has stood still for too long keeps silent, so that health
checks fail.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from celerylite import brokers
from celerylite.utils.log import get_logger
from celerylite.utils.nodenames import gethostname, nodename
from celerylite.utils.time import humanize_seconds

if TYPE_CHECKING:
    from celerylite.beat.service import Service

NODENAME_DEFAULT = "celerybeat"

#: Seconds between two looks at whether beat ends.
LOOK = 1.0

logger = get_logger("celery.beat")


def beat_nodename(hostname: str | None = None) -> str:
    """The name by which beat is pinged: celerybeat@host, unless another one is given."""
    return hostname or nodename(NODENAME_DEFAULT, gethostname())


class BeatPidbox:
    """Listens where the workers listen, from `start` to `stop`."""

    #: Seconds to wait after a connection broke.
    retry_interval = 5.0
    #: Seconds that `stop` waits for the thread.
    join_timeout = 3.0
    #: A single slow tick of a scheduler with short intervals is no standstill.
    min_tick_age = 60.0

    def __init__(self, service: Service) -> None:
        self.service = service
        self.app = service.app
        self.hostname = beat_nodename(service.hostname)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # -- is beat alive?

    @property
    def max_tick_age(self) -> float:
        """Seconds after which a scheduler that does not tick counts as stuck; 0 is never."""
        limit = self.app.conf.beat_remote_control_max_tick_age
        if limit is not None:
            return float(limit)
        return max(2.0 * self.service.scheduler.max_interval, self.min_tick_age)

    def tick_age(self) -> float:
        """Seconds since the last tick."""
        return self.service.tick_age()

    def is_stale(self) -> bool:
        """Whether the scheduler stands still."""
        return bool(self.max_tick_age) and self.tick_age() > self.max_tick_age

    # -- the thread

    def start(self) -> None:
        """Listen from now on."""
        self._thread = threading.Thread(target=self._run, name="pidbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(self.join_timeout)

    def _run(self) -> None:
        conf = self.app.conf
        retry = conf.broker_connection_retry_on_startup
        retry = conf.broker_connection_retry if retry is None else retry
        while not self._stopping.is_set():
            try:
                with self.app.connection_for_read() as connection:
                    if not self._listen(connection, retry):
                        return
            except Exception as exc:  # a border: a connection may break in as many ways as there are transports
                if self._stopping.is_set():
                    return
                logger.error("beat pidbox: %r", exc, extra={"action": "pidbox_error"})
                if not retry:
                    logger.error("beat pidbox: Giving up; beat goes on, but answers no ping")
                    return
                self._stopping.wait(self.retry_interval)
            retry = conf.broker_connection_retry

    def _listen(self, connection: Any, retry: bool) -> bool:
        """Answer until beat ends; False where the transport cannot do it."""
        retries = self.app.conf.broker_connection_max_retries if retry else 1
        connection.ensure_connection(self._on_error, retries)
        if "fanout" not in connection.transport.implements.exchange_type:
            logger.warning(
                "beat pidbox: %s has no fan-out: beat cannot be pinged", brokers.as_uri(connection),
                extra={"action": "no_fanout"},
            )  # fmt: skip
            return False
        with connection.channel() as channel:
            node = self.app.control.mailbox.Node(self.hostname, handlers={"ping": _ping}, channel=channel)
            consumer = node.listen(callback=lambda body, message: self._on_message(node, body, message))
            logger.info("beat pidbox: Connected to %s.", brokers.as_uri(connection), extra={"action": "pidbox_ready"})
            while not self._stopping.is_set():
                try:
                    connection.drain_events(timeout=LOOK)
                except TimeoutError:
                    pass  # nobody asked
            consumer.cancel()
        return True

    def _on_error(self, exc: Any, interval: float) -> None:
        logger.error("beat pidbox: Cannot connect: %s. Trying again in %s seconds...", exc, interval)

    def _on_message(self, node: Any, body: Any, message: Any) -> None:
        destination = body.get("destination")
        if body.get("method") != "ping" or (destination and self.hostname not in destination):
            return  # the other commands are for workers
        if self.is_stale():
            logger.warning(
                "beat pidbox: Not answering a ping: the last tick was %s ago", humanize_seconds(self.tick_age()),
                extra={"action": "stale"},
            )  # fmt: skip
            return
        node.handle_message(body, message)


def _ping(state: Any, **kwargs: Any) -> dict[str, str]:
    return {"ok": "pong"}
