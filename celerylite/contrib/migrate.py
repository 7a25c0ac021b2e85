"""Move waiting messages between brokers, or between queues of one: what `celerylite migrate` runs.

Both sides are kombu connections, so that any two brokers will do; a message's body is passed on as it is. What is
delayed or set aside in celerylite's own keys does not wait: see `celerylite queue release-delayed`, `celerylite dead`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from kombu.common import maybe_declare
from kombu.entity import Queue
from kombu.exceptions import ContentDisallowed, DecodeError

from celerylite.app import app_or_default
from celerylite.utils.nodenames import worker_direct
from celerylite.utils.text import str_to_list

__all__ = (
    "StopFiltering", "State", "republish", "migrate_task", "migrate_tasks", "move", "task_id_eq", "task_id_in",
    "start_filter", "move_task_by_id", "move_by_idmap", "move_by_taskmap", "move_direct", "move_direct_by_id",
)  # fmt: skip

MOVING_PROGRESS_FMT = "Moving task {state.filtered}/{state.strtotal}: {body[task]}[{body[id]}]"

#: Properties that `publish` has arguments for, or that belong to the way a message came.
_NOT_PASSED_ON = frozenset(
    ("application_headers", "content_type", "content_encoding", "headers", "delivery_info", "delivery_tag",
     "body_encoding", "expiration")
)  # fmt: skip


class StopFiltering(Exception):
    """Raised by a callback that has seen enough messages."""


class State:
    """How far a migration has come."""

    def __init__(self) -> None:
        #: Messages looked at.
        self.count = 0
        #: Messages moved by `move`.
        self.filtered = 0
        #: Messages that were there at the start, as far as the broker could tell.
        self.total_apx = 0

    @property
    def strtotal(self) -> str:
        """The total as text, `?` where it is not known."""
        return str(self.total_apx) if self.total_apx else "?"

    def __repr__(self) -> str:
        return f"^{self.filtered}" if self.filtered else f"{self.count}/{self.strtotal}"


def republish(
    producer: Any,
    message: Any,
    exchange: Any = None,
    routing_key: str | None = None,
    remove_props: Iterable[str] | None = None,
) -> None:
    """Publish a received message as it is; without `exchange` and `routing_key` to where it was sent before."""
    info, properties = message.delivery_info, dict(message.properties or {})
    left_out = _NOT_PASSED_ON if remove_props is None else {*_NOT_PASSED_ON, *remove_props}
    headers = dict(message.headers or {})
    expiration = properties.get("expiration")
    producer.publish(
        message.body,
        exchange=info["exchange"] if exchange is None else exchange,
        routing_key=info["routing_key"] if routing_key is None else routing_key,
        # Compressed it stays, with the header that says so: kombu's producers compress only what they are asked to.
        headers=headers,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        expiration=int(expiration) / 1000 if expiration else None,  # kombu takes seconds, and sends milliseconds
        **{name: value for name, value in properties.items() if name not in left_out},
    )


def migrate_task(producer: Any, body_: Any, message: Any, queues: Mapping[str, str] | None = None) -> None:
    """Publish one message with another broker's producer; `queues` gives new names for exchanges and routing keys."""
    info, names = message.delivery_info, queues or {}
    republish(
        producer,
        message,
        exchange=names.get(info["exchange"]),
        routing_key=names.get(info["routing_key"]),
    )


def task_id_eq(task_id: str, body: Mapping[str, Any], message: Any) -> bool:
    """Whether this is the task."""
    return bool(body["id"] == task_id)


def task_id_in(ids: Iterable[str], body: Mapping[str, Any], message: Any) -> bool:
    """Whether this is one of the tasks."""
    return body["id"] in ids


def prepare_queues(queues: Any) -> dict[str, str]:
    """Old name → new name, from `a,b:c`, from a list of such words, or from a mapping."""
    if isinstance(queues, str):
        queues = queues.split(",")
    if isinstance(queues, Mapping):
        return dict(queues)
    pairs = (str(word).strip().partition(":") for word in queues or ())
    return {old: new or old for old, _, new in pairs}


def expand_dest(ret: Any, exchange: Any, routing_key: str | None) -> tuple[Any, str | None]:
    """Where a predicate's answer sends a message: its (exchange, routing key), a queue's name, else the given pair."""
    if isinstance(ret, str):
        return "", ret
    try:
        found, key = ret
    except (TypeError, ValueError):
        return exchange, routing_key
    return found, key


def call_of(message: Any) -> dict[str, Any]:
    """What a message says of its call: `id`, `task`, `args`, `kwargs` and the rest, for both message protocols.

    Arguments in a format that is not accepted here are None.
    """
    headers = dict(message.headers or {})
    try:
        payload = message.payload
    except (ContentDisallowed, DecodeError):
        payload = None
    if isinstance(payload, Mapping):
        return {"id": None, "task": None, **headers, **payload}
    args, kwargs = payload[:2] if isinstance(payload, list | tuple) and len(payload) >= 2 else (None, None)
    return {"id": None, "task": None, **headers, "args": args, "kwargs": kwargs}


def filter_callback(callback: Callable[..., Any], tasks: Iterable[str] | None) -> Callable[[Any, Any], Any]:
    """`callback(body, message)` for messages of these tasks only."""
    wanted = set(tasks or ())

    def filtered(body: Mapping[str, Any], message: Any) -> Any:
        return callback(body, message) if not wanted or body["task"] in wanted else None

    return filtered


def filter_status(state: State, body: Mapping[str, Any], message: Any, **kwargs: Any) -> None:
    """Print how far it has come; a `callback` for the functions below."""
    print(MOVING_PROGRESS_FMT.format(state=state, body=body, message=message, **kwargs))


class Filterer:
    """Looks at waiting messages one after the other. See `start_filter` for the arguments."""

    def __init__(
        self,
        app: Any,
        conn: Any,
        filter: Callable[[Any, Any], Any],
        limit: int | None = None,
        timeout: float = 1.0,
        ack_messages: bool = False,
        tasks: Any = None,
        queues: Any = None,
        callback: Callable[..., Any] | None = None,
        forever: bool = False,
        on_declare_queue: Callable[[Any], Any] | None = None,
        consume_from: Any = None,
        state: State | None = None,
        accept: Any = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.conn = conn
        #: How many to look at.
        self.limit = limit
        self.timeout = timeout
        self.forever = forever
        self.ack_messages = ack_messages
        self.queues = prepare_queues(queues)
        self.on_declare_queue = on_declare_queue
        self.accept = accept
        self.state = state or State()
        self.consume_from = [
            _queue_named(app, queue) for queue in (consume_from or self.queues or app.amqp.queues.consume_from)
        ]
        wanted = str_to_list(tasks) if not isinstance(tasks, str) else tasks.split(",")
        self._filter = filter_callback(filter, wanted)
        self._callback = partial(callback, self.state) if callback is not None else None

    def start(self) -> State:
        """Look until there are no more for `timeout` seconds (for ever, with `forever`), or `limit` were seen."""
        with self.conn.channel() as channel:
            consumer = self.app.amqp.TaskConsumer(channel, queues=self.consume_from, accept=self.accept)
            consumer.on_message = self._on_message
            for queue in consumer.queues:
                self._prepare(queue, channel)
            try:
                with consumer:
                    self._drain()
            except StopFiltering:
                pass  # it has seen enough
        return self.state

    def _drain(self) -> None:
        while True:
            try:
                self.conn.drain_events(timeout=self.timeout)
            except TimeoutError:
                if not self.forever:
                    return

    def _prepare(self, queue: Queue, channel: Any) -> None:
        """Tell who wants to know of the queue, and count what waits in it."""
        if self.on_declare_queue is not None:
            self.on_declare_queue(queue)
        try:
            self.state.total_apx += queue(channel).queue_declare(passive=True).message_count
        except self.conn.channel_errors:
            pass  # there is no such queue, or the broker does not count

    def _on_message(self, message: Any) -> None:
        body = call_of(message)
        self.state.count += 1
        self._filter(body, message)
        if self.ack_messages and not message.acknowledged:
            message.ack()
        if self._callback is not None:
            self._callback(body, message)
        if self.limit and self.state.count >= self.limit:
            raise StopFiltering


def _queue_named(app: Any, queue: Any) -> Queue:
    """A queue as the settings have it, else one of that name."""
    if isinstance(queue, Queue):
        return queue
    return app.amqp.queues.get(queue) or Queue(queue, routing_key=queue)


def start_filter(app: Any, conn: Any, filter: Callable[[Any, Any], Any], *args: Any, **kwargs: Any) -> State:
    """Call `filter(body, message)` for each waiting message; returns the `State`.

    limit (messages to look at), timeout (1.0: seconds without a message after which it is done), ack_messages (take
    them from the source; without, they are given back at the end), tasks (names), queues (names, or old → new),
    callback(state, body, message), forever, on_declare_queue(queue), consume_from (queues), state, accept.
    """
    return Filterer(app, conn, filter, *args, **kwargs).start()


def migrate_tasks(
    source: Any,
    dest: Any,
    migrate: Callable[..., Any] = migrate_task,
    app: Any = None,
    queues: Any = None,
    **kwargs: Any,
) -> State:
    """Publish the messages that wait at one connection at another; `queues` are those to migrate, or old → new names.

    Without `ack_messages` they stay at the source, too. The other arguments are those of `start_filter`.
    """
    app = app_or_default(app)
    names = prepare_queues(queues)
    producer = app.amqp.Producer(dest, auto_declare=False)

    def declare(queue: Queue) -> None:
        new = queue(producer.channel)
        if new.routing_key == queue.name:
            new.routing_key = names.get(queue.name, queue.name)
        if new.exchange.name in names:
            new.exchange.name = names[new.exchange.name]
        new.name = names.get(queue.name, queue.name)
        new.declare()

    move_one = partial(migrate, producer, queues=names)
    return start_filter(app, source, move_one, queues=names, on_declare_queue=declare, **kwargs)


def move(
    predicate: Callable[[Any, Any], Any],
    connection: Any = None,
    exchange: Any = None,
    routing_key: str | None = None,
    source: Any = None,
    app: Any = None,
    callback: Callable[..., Any] | None = None,
    limit: int | None = None,
    transform: Callable[[Any], Any] | None = None,
    **kwargs: Any,
) -> State:
    """Move waiting messages to other queues of their broker, by what `predicate(body, message)` says of each.

    A queue or its name, a pair (exchange, routing key), or any other true value for `exchange` and `routing_key`; false
    leaves the message. `body` has the call's id, task, args, kwargs and headers. `source` are the queues to look in,
    `limit` says how many to move, `transform(answer)` comes first. The rest are arguments of `start_filter`.
    """
    app = app_or_default(app)
    state = kwargs.pop("state", None) or State()
    with app.connection_or_acquire(connection, pool=False) as conn:
        producer = app.amqp.Producer(conn, auto_declare=False)


        def look_at(body: Mapping[str, Any], message: Any) -> None:
            answer = predicate(body, message)
            if not answer:
                return
            target = transform(answer) if transform is not None else answer
            there: tuple[Any, str | None]
            if isinstance(target, Queue):
                maybe_declare(target, conn.default_channel)
                there = (target.exchange.name, target.routing_key) if target.exchange else ("", target.name)
            else:
                there = expand_dest(target, exchange, routing_key)
            republish(producer, message, *there)
            message.ack()
            state.filtered += 1
            if callback is not None:
                callback(state, body, message)
            if limit and state.filtered >= limit:
                raise StopFiltering

        return start_filter(app, conn, look_at, consume_from=source, state=state, **kwargs)


def move_task_by_id(task_id: str, dest: Any, **kwargs: Any) -> State:
    """Find a waiting task and move it to another queue; arguments as `move`."""
    return move_by_idmap({task_id: dest}, **kwargs)


def move_by_idmap(map: Mapping[str, Any], **kwargs: Any) -> State:
    """Move tasks by a mapping of ids to queues, until all were found; arguments as `move`."""
    kwargs.setdefault("limit", len(map))
    return move(lambda body, message: map.get(body["id"]), **kwargs)


def move_by_taskmap(map: Mapping[str, Any], **kwargs: Any) -> State:
    """Move tasks by a mapping of task names to queues; arguments as `move`."""
    return move(lambda body, message: map.get(body["task"]), **kwargs)


def move_direct(
    predicate: Callable[[Any, Any], Any], connection: Any = None, transform: Any = worker_direct, **kwargs: Any
) -> State:
    """As `move`, with answers that are names of workers: to the queue of that worker alone."""
    return move(predicate, connection, transform=transform, **kwargs)


def move_direct_by_id(task_id: str, dest: Any, transform: Any = worker_direct, **kwargs: Any) -> State:
    """As `move_task_by_id`, with the name of a worker."""
    return move_task_by_id(task_id, dest, transform=transform, **kwargs)
