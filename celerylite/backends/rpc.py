"""Results as messages back to the process that called (`rpc://`), over the broker; they are gone once they were read.

    result_backend = "rpc://"        result_persistent = True    # replies survive a restart of the broker

Only the process that called can have a result, and only once it is there; chords and saved groups need another store.
All threads of a process share one reply queue, which a thread of ours reads from the first wait on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celerylite import brokers, states
from celerylite.backends.base import BaseBackend
from celerylite.brokers.values import Unreadable
from celerylite.exceptions import TimeoutError
from celerylite.message import Message, loads

if TYPE_CHECKING:
    from kombu.entity import Queue

    from celerylite.brokers import Consumer, Delivery

logger = logging.getLogger("celery.backends.rpc")

NO_CHORDS = (
    'The "rpc" result backend does not support chords: results are only seen by the process that called, and a chord '
    "is counted by workers. Use redis:// or another store for results."
)
NO_GROUPS = 'The "rpc" result backend cannot save groups: a result can be read once, by the process that called.'
#: Seconds of one wait for replies.
WAIT = 60.0
#: How many replies are taken in one go.
BATCH = 100
#: How many replies are kept for tasks that nobody has asked about yet.
KEPT = 10_000


class Reply:
    """A record that is ready to be sent; nothing where the caller wants no reply."""

    def __init__(self, message: Message | None, state: str) -> None:
        self.message = message
        self.state = state


class RPCBackend(BaseBackend):
    """See the module."""

    persistent = False
    supports_autoexpire = True
    supports_native_join = True

    def __init__(
        self,
        app: Any,
        connection: Any = None,
        exchange: Any = None,
        exchange_type: str | None = None,
        persistent: bool | None = None,
        serializer: str | None = None,
        auto_delete: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(app, serializer, **kwargs)
        self.persistent = self.prepare_persistent(persistent)
        self.delivery_mode = 2 if self.persistent else 1
        self.auto_delete = auto_delete
        self._changed = threading.Condition()
        #: The last record of each task that has answered.
        self._records: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._reader: Reader | None = None
        self._prepared: set[str] = set()

    def as_uri(self, include_password: bool = False) -> str:
        """What the banner shows."""
        return "rpc://"

    # -- the caller's queue

    @property
    def oid(self) -> str:
        """The name of this process' reply queue."""
        return self.app.oid

    def reply_queue(self, name: str | None = None) -> Queue:
        """The queue to which workers reply, as Celery declares it: deleted when its reader is gone, or when nobody has
        read for `result_expires`.
        """
        from kombu.entity import Exchange, Queue  # lazy: kombu is imported when the first call is sent

        name = name or self.oid
        return Queue(
            name, Exchange(None), name, durable=True, auto_delete=self.auto_delete, expires=self.expires or None
        )

    binding = property(reply_queue)

    def prepare(self) -> str:
        """Declare the reply queue, before the first call is sent; returns its name."""
        oid = self.oid
        if oid not in self._prepared:
            self.app.broker.declare([self.reply_queue()])
            self._prepared.add(oid)
        return oid

    # -- the worker's side

    def record(self, task_id: str, state: str, result: Any, traceback: Any = None, request: Any = None) -> Reply:
        """The reply, encoded. Raises kombu's `EncodeError`."""
        reply_to = getattr(request, "reply_to", None)
        if not reply_to:
            return Reply(None, state)
        meta = {
            "task_id": task_id,
            "status": state,
            "result": self.encode_result(result, state),
            "traceback": traceback,
            "children": self.current_task_children(request),
        }
        body = self.codec.encode(meta)
        properties = {
            "correlation_id": getattr(request, "correlation_id", None) or task_id,
            "delivery_mode": self.delivery_mode,
        }
        payload = body.encode("utf-8") if isinstance(body, str) else body
        message = Message({}, payload, self.content_type, self.content_encoding, properties, "", reply_to)
        return Reply(message, state)

    def store(self, task_id: str, record: Any, state: str | None = None) -> None:
        """Send a reply."""
        if record.message is not None:
            self.app.broker.publish(record.message)

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        self.store(task_id, self.record(task_id, state, result, traceback, request))
        return result

    # -- the caller's side

    def _read(self) -> None:
        with self._changed:
            if self._reader is None or not self._reader.is_alive():
                self._reader = Reader(self, self.prepare())
                self._reader.start()

    def _arrived(self, meta: dict[str, Any]) -> None:
        """A reply has come; the reader calls."""
        with self._changed:
            task_id = meta["task_id"]
            known = self._records.get(task_id)
            if known is None or known["status"] not in states.READY_STATES:
                self._records[task_id] = meta
            while len(self._records) > KEPT:
                self._records.popitem(last=False)
            self._changed.notify_all()

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        self._read()
        return self._records.get(task_id) or {"result": None, "status": states.PENDING}

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        max_iterations: int | None = None,
        READY_STATES: Any = states.READY_STATES,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, record) of tasks as they become ready."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pending = dict.fromkeys(map(str, task_ids))
        rounds = 0
        while pending:
            for task_id in list(pending):
                meta = self.get_task_meta(task_id)
                if meta["status"] in READY_STATES:
                    del pending[task_id]
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
            rounds += 1
            if not pending or (max_iterations and rounds >= max_iterations):
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"Operation timed out ({timeout})")
            if on_interval is not None:
                on_interval()
            self._pause(interval if deadline is None else min(interval, max(0.0, deadline - time.monotonic())))

    def _pause(self, seconds: float) -> None:
        # Short, because the reply may have come between the look and the wait.
        with self._changed:
            self._changed.wait(min(seconds, 0.05))

    def _forget(self, task_id: str) -> None:
        with self._changed:
            self._records.pop(task_id, None)

    def on_after_fork(self) -> None:
        """A child has another reply queue, and another reader."""
        self._changed = threading.Condition()
        self._records, self._reader, self._prepared = OrderedDict(), None, set()

    def stop_reading(self) -> None:
        """Stop reading replies, until somebody waits again."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()

    # -- what cannot be

    def ensure_chords_allowed(self) -> None:
        """Chords are counted by workers."""
        raise NotImplementedError(NO_CHORDS)

    def _save_group(self, group_id: str, result: Any) -> Any:
        raise NotImplementedError(NO_GROUPS)

    _restore_group = _delete_group = _save_group  # type: ignore[assignment]

    def reload_task_result(self, task_id: str) -> None:
        """A reply is read once."""
        raise NotImplementedError("reload_task_result is not supported by this backend.")

    def reload_group_result(self, group_id: str) -> None:
        """As above."""
        raise NotImplementedError("reload_group_result is not supported by this backend.")

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        own = {"persistent": self.persistent, "auto_delete": self.auto_delete}
        return super().__reduce__(args, {**own, **(kwargs or {})})


class Reader(threading.Thread):
    """Reads the reply queue of this process."""

    def __init__(self, backend: RPCBackend, oid: str) -> None:
        super().__init__(daemon=True, name="rpc-results")
        self.backend = backend
        self.broker = brokers.connect(
            backend.app, backend.app.connection_for_read(), find_queue=lambda name: backend.reply_queue(name)
        )
        self.consumer: Consumer = self.broker.consumer([oid], serial=True, lease=30.0)
        self._stopping = False

    def run(self) -> None:
        """Read until stopped."""
        if self.consumer.open(lambda: self._stopping):
            while not self._stopping:
                for delivery in self.consumer.fetch(BATCH, WAIT):
                    self._take(delivery)
        self.consumer.close()
        self.broker.close()

    def _take(self, delivery: Delivery) -> None:
        backend = self.backend
        self.consumer.ack(delivery)
        try:
            message = self.consumer.read(delivery)
            body = loads(message.body, message.content_type, message.content_encoding, backend.accept)
            backend._arrived(backend.meta_from_decoded(body))
        except Unreadable as exc:
            logger.error("An unreadable reply was dropped: %s", exc, extra={"action": "unreadable"})
        except Exception:  # a border: whatever a deserializer raises on hostile bytes
            logger.exception("A reply could not be read and was dropped", extra={"action": "unreadable"})

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self.consumer.end()
        self.join(5)
