"""A signal calls the functions that were connected to it; an error in one of them is logged and stops nobody.

Where nobody is connected, `signal.receivers` is empty: hot paths look at that before they gather arguments.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from time import sleep
from typing import TYPE_CHECKING, Any

from ..functional import fun_accepts_kwargs

if TYPE_CHECKING:
    import logging

__all__ = ("Signal",)

#: A receiver connected with `retry=True` is called again without end, after 0, 2, 4, … at most 32 seconds.
RETRY_STEP = 2.0
RETRY_MAX = 32.0

Key = tuple[Any, Any]


class Signal:
    """Something that happens, and who is told of it.

    `providing_args` says which keywords are sent along, for readers only.
    """

    def __init__(
        self, providing_args: Iterable[str] | None = None, use_caching: bool = False, name: str | None = None
    ) -> None:
        #: (key, weak or strong reference) of everyone connected. Replaced, never changed in place, so that
        #: `send` can go through it while others connect.
        self.receivers: list[tuple[Key, Any]] = []
        self.providing_args = set(providing_args or ())
        self.use_caching = use_caching
        self.name = name
        self.lock = threading.Lock()

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Have a function called with `signal`, `sender` and the signal's own keywords; also a decorator.

        `sender`: only for this sender. `weak` (default): forget the function when nothing else refers to it.
        `dispatch_uid`: at most one function is connected under this identity. `retry`: call it again when
        it raises.
        """
        if args and callable(args[0]):
            return self._connect(args[0], *args[1:], **kwargs)

        def decorate(fun: Callable[..., Any]) -> Any:
            return self._connect(fun, *args, **kwargs)

        return decorate

    def _connect(
        self,
        fun: Callable[..., Any],
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Callable[..., Any]:
        if not fun_accepts_kwargs(fun):
            raise ValueError("Signal receiver must accept keyword arguments.")
        key = _key(fun, sender, dispatch_uid)
        called = _until_it_works(fun) if retry else fun
        # Nobody else holds the wrapper of a retried function: a weak reference to it would die at once.
        reference = self._weak(called, key) if weak and not retry else called
        with self.lock:
            self._drop_dead()
            if not any(known == key for known, _ in self.receivers):
                self.receivers = [*self.receivers, (key, reference)]
        return fun

    def _weak(self, fun: Callable[..., Any], key: Key) -> Any:
        if hasattr(fun, "__self__") and hasattr(fun, "__func__"):
            return weakref.WeakMethod(fun)
        return weakref.ref(fun)

    def disconnect(
        self, receiver: Any = None, sender: Any = None, weak: bool | None = None, dispatch_uid: Any = None
    ) -> bool:
        """Undo `connect` with the same receiver (or `dispatch_uid`) and sender; whether it was connected."""
        key = _key(receiver, sender, dispatch_uid)
        with self.lock:
            self._drop_dead()
            kept = [one for one in self.receivers if one[0] != key]
            found = len(kept) < len(self.receivers)
            self.receivers = kept
        return found

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether anyone would be called for this sender."""
        return bool(self._live_receivers(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Callable[..., Any], Any]]:
        """Call everyone connected; what each returned, or the exception that it raised."""
        if not self.receivers:
            return []
        responses: list[tuple[Callable[..., Any], Any]] = []
        for receiver in self._live_receivers(sender):
            try:
                response = receiver(signal=self, sender=sender, **named)
            except Exception as exc:  # a border: receivers are the user's code
                _logger().exception("Signal handler %r raised: %r", receiver, exc)
                response = exc
            responses.append((receiver, response))
        return responses

    send_robust = send

    def _live_receivers(self, sender: Any) -> list[Callable[..., Any]]:
        wanted = (None, _identity(sender))
        live = []
        for (_, sender_id), reference in self.receivers:
            if sender_id in wanted:
                receiver = reference() if isinstance(reference, weakref.ReferenceType) else reference
                if receiver is not None:
                    live.append(receiver)
        return live

    def _drop_dead(self) -> None:
        self.receivers = [
            (key, ref)
            for key, ref in self.receivers
            if not (isinstance(ref, weakref.ReferenceType) and ref() is None)
        ]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name} providing_args={self.providing_args!r}>"

    def __str__(self) -> str:
        return repr(self)


def _key(receiver: Any, sender: Any, dispatch_uid: Any) -> Key:
    return (dispatch_uid if dispatch_uid is not None else _identity(receiver)), _identity(sender)


def _identity(target: Any) -> Any:
    """What tells two senders or receivers apart: names by their text, anything else by being itself."""
    if target is None:
        return None
    if isinstance(target, str):
        # A task is connected to by its name, which is hardly ever the same string object twice.
        return str(target)
    if hasattr(target, "_get_current_object"):
        target = target._get_current_object()
    if hasattr(target, "__func__") and hasattr(target, "__self__"):
        return id(target.__self__), id(target.__func__)
    return id(target)


def _until_it_works(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Call `fun` until it does not raise, with longer and longer waits in between."""

    def call(*args: Any, **kwargs: Any) -> Any:
        wait = 0.0
        while True:
            try:
                return fun(*args, **kwargs)
            except Exception:  # a border: receivers are the user's code
                when = f"in {wait:.2f} seconds" if wait else "now"
                _logger().exception("Could not process signal receiver %r. Retrying %s...", fun, when)
            sleep(wait)
            wait = min(wait + RETRY_STEP, RETRY_MAX)

    return call


def _logger() -> logging.Logger:
    from ..log import get_logger  # lazy: logging takes 10 ms, and importing a program with tasks should be quick

    return get_logger(__name__)
