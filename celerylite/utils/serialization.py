"""Exceptions and odd values made fit to travel: what can be pickled, what JSON takes, names of exceptions.

Results carry Celery's module names, so that both sides know each other's exceptions.
"""

from __future__ import annotations

import builtins
import sys
from base64 import b64decode as base64decode
from base64 import b64encode as base64encode
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

__all__ = (
    "UnpickleableExceptionWrapper",
    "subclass_exception",
    "find_pickleable_exception",
    "create_exception_cls",
    "get_pickleable_exception",
    "get_pickleable_etype",
    "get_pickled_exception",
    "strtobool",
    "wire_module",
    "exception_class",
)

#: The words that mean yes and no.
STRTOBOOL_DEFAULT_TABLE = {
    "false": False,
    "no": False,
    "0": False,
    "true": True,
    "yes": True,
    "1": True,
    "on": True,
    "off": False,
}

#: Where the names of these of our exceptions come from, as Celery writes it into results.
_WIRE_MODULES = {
    "TimeLimitExceeded": "billiard.exceptions",
    "SoftTimeLimitExceeded": "billiard.exceptions",
    "WorkerLostError": "billiard.exceptions",
    "Terminated": "billiard.exceptions",
    "RestartFreqExceeded": "billiard.exceptions",
}

#: Nothing is gained by sending one of these in the place of a class derived from it.
unwanted_base_classes = (Exception, BaseException, object)


def strtobool(term: Any, table: dict[str, bool] | None = None) -> Any:
    """The truth of a word such as "yes"; what is no text, as it is."""
    if not isinstance(term, str):
        return term
    try:
        return (STRTOBOOL_DEFAULT_TABLE if table is None else table)[term.lower()]
    except KeyError:
        raise TypeError(f"Cannot coerce {term!r} to type bool") from None


def b64encode(s: str | bytes) -> str:
    """Base 64, as text."""
    return base64encode(s.encode() if isinstance(s, str) else s).decode("ascii")


def b64decode(s: str | bytes) -> bytes:
    """What was encoded in base 64."""
    return base64decode(s.encode("ascii") if isinstance(s, str) else s)


# -- exceptions by name


def wire_module(exc_type: type) -> str:
    """The module that a result names for an exception class: Celery's for ours, its own for any other."""
    module = exc_type.__module__
    if module == "celerylite.exceptions":
        return _WIRE_MODULES.get(exc_type.__name__, "celery.exceptions")
    if module.startswith("celerylite."):
        return "celery" + module[len("celerylite") :]
    return module


def exception_class(module: str | None, name: str) -> type:
    """The exception class that a result names; one made on the spot when this process has no such class.

    Modules are looked up, never imported: a result must not make us run code that we would not run anyway.
    """
    found = _known_class(module, name)
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    return create_exception_cls(name, module or "celery.exceptions")


def _known_class(module: str | None, name: str) -> Any:
    if not module:
        return getattr(builtins, name, None)
    if module in ("celery.exceptions", "billiard.exceptions"):
        ours = getattr(sys.modules.get("celerylite.exceptions") or _exceptions(), name, None)
        if ours is not None:
            return ours
    elif module.startswith("celery.") and "celerylite" + module[len("celery") :] in sys.modules:
        module = "celerylite" + module[len("celery") :]
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _exceptions() -> Any:
    from .. import exceptions  # below us, but most who decode base 64 do not need it

    return exceptions


def subclass_exception(name: str, parent: Any, module: str) -> type:
    """A new exception class."""
    bases = parent if isinstance(parent, tuple) else (parent,)
    return type(name, bases, {"__module__": module})


def create_exception_cls(name: str, module: str, parent: type | None = None) -> type:
    """An exception class for one that exists elsewhere only."""
    return subclass_exception(name, parent or Exception, module)


# -- exceptions and pickle


def itermro(cls: type, stop: tuple[type, ...]) -> Iterator[type]:
    """The bases of a class up to the first one in `stop`."""
    for base in cls.__mro__:
        if base in stop:
            return
        yield base


def find_pickleable_exception(
    exc: BaseException, loads: Callable[..., Any] | None = None, dumps: Callable[..., Any] | None = None
) -> BaseException | None:
    """An exception of the nearest base class that survives pickling; None where none does."""
    loads, dumps = _picklers(loads, dumps)
    for supercls in itermro(exc.__class__, unwanted_base_classes):
        try:
            candidate = supercls(*exc.args)
            loads(dumps(candidate))
        except Exception:  # a border: constructors and __reduce__ are the user's code
            continue  # the next base may fare better; there is nothing to tell anyone
        return candidate
    return None


def _picklers(loads: Any, dumps: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    import pickle  # 5 ms, and with JSON nobody needs it

    return loads or pickle.loads, dumps or pickle.dumps


class UnpickleableExceptionWrapper(Exception):
    """Stands for an exception that cannot be pickled: its names, and its arguments as text where need be."""

    exc_module: Any = None
    exc_cls_name: Any = None
    exc_args: Any = None

    def __init__(
        self, exc_module: str, exc_cls_name: str, exc_args: Iterable[Any], text: str | None = None
    ) -> None:
        self.exc_module = exc_module
        self.exc_cls_name = exc_cls_name
        self.exc_args = ensure_serializable(exc_args, _picklers(None, None)[1])
        self.text = text
        super().__init__(exc_module, exc_cls_name, self.exc_args, text)

    def restore(self) -> BaseException:
        """An exception of the class that was wrapped, or of one with its name."""
        return create_exception_cls(self.exc_cls_name, self.exc_module)(*self.exc_args)

    def __str__(self) -> str:
        return self.text or ""

    @classmethod
    def from_exception(cls, exc: BaseException) -> UnpickleableExceptionWrapper:
        """Wrap an exception."""
        from .saferepr import safe_repr  # names the value even where repr() fails

        return cls(type(exc).__module__, type(exc).__name__, getattr(exc, "args", []), safe_repr(exc))


def get_pickleable_exception(exc: BaseException) -> BaseException:
    """The exception itself if it can be pickled, else the best stand-in."""
    loads, dumps = _picklers(None, None)
    try:
        loads(dumps(exc))
    except Exception:  # a border: __reduce__ is the user's code
        pass  # the stand-ins below are the answer to this
    else:
        return exc
    return find_pickleable_exception(exc) or UnpickleableExceptionWrapper.from_exception(exc)


def get_pickleable_etype(
    cls: type, loads: Callable[..., Any] | None = None, dumps: Callable[..., Any] | None = None
) -> type:
    """The class itself if it can be pickled, else Exception."""
    loads, dumps = _picklers(loads, dumps)
    try:
        loads(dumps(cls))
    except Exception:  # a border: a metaclass may do anything
        return Exception
    return cls


def get_pickled_exception(exc: Any) -> Any:
    """The exception that a wrapper stands for; any other as it is."""
    return exc.restore() if isinstance(exc, UnpickleableExceptionWrapper) else exc


def raise_with_context(exc: BaseException) -> None:
    """Raise `exc` with the error being handled as its cause; that same error is raised as it was."""
    current = sys.exc_info()[1]
    if current is None:
        raise exc
    if current is exc:
        raise
    raise exc from current


# -- values for JSON


def ensure_serializable(items: Iterable[Any], encoder: Callable[[Any], Any]) -> tuple[Any, ...]:
    """The values, with the repr in the place of each that `encoder` refuses."""
    from .saferepr import safe_repr

    safe = []
    for item in items:
        try:
            encoder(item)
        except Exception:  # a border: encoders call the user's code
            safe.append(safe_repr(item))
        else:
            safe.append(item)
    return tuple(safe)


def jsonify(
    obj: Any,
    builtin_types: tuple[type, ...] = (int, float, str),
    key: str | None = None,
    keyfilter: Callable[[Any], bool] | None = None,
    unknown_type_filter: Callable[[Any], Any] | None = None,
) -> Any:
    """The value made of what JSON knows: dates as text, tuples as lists."""
    if obj is None or isinstance(obj, builtin_types):
        return obj
    if hasattr(obj, "__json__"):
        return obj.__json__()
    if isinstance(obj, tuple | list):
        return [jsonify(one, builtin_types, key, keyfilter, unknown_type_filter) for one in obj]
    if isinstance(obj, dict):
        return {
            k: jsonify(v, builtin_types, k, keyfilter, unknown_type_filter)
            for k, v in obj.items()
            if (keyfilter(k) if keyfilter else True)
        }
    if isinstance(obj, datetime):
        return _datetime_to_json(obj)
    if isinstance(obj, date | time):
        return obj.isoformat()
    if isinstance(obj, timedelta):
        return str(obj)
    if unknown_type_filter is not None:
        return unknown_type_filter(obj)
    raise ValueError(f"Unsupported type: {type(obj)!r} {obj!r} (parent: {key})")


def _datetime_to_json(dt: datetime) -> str:
    text = dt.isoformat()
    if dt.microsecond:
        # Milliseconds are what other languages read.
        text = text[:23] + text[26:]
    return text[:-6] + "Z" if text.endswith("+00:00") else text
