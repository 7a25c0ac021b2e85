"""Sending calls: `send_task` for one, `send_tasks` for many in one trip. A part of the `Celery` class."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any
from warnings import warn
from weakref import ReferenceType, ref

from celerylite import context, signals
from celerylite.app.publishing import announce_publish, announce_published
from celerylite.canvas import Dispatch, Signature
from celerylite.canvas.dispatch import collecting, current
from celerylite.exceptions import AlwaysEagerIgnored
from celerylite.message import Message, dumps, read_steps
from celerylite.utils.functional import maybe_list
from celerylite.utils.steps import Steps
from celerylite.utils.uuids import uuid, uuids

if TYPE_CHECKING:
    from celerylite.app.publishing import Destination
    from celerylite.result import AsyncResult

#: How many calls `send_tasks` sends in one trip.
SLICE = 128

#: Stands for an option that the caller left out; None is a value (no expiry, no limit).
OMITTED: Any = object()


class Outgoing:
    """A call that is ready to be written: what the publish signals see."""

    __slots__ = ("body", "headers", "ignore_result", "name", "parent", "properties", "task_id", "to")

    def __init__(
        self, name: str, task_id: str, message: Any, to: Destination, ignore_result: Any, parent: Any
    ) -> None:
        self.name = name
        self.task_id = task_id
        self.headers, self.properties, self.body = message.headers, message.properties, message.body
        self.to = to
        self.ignore_result = ignore_result
        #: The running task that makes the call.
        self.parent = parent

    def written(self) -> Message:
        """Announce the call and write it."""
        to, headers, properties = self.to, self.headers, self.properties
        if to.properties:
            properties.update(to.properties)
        if to.headers:
            headers.update(to.headers)
        if signals.before_task_publish.receivers or signals.after_task_publish.receivers:
            read_steps(self.body)
        if signals.before_task_publish.receivers:
            announce_publish(self.name, headers, self.body, properties, to)
        content_type, encoding, body, more = dumps(self.body, to.serializer, to.compression)
        if more:
            headers.update(more)
        expiration = properties.get("expiration")
        if expiration is not None:
            properties["expiration"] = str(int(expiration * 1000))
        properties["delivery_mode"] = to.delivery_mode
        eta = headers.get("eta")
        due = _time(eta).timestamp() if eta else None
        exchange = to.exchange
        if exchange and not isinstance(exchange, str):
            exchange = exchange.name
        declare = to.declare
        return Message(
            headers,
            body,
            content_type,
            encoding,
            properties,
            exchange,
            to.routing_key,
            due,
            declare[0] if declare else None,
        )


class Sending:
    """The part of `Celery` that sends calls."""

    #: The result of the last call that was made.
    _newest: ReferenceType[AsyncResult[Any]] | None = None

    def send_task(
        self: Any,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        connection: Any = None,
        router: Any = None,
        result_cls: Any = None,
        expires: Any = OMITTED,
        publisher: Any = None,
        link: Any = None,
        link_error: Any = None,
        add_to_parent: bool = True,
        group_id: str | None = None,
        group_index: int | None = None,
        retries: int = 0,
        chord: Any = None,
        reply_to: str | None = None,
        time_limit: Any = OMITTED,
        soft_time_limit: Any = OMITTED,
        root_id: str | None = None,
        parent_id: str | None = None,
        route_name: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        task_type: Any = None,
        replaced_task_nesting: int = 0,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Call a task by its name, which may be one that only a worker knows; options as for
        `Task.apply_async`."""
        if task_type is None:
            if self.conf.task_always_eager:
                warn(AlwaysEagerIgnored("task_always_eager has no effect on send_task"), stacklevel=2)
            expires, time_limit, soft_time_limit = self._options_by_name(
                name, options, expires, time_limit, soft_time_limit
            )
        call = self._compose(
            name, args, kwargs, countdown, eta, task_id, router,
            None if expires is OMITTED else expires, link, link_error, group_id, group_index, retries, chord,
            reply_to, None if time_limit is OMITTED else time_limit,
            None if soft_time_limit is OMITTED else soft_time_limit,
            root_id, parent_id, route_name, shadow, chain, task_type, replaced_task_nesting, options,
        )  # fmt: skip
        headers, to = call.headers, call.to
        producer = producer or publisher
        if producer is None and connection is None and (dispatch := current.get()) is not None:
            self._add(dispatch, call)
        elif producer is not None or connection is not None:
            self._send_with_kombu(call, producer, connection)
        else:
            self.broker.publish(call.written(), retry=to.retry, policy=to.policy)
            announce_published(name, headers, call.body, to)
            if self.amqp.sends_sent_event:
                self.events.tell_sent([call])
        return self._result_of(call, result_cls, add_to_parent)

    def sends_plainly(self: Any, options: dict[str, Any]) -> bool:
        """Whether `send_plain` does what `send_task` would, which users and packages may have replaced."""
        return (
            options.keys() <= _FEW
            and self._sends_itself()
            and self.amqp.writes_plainly
            and current.get() is None
        )

    def _sends_itself(self: Any) -> bool:
        """Whether `send_task` is ours, and not a user's or a package's."""
        return type(self).send_task is _SEND_TASK and "send_task" not in self.__dict__

    def send_plain(self: Any, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult[Any]:
        """What `send_task` does, for options in `_FEW`; most calls are such."""
        call = self._compose_plain(task.name, args, kwargs, uuid(), task, options)
        to = call.to
        self.broker.publish(call.written(), retry=to.retry, policy=to.policy)
        announce_published(call.name, call.headers, call.body, to)
        if self.amqp.sends_sent_event:
            self.events.tell_sent([call])
        return self._result_of(call, None, True)

    def send_tasks(self: Any, calls: Iterable[Any]) -> list[AsyncResult[Any]]:
        """Send many calls in few trips.

        A call is a signature, or a tuple `(task or name, args, kwargs[, options])`. Returns their results, in
        order.
        """
        remaining = iter(calls)
        results: list[AsyncResult[Any]] = []
        # In slices: what is kept alive until the end is walked by the garbage collector again and again (4 µs
        # a call).
        with self.broker.stream() as stream:
            while given := list(islice(remaining, SLICE)):
                plain = self.amqp.writes_plainly
                composed = [
                    self._compose_bulk(call, task_id, plain)
                    for call, task_id in zip(given, uuids(len(given)), strict=True)
                ]
                to = composed[0].to
                stream.send(
                    [call.written() for call in composed],
                    retry=to.retry,
                    policy=to.policy,
                    then=partial(self._sent, composed, results),
                )
        return results

    def _sent(self: Any, composed: list[Outgoing], results: list[AsyncResult[Any]]) -> None:
        """A slice of `send_tasks` has arrived."""
        if signals.after_task_publish.receivers:
            for call in composed:
                announce_published(call.name, call.headers, call.body, call.to)
        if self.amqp.sends_sent_event:
            self.events.tell_sent(composed)
        results.extend([self._result_of(call, None, True) for call in composed])

    # what signatures send

    def _emit_call(
        self: Any, dispatch: Dispatch, task: Any, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> AsyncResult[Any]:
        """Add one call to what a signature sends."""
        if isinstance(task, str):
            task = self._tasks.get(task, task)
        add_to_parent = options.get("add_to_parent", True)
        by_name = isinstance(task, str)
        if not self._sends_itself() or not (by_name or task._is_called_plainly()):
            if type(options.get("chain")) is Steps:
                options["chain"] = options["chain"].read()
            with collecting(dispatch):
                call = partial(self.send_task, task) if by_name else task.apply_async
                return call(args, kwargs, **options)
        task_id = options.get("task_id") or uuid()
        composed = self._compose_bulk((task, args, kwargs, options), task_id, self.amqp.writes_plainly)
        self._add(dispatch, composed)
        return self._result_of(composed, None, add_to_parent)

    def _send_dispatch(self: Any, dispatch: Dispatch, producer: Any = None, connection: Any = None) -> None:
        """Send what a signature has collected; with a producer, or over a connection, where one is given."""
        messages = dispatch.messages
        if dispatch.chords:
            messages = messages + self.backend.start_chords(dispatch.chords)
        if producer is not None or connection is not None:
            self.amqp.publish_messages(producer or self.amqp.Producer(connection, auto_declare=False), messages)
        elif len(messages) == 1:
            self.broker.publish(messages[0], retry=dispatch.retry, policy=dispatch.policy)
        elif messages:
            with self.broker.stream() as stream:
                for start in range(0, len(messages), SLICE):
                    batch = messages[start : start + SLICE]
                    stream.send(batch, retry=dispatch.retry, policy=dispatch.policy, then=_nothing)
        for call in dispatch.calls:
            announce_published(call.name, call.headers, call.body, call.to)
        if self.amqp.sends_sent_event:
            self.events.tell_sent(dispatch.calls)

    def _add(self: Any, dispatch: Dispatch, call: Outgoing) -> None:
        """Add a call to what is collected."""
        if not dispatch.messages:
            dispatch.retry, dispatch.policy = call.to.retry, call.to.policy
        dispatch.messages.append(call.written())
        if signals.after_task_publish.receivers or self.amqp.sends_sent_event:
            dispatch.calls.append(call)

    def _compose_bulk(self: Any, call: Any, task_id: str, plain: bool) -> Outgoing:
        """One call of `send_tasks`; `plain` where the app writes its messages as usual."""
        if isinstance(call, Signature):
            name, args, kwargs, options = call["task"], call["args"], call["kwargs"], dict(call["options"])
            task = call._type
        else:
            name, args, kwargs, *rest = call if len(call) > 2 else (*call, None, None)[:3]
            options = dict(rest[0]) if rest and rest[0] else {}
            task = None
        if not isinstance(name, str):
            task, name = name, name.name
        if task is None:
            task = self._tasks.get(name)
        if task is not None:
            args, kwargs, options = task._prepare_call(args, kwargs, options)
        if options.keys() <= _FEW:
            if plain:
                return self._compose_plain(name, args, kwargs, task_id, task, options)
            return self._compose(name, args, kwargs, task_id=task_id, task_type=task, options=options)
        for key in _NOT_IN_BULK:
            options.pop(key, None)
        if plain and options.keys() <= _FEW_AND_PLACE:
            place = {key: options.pop(key) for key in options.keys() & _PLACE}
            return self._compose_plain(name, args, kwargs, place.pop("task_id", None) or task_id, task, options, place)
        named = {key: options.pop(key) for key in options.keys() & _NAMED}
        named.setdefault("task_id", task_id)
        return self._compose(name, args, kwargs, task_type=task, options=options, **named)

    def _compose_plain(
        self: Any,
        name: str,
        args: Any,
        kwargs: Any,
        task_id: str,
        task: Any,
        options: dict[str, Any],
        place: dict[str, Any] | None = None,
    ) -> Outgoing:
        """What `_compose` does, for options in `_FEW` and a place in a canvas: 6 µs against 11."""
        ignore_result = options.pop("ignore_result", None)
        root_id = parent_id = None
        if place:
            root_id, parent_id = place.pop("root_id", None), place.pop("parent_id", None)
        frame = context.outermost()
        if frame is not None:
            root_id, parent_id = self._inherit(frame.context, root_id, parent_id, options)
        amqp = self.amqp
        to = amqp.destination(name, args, kwargs, options, task)
        message = amqp.as_plain_task(
            task_id, name, args, kwargs, self.thread_oid, ignore_result, root_id, parent_id
        )
        if place:
            _put(message, place)
        return Outgoing(name, task_id, message, to, ignore_result, frame.task if frame is not None else None)

    def _compose(
        self: Any,
        name: str,
        args: Any,
        kwargs: Any,
        countdown: Any = None,
        eta: Any = None,
        task_id: str | None = None,
        router: Any = None,
        expires: Any = None,
        link: Any = None,
        link_error: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        retries: int = 0,
        chord: Any = None,
        reply_to: str | None = None,
        time_limit: Any = None,
        soft_time_limit: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        route_name: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        task_type: Any = None,
        replaced_task_nesting: int = 0,
        options: dict[str, Any] | None = None,
    ) -> Outgoing:
        """Put the headers, the body and the destination of a call together."""
        task_id = task_id or uuid()
        options = {} if options is None else options
        ignore_result = options.pop("ignore_result", None)
        frame = context.outermost()
        if frame is not None and not (root_id and parent_id):
            root_id, parent_id = self._inherit(frame.context, root_id, parent_id, options)
        if expires is not None:
            options["expiration"] = self._seconds_left(task_id, expires)
        origin = argsrepr = kwargsrepr = stamped = stamps = None
        if len(options) > 1:
            origin, argsrepr, kwargsrepr = map(options.get, ("origin", "argsrepr", "kwargsrepr"))
            stamped = options.pop("stamped_headers", None)
            stamps = {header: options.pop(header, None) for header in stamped} if stamped else None
        to = self.amqp.destination(route_name or name, args, kwargs, options, task_type, router)
        message = self.amqp.create_task_message(
            task_id, name, args, kwargs, countdown, eta, group_id, group_index, expires, retries,
            chord, maybe_list(link), maybe_list(link_error), reply_to or self.thread_oid, time_limit,
            soft_time_limit, False, root_id, parent_id, shadow, chain,
            origin=origin, ignore_result=ignore_result, argsrepr=argsrepr, kwargsrepr=kwargsrepr,
            stamped_headers=stamped, replaced_task_nesting=replaced_task_nesting, **(stamps or {}),
        )  # fmt: skip
        return Outgoing(name, task_id, message, to, ignore_result, frame.task if frame is not None else None)

    def _inherit(
        self: Any,
        request: context.Context,
        root_id: str | None,
        parent_id: str | None,
        options: dict[str, Any],
    ) -> tuple[str | None, str | None]:
        """What a call takes over from the task that makes it."""
        if self.conf.task_inherit_parent_priority and options.get("priority") is None:
            priority = (request.delivery_info or {}).get("priority")
            if priority is not None:
                options["priority"] = priority
        return root_id or request.root_id or request.id, parent_id or request.id

    def _seconds_left(self: Any, task_id: str, expires: Any) -> float:
        if isinstance(expires, str | datetime):
            expires = (_time(expires) - self.now()).total_seconds()
        if expires < 0:
            from celerylite.utils.log import get_logger  # lazy: logging takes 10 ms

            get_logger(__name__).warning(
                "%s expired %s s ago already; it is sent all the same, with no time left.", task_id, -expires
            )
            return 0
        return expires

    def _options_by_name(
        self: Any, name: str, options: dict[str, Any], expires: Any, time_limit: Any, soft_time_limit: Any
    ) -> tuple[Any, Any, Any]:
        """The options of a task that is known here, under those of a call by its name."""
        task = self._tasks.get(name)
        own = dict(task._get_exec_options()) if task is not None else {}
        expires = own.pop("expires", None) if expires is OMITTED else expires
        time_limit = own.pop("time_limit", None) if time_limit is OMITTED else time_limit
        soft_time_limit = own.pop("soft_time_limit", None) if soft_time_limit is OMITTED else soft_time_limit
        for key in ("expires", "time_limit", "soft_time_limit"):
            own.pop(key, None)
        for key, value in own.items():
            options.setdefault(key, value)
        return expires, time_limit, soft_time_limit

    def _result_of(self: Any, call: Outgoing, result_cls: Any, add_to_parent: bool) -> AsyncResult[Any]:
        result = (result_cls or self.AsyncResult)(call.task_id)
        result.ignored = call.ignore_result
        if not call.ignore_result:
            self._note_order(result)
        if add_to_parent and call.parent is not None:
            call.parent.add_trail(result)
        return result

    def _note_order(self: Any, result: Any) -> None:
        """Let the last result know the next, so that stores can read ahead; where threads mix, less is read ahead."""
        newest, self._newest = self._newest, ref(result)
        last = newest() if newest is not None else None
        if last is not None:
            last._next = self._newest

    def _send_with_kombu(self: Any, call: Outgoing, producer: Any, connection: Any) -> None:
        """Publish with a producer, or over a connection, that the caller hands in."""
        if producer is None:
            producer = self.amqp.Producer(connection, auto_declare=False)
        to, headers, properties = call.to, call.headers, call.properties
        properties.update(to.properties)
        headers.update(to.headers or {})
        announce_publish(call.name, headers, call.body, properties, to)
        self.amqp.publish_with(producer, call.body, headers, properties, to)
        announce_published(call.name, headers, call.body, to)
        if self.amqp.sends_sent_event:
            self.events.tell_sent([call])


_SEND_TASK = Sending.send_task


def _put(message: Any, place: dict[str, Any]) -> None:
    """Write where a call stands in a canvas."""
    headers, embed = message.headers, message.body[2]
    for option, value in place.items():
        if value is None:
            continue
        if option in _PLACE_IN_HEADERS:
            headers[_PLACE_IN_HEADERS[option]] = value
        elif option == "reply_to":
            message.properties["reply_to"] = value
        else:
            as_it_is = option == "chord" or type(value) is Steps
            embed[_PLACE_IN_BODY[option]] = value if as_it_is else maybe_list(value)


def _nothing() -> None:
    """Nobody waits for a batch of its own."""


def _time(value: Any) -> datetime:
    """A time given as text or datetime; without a time zone it is UTC."""
    from celerylite.utils.time import maybe_iso8601, maybe_make_aware  # lazy: 5 ms

    return maybe_make_aware(maybe_iso8601(value))


#: Options that leave a call of `send_tasks` plain.
_FEW = frozenset(("serializer", "ignore_result", "queue", "priority"))
#: Where the options stand that say where in a canvas a call has its place.
_PLACE_IN_HEADERS = {
    "group_id": "group", "group_index": "group_index", "replaced_task_nesting": "replaced_task_nesting",
}  # fmt: skip
_PLACE_IN_BODY = {"chord": "chord", "chain": "chain", "link": "callbacks", "link_error": "errbacks"}
_PLACE = frozenset((*_PLACE_IN_HEADERS, *_PLACE_IN_BODY, "task_id", "root_id", "parent_id", "reply_to"))
_FEW_AND_PLACE = _FEW | _PLACE
#: Options that mean the sending itself, which is one for all calls.
_NOT_IN_BULK = frozenset(("producer", "connection", "publisher", "add_to_parent", "result_cls"))
#: Options that `_compose` knows by name.
_NAMED: frozenset[str] = frozenset(
    (
        "countdown", "eta", "task_id", "router", "expires", "link", "link_error", "group_id", "group_index",
        "retries", "chord", "reply_to", "time_limit", "soft_time_limit", "root_id", "parent_id",
        "route_name", "shadow", "chain", "replaced_task_nesting",
    )
)  # fmt: skip
