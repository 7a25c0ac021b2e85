"""Storage of a thread's own, and a thread that runs a loop until it is stopped.

What a running task sees is not kept here but in context variables (see `context`).
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from ..local import Proxy

__all__ = (
    "bgThread",
    "Local",
    "LocalStack",
    "LocalManager",
    "get_ident",
    "default_socket_timeout",
)

THREAD_TIMEOUT_MAX = threading.TIMEOUT_MAX


@contextmanager
def default_socket_timeout(timeout: float | None) -> Iterator[None]:
    """Within it, new sockets have this timeout."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


class bgThread(threading.Thread):  # noqa: N801 (Celery's name)
    """A thread that calls `body` again and again until `stop`."""

    def __init__(self, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name or type(self).__name__, daemon=True, **kwargs)
        self._is_shutdown = threading.Event()
        self._is_stopped_event = threading.Event()

    def body(self) -> None:
        """One round of work."""
        raise NotImplementedError

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Say on standard error that `body` raised."""
        print(msg.format(*fmt), file=sys.stderr)
        traceback.print_exc(None, sys.stderr)

    def run(self) -> None:
        try:
            while not self._is_shutdown.is_set():
                try:
                    self.body()
                except Exception as exc:  # a border: a thread that dies alone leaves a process that hangs
                    self.on_crash("{0!r} crashed: {1!r}", self.name, exc)
                    sys.stderr.flush()
                    os._exit(1)
        finally:
            self._is_stopped_event.set()

    def stop(self) -> None:
        """Let the round in work be the last, and wait for its end."""
        self._is_shutdown.set()
        self._is_stopped_event.wait()
        if self.is_alive():
            self.join(THREAD_TIMEOUT_MAX)


class Local(threading.local):
    """Attributes that each thread has for itself."""

    def __call__(self, proxy: str) -> Proxy:
        """A proxy for one of the attributes."""
        return Proxy(getattr, (self, proxy), name=proxy)


def release_local(local: Any) -> None:
    """Forget what this thread has in a `Local` or `LocalStack`."""
    local.__dict__.clear()


class LocalStack(threading.local):
    """A stack that each thread has for itself."""

    def __init__(self) -> None:
        self.stack: list[Any] = []

    def __call__(self) -> Proxy:
        """A proxy for whatever is on top."""
        return Proxy(self._top_or_raise)

    def _top_or_raise(self) -> Any:
        if not self.stack:
            raise RuntimeError("object unbound")
        return self.stack[-1]

    def push(self, obj: Any) -> list[Any]:
        """Put an object on top; the stack."""
        self.stack.append(obj)
        return self.stack

    def pop(self) -> Any:
        """Take the top off; None where there is none."""
        return self.stack.pop() if self.stack else None

    def __len__(self) -> int:
        return len(self.stack)

    @property
    def top(self) -> Any:
        """What is on top; None where the stack is empty."""
        return self.stack[-1] if self.stack else None


class LocalManager:
    """Several locals that are cleared together."""

    def __init__(self, locals: Any = None, ident_func: Callable[[], int] | None = None) -> None:
        self.locals = list(locals) if isinstance(locals, list | tuple) else [locals] if locals else []
        self.ident_func = ident_func or get_ident

    def get_ident(self) -> int:
        """The number of this thread."""
        return self.ident_func()

    def cleanup(self) -> None:
        """Forget what this thread has in all of them."""
        for local in self.locals:
            release_local(local)


_LocalStack = _FastLocalStack = LocalStack
