"""`app.events`: receivers, dispatchers and states that belong to this app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celerylite.events.outlet import Outlet

if TYPE_CHECKING:
    from celerylite.app.base import Celery


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
    def outlet(self) -> Outlet:
        """What this process tells on its own: `task-sent`."""
        return Outlet(self.app)
