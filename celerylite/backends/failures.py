"""Exceptions in results: written as type, arguments and module, and rebuilt as well as can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celerylite.utils.serialization import (
    ensure_serializable,
    exception_class,
    get_pickleable_exception,
    get_pickled_exception,
    wire_module,
)

#: Serializers that carry exceptions as they are.
EXCEPTION_ABLE_CODECS = frozenset(("pickle",))

#: Arguments that JSON takes whatever their value (msgpack does not: lone surrogates, large numbers).
_PLAIN = (str, int, float, bool, type(None))


def prepare(exc: BaseException, serializer: str, check: Callable[[Any], Any]) -> Any:
    """What is stored for an exception; no exception, however strange, makes this raise.

    `check` raises for a value that the serializer cannot carry.
    """
    if serializer in EXCEPTION_ABLE_CODECS:
        try:
            return get_pickleable_exception(exc)
        except Exception as trouble:  # a border: repr(), args and __reduce__ are the user's code
            return Exception(f"{type(exc).__qualname__}: could not be pickled ({type(trouble).__name__})")
    kind = type(exc)
    return {
        "exc_type": kind.__qualname__,
        "exc_message": _arguments(exc, serializer, check),
        "exc_module": wire_module(kind),
    }


def _arguments(exc: BaseException, serializer: str, check: Callable[[Any], Any]) -> tuple[Any, ...]:
    try:
        args = tuple(exc.args)
        if serializer == "json" and all(type(arg) in _PLAIN for arg in args):
            return args
        return ensure_serializable(args, check)
    except Exception as trouble:  # a border, as above
        return (f"<{type(exc).__qualname__}: arguments cannot be shown ({type(trouble).__name__})>",)


def rebuild(stored: Any) -> BaseException | None:
    """The exception that a result names, of its own class where this process knows it."""
    if not stored:
        return None
    if isinstance(stored, BaseException):
        return get_pickled_exception(stored)
    if not isinstance(stored, dict):
        return Exception(stored)
    kind = exception_class(stored.get("exc_module"), str(stored.get("exc_type")))
    message = stored.get("exc_message", "")
    try:
        return kind(*message) if isinstance(message, list | tuple) else kind(message)
    except Exception:  # a border: constructors are the user's code
        return Exception(f"{kind}({message})")
