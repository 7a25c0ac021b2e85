"""`app.amqp`: which queue a call goes to; `protocols` turns it into a message.

Sending is `Celery.send_task` with the app's broker; kombu's own producers are used only where one is handed
in.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celerylite import transports
from celerylite.app import queues as _queues
from celerylite.app import routes as _routes
from celerylite.app.protocols import Protocols, task_message
from celerylite.app.publishing import Destination, announce_publish, announce_published
from celerylite.app.queues import QUEUE_FORMAT, Queues
from celerylite.message import Message, publish_with

if TYPE_CHECKING:
    from kombu.entity import Exchange, Queue

    from celerylite.app.base import Celery

__all__ = ("AMQP", "QUEUE_FORMAT", "Destination", "Queues", "task_message")


class AMQP(Protocols):
    """The app's queues, routes and message format."""

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
