"""`Consumer`: the worker's consumer as users know it: the parent of consumer steps, and `state.consumer` in remote
commands.

Tasks are consumed by the task processes. This lives in the control process, where each method says what is wanted to
those whom it concerns; before the first fork there is only its name.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerylite.worker.node import Node


class Consumer:
    """The worker's consumer, as far as it can be seen and changed from here. Keywords are those of Celery's.

    The setting `worker_consumer` names a subclass to be used in its place.
    """

    def __init__(
        self,
        on_task_request: Callable[..., Any] | None = None,
        init_callback: Callable[[Any], Any] | None = None,
        hostname: str | None = None,
        pool: Any = None,
        app: Any = None,
        timer: Any = None,
        controller: Any = None,
        worker_options: Any = None,
        **kwargs: Any,
    ) -> None:
        self.app, self.hostname, self.controller = app, hostname, controller
        self.on_task_request, self.init_callback = on_task_request, init_callback
        self.options = worker_options
        self.node: Any = None
        self.pid: int | None = None
        self.pool = pool
        self.qos: Any = None
        self._timer = timer
        #: The consumer steps that were created, in order, and what runs them; none without such steps.
        self.steps: list[Any] = []
        self.blueprint: Any = None
        #: For those that look: neither exists here.
        self.hub: Any = None
        self.gossip: Any = None
        self.task_consumer: Any = None
        self.strategies: dict[str, Any] = {}
        self.task_buckets: defaultdict[str, Any] = defaultdict(lambda: None)
        #: How often the steps were started anew.
        self.restart_count = -1
        self._mine = threading.local()

    def attach(self, node: Node) -> Consumer:
        """From now on there is a worker to speak to; returns the consumer."""
        self.node, self.pid = node, node.pid
        self.pool, self.qos = PoolView(node), QosView(node)
        return self

    @property
    def timer(self) -> Any:
        """The worker's timer."""
        return self._timer or getattr(self.controller, "timer", None)

    @property
    def event_dispatcher(self) -> Any:
        """Sends events in the worker's name; None before it starts."""
        return self.node and self.node.news

    @property
    def heart(self) -> Any:
        """Sends the heartbeats: `beat()` sends one now. None before the worker starts."""
        return self.node and self.node.news

    # -- the broker

    @property
    def connection(self) -> Any:
        """A kombu connection of the calling thread's own; it opens when it is used."""
        found = getattr(self._mine, "connection", None)
        if found is None:
            found = self._mine.connection = self.connection_for_read()
        return found

    @connection.setter
    def connection(self, connection: Any) -> None:
        self._mine.connection = connection

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """A new kombu connection for consuming."""
        return self.app.connection_for_read(heartbeat=heartbeat)

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
        """A new kombu connection for sending."""
        return self.app.connection_for_write(url=url, heartbeat=heartbeat)

    # -- what the worker consumes

    @property
    def initial_prefetch_count(self) -> int:
        """How many messages the worker may hold."""
        return int(self.qos.value)

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

    # -- rate limits

    def reset_rate_limits(self) -> None:
        """Make known to all processes what `rate_limit` the tasks have by now."""
        for name, task in self.app.tasks.items():
            limits = self.node.directives.rate_limits
            if task.rate_limit or limits.get(name):
                self.node.post("rate_limit", task=name, limit=task.rate_limit)

    def bucket_for_task(self, type: Any) -> Any:
        """A token bucket for a task's rate limit; None where it has none."""
        from kombu.utils.limits import TokenBucket  # lazy: hardly anybody asks

        from celerylite.utils.time import rate

        limit = rate(getattr(type, "rate_limit", None))
        return TokenBucket(limit, capacity=1) if limit else None

    def __repr__(self) -> str:
        state = self.blueprint.human_state() if self.blueprint is not None else "running"
        return f"<Consumer: {self.hostname} ({state})>"


class PoolView:
    """`state.consumer.pool`, and the `pool` of a worker's steps."""

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
        return self.set(self.value + (n or 1))

    def decrement_eventually(self, n: int = 1) -> int:
        """Let there be `n` fewer, but one at least."""
        return self.set(self.value - (n or 1))

    def set(self, pcount: int) -> int:
        """Let there be so many, but one at least."""
        most = max(1, pcount)
        self._node.post("prefetch", most=most)
        return most
