"""`app.events`: receivers, dispatchers and states that belong to this app."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from time import time
from typing import TYPE_CHECKING, Any

from celerylite.app.publishing import sent_event
from celerylite.events.outlet import Outlet

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.app.sending import Outgoing


class Events:
    """`app.events`; a subclass of yours may be named by `Celery(events=…)`."""

    receiver_cls: Any = "celerylite.events.receiver:EventReceiver"
    dispatcher_cls: Any = "celerylite.events.dispatcher:EventDispatcher"
    state_cls: Any = "celerylite.events.state:State"

    def __init__(self, app: Celery | None = None) -> None:
        self.app: Any = app

    @cached_property
    def Receiver(self) -> Any:
        """Listens to events (`celerylite.events.EventReceiver`)."""
        return self.app.subclass_with_self(self.receiver_cls, reverse="events.Receiver")

    @cached_property
    def Dispatcher(self) -> Any:
        """Sends events (`celerylite.events.EventDispatcher`)."""
        return self.app.subclass_with_self(self.dispatcher_cls, reverse="events.Dispatcher")

    @cached_property
    def State(self) -> Any:
        """What is known of the cluster (`celerylite.events.state.State`)."""
        return self.app.subclass_with_self(self.state_cls, reverse="events.State")

    @contextmanager
    def default_dispatcher(
        self, hostname: str | None = None, enabled: bool = True, buffer_while_offline: bool = False
    ) -> Iterator[Any]:
        """A dispatcher on a connection of the app's pool."""
        with self.app.amqp.producer_pool.acquire(block=True) as producer:
            yield self.Dispatcher(
                producer.connection, hostname, enabled, producer.channel, buffer_while_offline
            )

    @cached_property
    def _outlets(self) -> dict[str | None, Outlet]:
        return {}

    def _outlet(self, hostname: str | None = None) -> Outlet:
        """The way out for a node's events; without a name, for this process' own."""
        outlet = self._outlets.get(hostname)
        if outlet is None:
            outlet = self._outlets[hostname] = Outlet(self.app, hostname)
        return outlet

    def tell(self, type: str, hostname: str | None = None, **fields: Any) -> None:
        """Send one event in the name of a node, now and on the shortest way; one that the broker does not take is
        dropped with a warning.
        """
        outlet = self._outlet(hostname)
        event = outlet.stamp({**fields, "timestamp": time(), "type": type})
        outlet.send([(event, type.replace("-", ".", 1))])

    def tell_sent(self, calls: Iterable[Outgoing]) -> None:
        """Send `task-sent` for calls that are on their way; one that the broker does not take is dropped."""
        tasks, outlet = self.app.tasks, self._outlet()
        parcels = []
        for call in calls:
            task, headers, to = tasks.get(call.name), call.headers, call.to
            if "id" in headers and (task is None or task.send_events):
                fields = sent_event(headers)
                fields.update(queue=to.queue_name, exchange=_name(to.exchange), routing_key=to.routing_key)
                fields.update(timestamp=time(), type="task-sent")
                parcels.append((outlet.stamp(fields), "task.sent"))
        if parcels:
            outlet.send(parcels)


def _name(exchange: Any) -> str:
    return exchange if isinstance(exchange, str) else getattr(exchange, "name", None) or ""
