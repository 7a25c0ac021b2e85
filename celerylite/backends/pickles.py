"""Pickled results: our exceptions go out under Celery's names, and Celery's come in as ours."""

from __future__ import annotations

import io
import pickle
from typing import Any

from celerylite.utils.serialization import exception_class, wire_module

#: Modules of Celery's that we read as our own.
_EXCEPTIONS = ("celery.exceptions", "billiard.exceptions")


#: The Python one; the type stubs know only its public methods.
_PythonPickler: Any = pickle._Pickler


class _Pickler(_PythonPickler):
    """The Python one, because the C one takes no other name for a class; used for our exceptions only."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None) or ""
        if not isinstance(obj, type) or not module.startswith("celerylite."):
            super().save_global(obj, name)
            return
        self.save(wire_module(obj))
        self.save(obj.__qualname__)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    dispatch = {**_PythonPickler.dispatch, type: save_global}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _EXCEPTIONS:
            return exception_class(module, name)
        if module.startswith("celery."):
            module = "celerylite" + module[len("celery") :]
        return super().find_class(module, name)


def dumps(meta: Any) -> bytes:
    """A pickled record with an exception of ours."""
    from kombu.serialization import pickle_protocol

    buffer = io.BytesIO()
    _Pickler(buffer, protocol=max(4, pickle_protocol)).dump(meta)
    return buffer.getvalue()


def loads(payload: bytes) -> Any:
    """A pickled record; only for what the settings accept. Raises kombu's `DecodeError`."""
    try:
        return _Unpickler(io.BytesIO(payload)).load()
    except Exception as exc:  # a border: unpickling runs the code of other classes
        from kombu.exceptions import DecodeError

        raise DecodeError(str(exc)) from exc


def names_us(meta: Any) -> bool:
    """Whether a record's result is an exception of our own."""
    result = meta.get("result") if isinstance(meta, dict) else None
    return isinstance(result, BaseException) and type(result).__module__.startswith("celerylite.")
