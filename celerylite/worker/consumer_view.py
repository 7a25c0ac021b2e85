"""`state.consumer` in remote commands: what Celery's guide and users' commands use of the worker's consumer.

There is no such consumer in the control process; each method says what is wanted to those whom it concerns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerylite.utils.objects import cached_property

if TYPE_CHECKING:
    from celerylite.worker.node import Node


class ConsumerView:
    """The worker's consumer, as far as it can be seen and changed from here."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.app = node.app
        self.hostname = node.hostname
        self.pid = node.pid
        self.pool = PoolView(node)
        self.qos = QosView(node)

    @property
    def event_dispatcher(self) -> Any:
        """Sends events in the worker's name."""
        return self.node.news

    @cached_property
    def connection(self) -> Any:
        """A kombu connection of its own; it opens when it is used."""
        return self.app.connection_for_read()

    @property
    def initial_prefetch_count(self) -> int:
        """How many messages the worker may hold."""
        return self.qos.value

    def add_task_queue(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        **options: Any,
    ) -> None:
        """Consume one more queue."""
        self.node.add_consumer(queue, exchange, exchange_type, routing_key, **options)

    def cancel_task_queue(self, queue: str) -> None:
        """Consume a queue no more."""
        self.node.cancel_consumer(queue)


class PoolView:
    """`state.consumer.pool`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def num_processes(self) -> int:
        """How many tasks can run at a time."""
        return self._node.board.size()

    def grow(self, n: int = 1) -> None:
        """Add processes."""
        self._node.ask_parent("pool_grow", n=n)

    def shrink(self, n: int = 1) -> None:
        """Take processes away."""
        self._node.ask_parent("pool_shrink", n=n)


class QosView:
    """`state.consumer.qos`: how many messages each task process may hold beside the one that it runs."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def value(self) -> int:
        """The most that there may be now."""
        options = self._node.options
        return self._node.directives.prefetch or options.prefetch or options.fetch_max

    def increment_eventually(self, n: int = 1) -> int:
        """Let there be `n` more from the next fetch on."""
        return self._set(self.value + (n or 1))

    def decrement_eventually(self, n: int = 1) -> int:
        """Let there be `n` fewer, but one at least."""
        return self._set(self.value - (n or 1))

    def _set(self, most: int) -> int:
        most = max(1, most)
        self._node.post("prefetch", most=most)
        return most
