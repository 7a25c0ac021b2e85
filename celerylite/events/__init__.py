"""Monitoring events: what workers and clients tell about tasks, and those who listen.

`event` is the message, `dispatcher` and `outlet` send, `receiver` listens, `state` remembers, `snapshot` photographs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerylite.events.dispatcher import EventDispatcher
    from celerylite.events.event import Event, event_exchange, get_exchange, group_from
    from celerylite.events.receiver import EventReceiver

__all__ = ("Event", "EventDispatcher", "EventReceiver", "event_exchange", "get_exchange", "group_from")

# Found when they are asked for: they need kombu's messaging (8 MB), and an idle worker has its heart in this package.
_PLACES = {"EventDispatcher": "dispatcher", "EventReceiver": "receiver"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES.get(name, 'event')}"), name)
    globals()[name] = value
    return value
