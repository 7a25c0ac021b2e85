"""`app.amqp`: how a call becomes a message, and which queue it goes to.

Sending is `Celery.send_task` with the app's broker; kombu's own producers are used only where one is handed
in.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from datetime import datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celerylite import transports
from celerylite.app import queues as _queues
from celerylite.app import routes as _routes
from celerylite.app.publishing import (
    Destination,
    announce_publish,
    announce_published,
    anonymous_name,
    checked_arguments,
    sent_event,
)
from celerylite.app.queues import QUEUE_FORMAT, Queues
from celerylite.message import Message, publish_with
from celerylite.utils.saferepr import saferepr

if TYPE_CHECKING:
    from kombu.entity import Exchange, Queue

    from celerylite.app.base import Celery

__all__ = ("AMQP", "QUEUE_FORMAT", "Destination", "Queues", "task_message")

#: What RabbitMQ takes as a delay; Celery refuses numbers below.
INT_MIN = -2147483648

task_message = namedtuple("task_message", ("headers", "properties", "body", "sent_event"))

#: Types whose `repr` is short, harmless and the same as `saferepr` gives.
_PLAIN = frozenset((int, float, bool, str, type(None)))
#: Below this length nothing is cut off by `saferepr`, whatever maximum a user may sensibly set.
_SHORT = 1000


class AMQP:
    """The app's queues, routes and message format."""

    #: Longest text of arguments in `argsrepr` and `kwargsrepr`.
    argsrepr_maxsize = 1024
    kwargsrepr_maxsize = 1024
    #: Makes the exchange of a queue that was not configured.
    autoexchange: Any = None
    queues_cls = Queues

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._plain: dict[tuple[Any, ...], Destination] = {}
        self._rtable: tuple[Any, ...] | None = None
        self._queues: _queues.Queues | None = None
        #: The settings that the queues were made from, and whether they may have changed since.
        self._made_from: tuple[Any, ...] = ()
        self._unsure = False

    # queues and routes

    def Queues(
        self,
        queues: Any,
        create_missing: bool | None = None,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        autoexchange: Any = None,
        max_priority: int | None = None,
    ) -> _queues.Queues:
        """A table of queues with the app's settings as defaults; without any queue, the default one is in
        it."""
        conf = self.app.conf
        if not queues and conf.task_default_queue:
            queues = (self._make_default_queue(),)
        return self.queues_cls(
            queues,
            self.default_exchange,
            conf.task_create_missing_queues if create_missing is None else create_missing,
            create_missing_queue_type or conf.task_create_missing_queue_type,
            create_missing_queue_exchange_type or conf.task_create_missing_queue_exchange_type,
            self.autoexchange if autoexchange is None else autoexchange,
            conf.task_queue_max_priority if max_priority is None else max_priority,
            conf.task_default_routing_key or conf.task_default_queue,
        )

    def _make_default_queue(self) -> Queue:
        from kombu.entity import Queue  # lazy: kombu is imported when the first queue is needed

        conf = self.app.conf
        arguments = None
        if conf.task_default_queue_type and conf.task_default_queue_type != "classic":
            arguments = {"x-queue-type": conf.task_default_queue_type}
        return Queue(
            conf.task_default_queue,
            exchange=self.default_exchange,
            routing_key=conf.task_default_routing_key or conf.task_default_queue,
            queue_arguments=arguments,
        )

    @property
    def queues(self) -> _queues.Queues:
        """The queues of `task_queues`, and those made for names that calls used."""
        if self._queues is None or (self._unsure and self._queue_settings() != self._made_from):
            # Only then: queues that were added or selected in the program must outlive other settings.
            self.__dict__.pop("default_exchange", None)
            self._made_from = self._queue_settings()
            self._queues = self.Queues(self.app.conf.task_queues)
        self._unsure = False
        return self._queues

    @queues.setter
    def queues(self, queues: Any) -> None:
        self._made_from = self._queue_settings()
        self._queues = queues

    def _queue_settings(self) -> tuple[Any, ...]:
        return tuple(map(self.app.conf.get, _QUEUE_SETTINGS))

    @cached_property
    def default_exchange(self) -> Exchange:
        """The exchange of queues that name none."""
        from kombu.entity import Exchange  # lazy, as above

        conf = self.app.conf
        return Exchange(
            conf.task_default_exchange or conf.task_default_queue, conf.task_default_exchange_type
        )

    @property
    def default_queue(self) -> Queue:
        """The queue of tasks that are not routed anywhere else."""
        return self.queues[self.app.conf.task_default_queue]

    @property
    def routes(self) -> tuple[Any, ...]:
        """The routers of `task_routes`."""
        if self._rtable is None:
            self.flush_routes()
        return self._rtable  # type: ignore[return-value]

    def flush_routes(self) -> None:
        """Read `task_routes` again."""
        self._rtable = _routes.prepare(self.app.conf.task_routes)
        self.__dict__.pop("router", None)
        self._plain.clear()

    def Router(self, queues: Any = None, create_missing: bool | None = None) -> _routes.Router:
        """A router over these queues."""
        if create_missing is None:
            create_missing = self.app.conf.task_create_missing_queues
        return _routes.Router(self.routes, queues or self.queues, create_missing, app=self.app)

    @cached_property
    def router(self) -> _routes.Router:
        return self.Router()

    def settings_changed(self) -> None:
        """Forget everything that was worked out from settings."""
        self._rtable = None
        self._unsure = True
        for name in ("router", "create_task_message", "answers_by_queue", "sends_sent_event"):
            self.__dict__.pop(name, None)
        self._plain.clear()

    @cached_property
    def sends_sent_event(self) -> bool:
        """Whether each call is told to monitors."""
        return bool(self.app.conf.task_send_sent_event)

    @cached_property
    def answers_by_queue(self) -> bool:
        """Whether results travel to a queue of the caller, so that each call must name it."""
        backend = self.app.backend_cls or self.app.conf.result_backend
        if backend is None or isinstance(backend, str):
            scheme = (backend or "").partition("://")[0]
            return scheme in ("rpc", "amqp") or ":" in scheme  # the path of a class of which nothing is known
        return True

    # where a call goes

    def destination(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task_type: Any, router: Any = None
    ) -> Destination:
        """Where a call goes that has these options. Plain calls, which are most, find it ready."""
        if router is None:
            router = self.router
            if options.keys() <= _PLAIN_OPTIONS and router.by_name:
                queue = options.get("queue")
                if queue is None or type(queue) is str:
                    key = (name, options.get("serializer"), queue)
                    found = self._plain.get(key)
                    if found is None:
                        found = self._plain[key] = self._resolve(
                            router.route(options, name, args, kwargs, task_type)
                        )
                    return found
        return self._resolve(router.route(options, name, args, kwargs, task_type))

    def _resolve(self, route: dict[str, Any]) -> Destination:
        """Turn routed options into a destination, by the rules of Celery's message sender."""
        conf = self.app.conf
        to = Destination()
        queue, exchange, routing_key = (route.pop(key, None) for key in ("queue", "exchange", "routing_key"))
        if queue is None and exchange is None:
            queue = self.default_queue
        if isinstance(queue, str):
            queue = self.queues[queue]
        to.queue, to.queue_name = queue, queue.name if queue is not None else None
        exchange_type = route.pop("exchange_type", None)
        if exchange_type is None:
            exchange_type = getattr(getattr(queue, "exchange", None), "type", None) or "direct"
        if queue is not None and (not exchange or not routing_key) and exchange_type == "direct":
            exchange, routing_key = "", queue.name
        elif exchange is None:
            exchange = queue.exchange.name or conf.task_default_exchange
            routing_key = routing_key or queue.routing_key or conf.task_default_routing_key
        to.exchange, to.routing_key = exchange, routing_key or ""
        to.delivery_mode = self._delivery_mode(route.pop("delivery_mode", None), queue)
        declare = route.pop("declare", None)
        to.declare = declare if declare is not None or queue is None or _broadcasts(queue) else [queue]
        retry = route.pop("retry", None)
        to.retry = conf.task_publish_retry if retry is None else retry
        policy = route.pop("retry_policy", None)
        to.policy = (
            dict(conf.task_publish_retry_policy, **policy) if policy else conf.task_publish_retry_policy
        )
        to.serializer = route.pop("serializer", None) or conf.task_serializer
        to.compression = route.pop("compression", None) or conf.task_compression
        to.headers = route.pop("headers", None)
        for key in _FOR_THE_SENDER:
            route.pop(key, None)
        to.properties = {key: value for key, value in route.items() if value is not None}
        return to

    def _delivery_mode(self, mode: Any, queue: Any) -> int:
        if mode is None:
            mode = getattr(getattr(queue, "exchange", None), "delivery_mode", None)
        if mode is None:
            mode = self.app.conf.task_default_delivery_mode
        return _DELIVERY_MODES.get(mode, mode)

    # messages

    @cached_property
    def create_task_message(self) -> Any:
        """The writer of the protocol that `task_protocol` asks for."""
        return {1: self.as_task_v1, 2: self.as_task_v2}[self.app.conf.task_protocol]

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        now: datetime | None = None,
        timezone: tzinfo | None = None,
        origin: str | None = None,
        ignore_result: bool | None = False,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        stamped_headers: list[str] | None = None,
        replaced_task_nesting: int = 0,
        **options: Any,
    ) -> task_message:
        """A call as a message of protocol 2: headers, properties, body."""
        args, kwargs = checked_arguments(args, kwargs)
        if countdown or eta or expires:
            eta, expires = self._times(countdown, eta, expires, now, timezone)
        if not root_id:
            root_id = task_id
        if argsrepr is None:
            argsrepr = self._repr(args, args, self.argsrepr_maxsize)
        if kwargsrepr is None:
            kwargsrepr = self._repr(kwargs, kwargs.values(), self.kwargsrepr_maxsize) if kwargs else "{}"
        headers = {
            "lang": "py",
            "task": name,
            "id": task_id,
            "shadow": shadow,
            "eta": eta,
            "expires": expires,
            "group": group_id,
            "group_index": group_index,
            "retries": retries,
            "timelimit": [time_limit, soft_time_limit],
            "root_id": root_id,
            "parent_id": parent_id,
            "argsrepr": argsrepr,
            "kwargsrepr": kwargsrepr,
            "origin": origin or anonymous_name(),
            "ignore_result": ignore_result,
            "replaced_task_nesting": replaced_task_nesting,
            "stamped_headers": stamped_headers,
            "stamps": {header: options[header] for header in stamped_headers} if stamped_headers else {},
        }
        return task_message(
            headers,
            {"correlation_id": task_id, "reply_to": reply_to or ""},
            (args, kwargs, {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}),
            sent_event(headers) if create_sent_event else None,
        )

    @property
    def writes_plainly(self) -> bool:
        """Whether `as_task_v2` writes the messages, and nobody's own writer, so that `as_plain_task` may too."""
        return getattr(self.create_task_message, "__func__", None) is AMQP.as_task_v2

    def as_plain_task(
        self,
        task_id: str,
        name: str,
        args: Any,
        kwargs: Any,
        reply_to: str,
        ignore_result: bool | None,
        root_id: str | None = None,
        parent_id: str | None = None,
    ) -> task_message:
        """What `as_task_v2` makes of a call without options, in half the time."""
        args, kwargs = checked_arguments(args, kwargs)
        headers = _PLAIN_HEADERS.copy()
        headers["task"] = name
        headers["id"] = task_id
        headers["timelimit"] = [None, None]
        headers["root_id"] = root_id or task_id
        headers["parent_id"] = parent_id
        headers["argsrepr"] = self._repr(args, args, self.argsrepr_maxsize)
        if kwargs:
            headers["kwargsrepr"] = self._repr(kwargs, kwargs.values(), self.kwargsrepr_maxsize)
        headers["origin"] = anonymous_name()
        headers["ignore_result"] = ignore_result
        headers["stamps"] = {}
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        return task_message(headers, {"correlation_id": task_id, "reply_to": reply_to}, (args, kwargs, embed), None)

    def as_task_v1(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        now: datetime | None = None,
        timezone: tzinfo | None = None,
        **compat_kwargs: Any,
    ) -> task_message:
        """A call as a message of protocol 1, for workers older than Celery 4."""
        args, kwargs = checked_arguments(args, kwargs)
        eta, expires = self._times(countdown, eta, expires, now, timezone)
        body = {
            "task": name,
            "id": task_id,
            "args": args,
            "kwargs": kwargs,
            "group": group_id,
            "group_index": group_index,
            "retries": retries,
            "eta": eta,
            "expires": expires,
            "utc": self.app.conf.enable_utc,
            "callbacks": callbacks,
            "errbacks": errbacks,
            "timelimit": (time_limit, soft_time_limit),
            "taskset": group_id,
            "chord": chord,
        }
        sent: Any = None
        if create_sent_event:
            sent = {"uuid": task_id, "name": name, "args": saferepr(args), "kwargs": saferepr(kwargs)}
            sent.update(retries=retries, eta=eta, expires=expires)
        return task_message({}, {"correlation_id": task_id, "reply_to": reply_to or ""}, body, sent)

    def _repr(self, value: Any, items: Any, maxsize: int) -> str:
        if _PLAIN.issuperset(map(type, items)):
            text = repr(value)
            # Quotes and unprintable characters are written in another way by saferepr.
            if len(text) < _SHORT <= maxsize and "\\" not in text and '"' not in text:
                return text
        return saferepr(value, maxsize, self.app.conf.task_repr_maxlevels)

    def _times(
        self, countdown: Any, eta: Any, expires: Any, now: datetime | None, timezone: tzinfo | None
    ) -> tuple[Any, Any]:
        """`eta` and `expires` as they stand in the headers: ISO text, in the app's time zone where we
        computed them."""
        if countdown:
            eta = self._after(countdown, "countdown", now, timezone)
        if isinstance(expires, int | float):
            expires = self._after(expires, "expires", now, timezone)
        if eta is not None and not isinstance(eta, str):
            eta = eta.isoformat()
        if expires is not None and not isinstance(expires, str):
            expires = expires.isoformat()
        return eta, expires

    def _after(self, seconds: Any, what: str, now: datetime | None, timezone: tzinfo | None) -> datetime:
        from celerylite.utils.time import add_seconds_to_datetime, maybe_make_aware  # lazy: 5 ms

        self._verify_seconds(seconds, what)
        start: datetime = now or self.app.now()
        return maybe_make_aware(add_seconds_to_datetime(start, seconds), tz=timezone or self.app.timezone)

    def _verify_seconds(self, s: Any, what: str) -> Any:
        if s < INT_MIN:
            raise ValueError(f"{what} is out of range: {s!r}")
        return s

    # kombu's side

    def send_task_message(self, producer: Any, name: str, message: task_message, **options: Any) -> None:
        """Send a message with a kombu producer that was handed in, instead of the app's broker."""
        to = self._resolve(self.router.expand_destination(options))
        headers, properties, body = message.headers, dict(message.properties, **to.properties), message.body
        if to.headers:
            headers.update(to.headers)
        announce_publish(name, headers, body, properties, to)
        self.publish_with(producer, body, headers, properties, to)
        announce_published(name, headers, body, to)

    def publish_with(self, producer: Any, body: Any, headers: Any, properties: Any, to: Destination) -> None:
        """Hand a call to a kombu producer."""
        producer.publish(
            body,
            exchange=to.exchange,
            routing_key=to.routing_key,
            serializer=to.serializer,
            compression=to.compression,
            retry=to.retry,
            retry_policy=to.policy,
            delivery_mode=to.delivery_mode,
            declare=to.declare,
            headers=headers,
            **properties,
        )

    def publish_messages(self, producer: Any, messages: Iterable[Message]) -> None:
        """Hand messages that are written already to a kombu producer."""
        for message in messages:
            publish_with(producer, message, declare=[message.queue] if message.queue is not None else [])

    def TaskConsumer(self, channel: Any, queues: Any = None, accept: Any = None, **kw: Any) -> Any:
        """A kombu consumer of the app's queues."""
        conf = self.app.conf
        return self.Consumer(
            channel,
            accept=conf.accept_content if accept is None else accept,
            queues=queues or list(self.queues.consume_from.values()),
            **kw,
        )

    @property
    def Connection(self) -> Any:
        from kombu.connection import Connection  # lazy, as above

        transports.register()
        return Connection

    BrokerConnection = Connection

    @property
    def Consumer(self) -> Any:
        from kombu.messaging import Consumer  # lazy, as above

        return Consumer

    @property
    def Producer(self) -> Any:
        from kombu.messaging import Producer  # lazy, as above

        return Producer

    @property
    def producer_pool(self) -> Any:
        """kombu's pool of producers on the broker that is written to."""
        from kombu import pools  # lazy, as above

        pool = pools.producers[self.app.connection_for_write()]
        pool.limit = self.app.pool.limit
        return pool

    publisher_pool = producer_pool

    @property
    def utc(self) -> bool:
        return bool(self.app.conf.enable_utc)


#: The headers of protocol 2 in their order.
_PLAIN_HEADERS: dict[str, Any] = {
    "lang": "py", "task": None, "id": None, "shadow": None, "eta": None, "expires": None, "group": None,
    "group_index": None, "retries": 0, "timelimit": None, "root_id": None, "parent_id": None, "argsrepr": None,
    "kwargsrepr": "{}", "origin": None, "ignore_result": None, "replaced_task_nesting": 0, "stamped_headers": None,
    "stamps": None,
}  # fmt: skip

#: Settings that queues are made from.
_QUEUE_SETTINGS = (
    "task_queues",
    "task_default_queue",
    "task_default_queue_type",
    "task_default_exchange",
    "task_default_exchange_type",
    "task_default_routing_key",
    "task_create_missing_queues",
    "task_create_missing_queue_type",
    "task_create_missing_queue_exchange_type",
    "task_queue_max_priority",
)

#: Options that do not keep a call from being plain: its destination depends on them and the task's name only.
_PLAIN_OPTIONS = frozenset(("serializer", "queue"))

#: Options for kombu's producer, which are no properties of the message.
_FOR_THE_SENDER = ("timeout", "confirm_timeout", "immediate", "mandatory", "event_dispatcher")

_DELIVERY_MODES = {"transient": 1, "persistent": 2}


def _broadcasts(queue: Any) -> bool:
    from kombu.common import Broadcast  # lazy, as above

    return isinstance(queue, Broadcast)
