"""Objects that stand for others: `Proxy` looks its object up at each use, `PromiseProxy` makes it once.

`current_app` and shared tasks are such objects.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ("Proxy", "PromiseProxy", "try_import", "maybe_evaluate")

_set = object.__setattr__
_get = object.__getattribute__


class Proxy:
    """Everything done to it is done to what `local(*args, **kwargs)` returns at that moment."""

    # One definition for each operator, because Python looks operators up on the class, past `__getattr__`.
    __slots__ = ("_local", "_args", "_kwargs", "_name", "__dict__")

    def __init__(
        self,
        local: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        __doc__: str | None = None,
    ) -> None:
        _set(self, "_local", local)
        _set(self, "_args", args or ())
        _set(self, "_kwargs", kwargs or {})
        _set(self, "_name", name)
        if __doc__ is not None:
            _get(self, "__dict__")["__doc__"] = __doc__

    def _get_current_object(self) -> Any:
        """The object that this one stands for."""
        return _get(self, "_local")(*_get(self, "_args"), **_get(self, "_kwargs"))

    # attributes

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN:
            return _get(self, name)
        if name == "__name__" and _get(self, "_name") is not None:
            return _get(self, "_name")
        if name == "__doc__" and "__doc__" in _get(self, "__dict__"):
            return _get(self, "__dict__")["__doc__"]
        if name == "__module__":
            return _module_of(self)
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._get_current_object(), name)

    def __dir__(self) -> list[str]:
        return dir(self._get_current_object())

    def __repr__(self) -> str:
        try:
            current = self._get_current_object()
        except RuntimeError:  # bound to nothing just now
            return f"<{type(self).__name__} unbound>"
        return repr(current)

    def __str__(self) -> str:
        return str(self._get_current_object())

    def __format__(self, spec: str) -> str:
        return format(self._get_current_object(), spec)

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._get_current_object().__reduce_ex__(protocol)

    # calls, containers, contexts

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._get_current_object()(*args, **kwargs)

    def __len__(self) -> int:
        return len(self._get_current_object())

    def __getitem__(self, key: Any) -> Any:
        return self._get_current_object()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._get_current_object()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._get_current_object()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._get_current_object())

    def __contains__(self, item: Any) -> bool:
        return item in self._get_current_object()

    def __enter__(self) -> Any:
        return self._get_current_object().__enter__()

    def __exit__(self, *exc_info: Any) -> Any:
        return self._get_current_object().__exit__(*exc_info)

    # comparison

    def __eq__(self, other: Any) -> bool:
        return self._get_current_object() == other

    def __ne__(self, other: Any) -> bool:
        return self._get_current_object() != other

    def __lt__(self, other: Any) -> bool:
        return self._get_current_object() < other

    def __le__(self, other: Any) -> bool:
        return self._get_current_object() <= other

    def __gt__(self, other: Any) -> bool:
        return self._get_current_object() > other

    def __ge__(self, other: Any) -> bool:
        return self._get_current_object() >= other

    # arithmetic (signatures are joined with `|`, results with `+`)

    def __or__(self, other: Any) -> Any:
        return self._get_current_object() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._get_current_object()

    def __and__(self, other: Any) -> Any:
        return self._get_current_object() & other

    def __xor__(self, other: Any) -> Any:
        return self._get_current_object() ^ other

    def __invert__(self) -> Any:
        return ~self._get_current_object()

    def __add__(self, other: Any) -> Any:
        return self._get_current_object() + other

    def __radd__(self, other: Any) -> Any:
        return other + self._get_current_object()

    def __sub__(self, other: Any) -> Any:
        return self._get_current_object() - other

    def __mul__(self, other: Any) -> Any:
        return self._get_current_object() * other

    def __rmul__(self, other: Any) -> Any:
        return other * self._get_current_object()

    def __truediv__(self, other: Any) -> Any:
        return self._get_current_object() / other

    def __floordiv__(self, other: Any) -> Any:
        return self._get_current_object() // other

    def __mod__(self, other: Any) -> Any:
        return self._get_current_object() % other

    def __divmod__(self, other: Any) -> Any:
        return divmod(self._get_current_object(), other)

    def __pow__(self, other: Any) -> Any:
        return self._get_current_object() ** other

    def __lshift__(self, other: Any) -> Any:
        return self._get_current_object() << other

    def __rshift__(self, other: Any) -> Any:
        return self._get_current_object() >> other

    def __neg__(self) -> Any:
        return -self._get_current_object()

    def __pos__(self) -> Any:
        return +self._get_current_object()

    def __abs__(self) -> Any:
        return abs(self._get_current_object())

    def __int__(self) -> int:
        return int(self._get_current_object())

    def __float__(self) -> float:
        return float(self._get_current_object())

    def __complex__(self) -> complex:
        return complex(self._get_current_object())

    def __index__(self) -> int:
        return self._get_current_object().__index__()


class PromiseProxy(Proxy):
    """The object is made when it is first used, and kept; `__then__` calls back when that happens."""

    __slots__ = ("_object", "_pending", "__weakref__")

    def _get_current_object(self) -> Any:
        try:
            return _get(self, "_object")
        except AttributeError:
            return self.__evaluate__()

    def __evaluated__(self) -> bool:
        """Whether the object exists already."""
        try:
            _get(self, "_object")
        except AttributeError:
            return False
        return True

    def __evaluate__(self) -> Any:
        """Make the object, if need be, and call those who waited for it."""
        if self.__evaluated__():
            return _get(self, "_object")
        made = _get(self, "_local")(*_get(self, "_args"), **_get(self, "_kwargs"))
        _set(self, "_object", made)
        # The recipe is not needed any more, and may hold a lot alive.
        _set(self, "_args", ())
        _set(self, "_kwargs", {})
        for fun, args, kwargs in self._take_pending():
            fun(*args, **kwargs)
        return made

    def __maybe_evaluate__(self) -> Any:
        return self._get_current_object()

    def __then__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `fun(*args, **kwargs)` when the object exists: now, or as soon as it is made."""
        if self.__evaluated__():
            return fun(*args, **kwargs)
        waiting = self._take_pending()
        waiting.append((fun, args, kwargs))
        _set(self, "_pending", waiting)
        return None

    def _take_pending(self) -> list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]:
        try:
            waiting = _get(self, "_pending")
        except AttributeError:
            return []
        _set(self, "_pending", [])
        return waiting


# What is looked up on the proxy itself, not on the object behind it.
_OWN = frozenset(
    {
        "_get_current_object",
        "_take_pending",
        "__evaluate__",
        "__evaluated__",
        "__maybe_evaluate__",
        "__then__",
        "__slots__",
    }
)


def _module_of(proxy: Proxy) -> Any:
    try:
        return _get(proxy, "_get_current_object")().__module__
    except (AttributeError, RuntimeError):
        return _get(proxy, "_local").__module__


def maybe_evaluate(obj: Any) -> Any:
    """The object behind a `PromiseProxy`, or `obj` itself when it is none."""
    try:
        return obj.__maybe_evaluate__()
    except AttributeError:
        return obj


def try_import(module: str, default: Any = None) -> Any:
    """The module, or `default` where it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return default


class class_property:  # the lower-case name is Celery's
    """A property of a class: `getter(cls)` on reading, `setter(cls, value)` by way of an instance."""

    def __init__(
        self, getter: Callable[..., Any] | None = None, setter: Callable[..., Any] | None = None
    ) -> None:
        self._getter = getter
        self._setter = setter

    def __get__(self, obj: Any, cls: type | None = None) -> Any:
        assert self._getter is not None
        return _plain(self._getter)(cls if cls is not None else type(obj))

    def __set__(self, obj: Any, value: Any) -> Any:
        assert self._setter is not None
        return _plain(self._setter)(type(obj), value)

    def setter(self, setter: Callable[..., Any]) -> class_property:
        """As `property.setter`."""
        return type(self)(self._getter, setter)


def _plain(method: Any) -> Callable[..., Any]:
    return getattr(method, "__func__", method)
