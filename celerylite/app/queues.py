"""The queues that an app knows (`app.amqp.queues`) and those its worker consumes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu.entity import Exchange, Queue

QUEUE_FORMAT = ".> {0.name:<16} exchange={0.exchange.name}({0.exchange.type}) key={0.routing_key}"


class Queues(dict[str, Any]):
    """Queue name → `kombu.Queue`; with `create_missing`, unknown names give new queues."""

    #: The queues chosen with `-Q`; None is all of them.
    _consume_from: dict[str, Queue] | None = None

    def __init__(
        self,
        queues: Any = None,
        default_exchange: Exchange | None = None,
        create_missing: bool = True,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        autoexchange: Any = None,
        max_priority: int | None = None,
        default_routing_key: str | None = None,
    ) -> None:
        super().__init__()
        self.aliases: dict[str, Queue] = {}
        self.default_exchange = default_exchange
        self.default_routing_key = default_routing_key
        self.create_missing = create_missing
        self.create_missing_queue_type = create_missing_queue_type
        self.create_missing_queue_exchange_type = create_missing_queue_exchange_type
        self.autoexchange = autoexchange
        self.max_priority = max_priority
        if isinstance(queues, Mapping):
            for name, options in queues.items():
                self.add(options if _is_queue(options) else name, **({} if _is_queue(options) else options))
        else:
            for queue in queues or ():
                self.add(queue)

    def __getitem__(self, name: str) -> Any:
        if name in self.aliases:
            return self.aliases[name]
        return super().__getitem__(name)

    def __setitem__(self, name: str, queue: Any) -> None:
        if self.default_exchange is not None and not queue.exchange:
            queue.exchange = self.default_exchange
        super().__setitem__(name, queue)
        if queue.alias:
            self.aliases[queue.alias] = queue

    def __missing__(self, name: str) -> Queue:
        if not self.create_missing:
            raise KeyError(name)
        return self.add(self.new_missing(name))

    def add(self, queue: Any, **kwargs: Any) -> Any:
        """Add a queue, given as an object or as its name and options; returns the object."""
        if not _is_queue(queue):
            return self.add_compat(queue, **kwargs)
        return self._add(queue)

    def add_compat(self, name: str, **options: Any) -> Any:
        """Add a queue by its name and the options of `Queue.from_dict` (`binding_key` is an older
        `routing_key`)."""
        from kombu.entity import Queue  # lazy: kombu is imported when the first queue is needed

        options.setdefault("routing_key", options.get("binding_key"))
        if options["routing_key"] is None:
            options["routing_key"] = name
        return self._add(Queue.from_dict(name, **options))

    def _add(self, queue: Any) -> Any:
        if queue.exchange is None or queue.exchange.name == "":
            if self.default_exchange is not None:
                queue.exchange = self.default_exchange
        if not queue.routing_key:
            queue.routing_key = self.default_routing_key
        if self.max_priority is not None:
            if queue.queue_arguments is None:
                queue.queue_arguments = {}
            queue.queue_arguments.setdefault("x-max-priority", self.max_priority)
        self[queue.name] = queue
        return queue

    def new_missing(self, name: str) -> Any:
        """A queue for a name that the settings do not know: its own exchange and key, of the same name."""
        from kombu.entity import Exchange, Queue  # lazy, as above

        arguments: dict[str, Any] | None = None
        if self.create_missing_queue_type and self.create_missing_queue_type != "classic":
            arguments = {"x-queue-type": self.create_missing_queue_type}
        if self.autoexchange is not None:
            exchange = self.autoexchange(name)
        else:
            exchange = Exchange(name, type=self.create_missing_queue_exchange_type or "direct")
        return Queue(name, exchange, name, queue_arguments=arguments)

    @property
    def consume_from(self) -> dict[str, Any]:
        """The queues that the worker consumes from."""
        return self if self._consume_from is None else self._consume_from

    def select(self, include: Any) -> None:
        """Consume only from these queues (names, as a list or with commas between)."""
        if include:
            self._consume_from = {name: self[name] for name in _names(include)}

    def deselect(self, exclude: Any) -> None:
        """Do not consume from these queues."""
        if not exclude:
            return
        names = _names(exclude)
        if self._consume_from is None:
            # Names that are not known must not be made just to be left out.
            self.select([name for name in self if name not in names])
        for name in names:
            if self._consume_from is not None:
                self._consume_from.pop(name, None)

    def select_add(self, queue: Any, **kwargs: Any) -> Any:
        """Add a queue and consume from it too."""
        added = self.add(queue, **kwargs)
        if self._consume_from is not None:
            self._consume_from[added.name] = added
        return added

    def format(self, indent: int = 0, indent_first: bool = True) -> str:
        """The queues consumed from, a line each, for the worker's banner."""
        lines = [QUEUE_FORMAT.format(queue) for _, queue in sorted(self.consume_from.items())]
        if not lines:
            return ""
        pad = " " * indent
        text = "\n".join(pad + line for line in lines)
        return text if indent_first else text[indent:]


def _is_queue(value: Any) -> bool:
    from kombu.entity import Queue  # lazy, as above

    return isinstance(value, Queue)


def _names(value: Any) -> list[str]:
    names: Iterable[str] = value.split(",") if isinstance(value, str) else value
    return [name.strip() for name in names]
