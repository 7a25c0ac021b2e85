"""Small classes: a bag of attributes, a property on a dict key, a context that may be given or made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ("Bunch", "FallbackContext", "getitem_property", "mro_lookup", "cached_property")

T = TypeVar("T")


class Bunch:
    """An object with the attributes it is given."""

    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)


class cached_property(Generic[T]):  # the lower-case name is Celery's
    """A property that is computed once for each object, and can be set and deleted like a plain attribute."""

    def __init__(self, fget: Callable[[Any], T]) -> None:
        self.fget = fget
        self.__doc__ = fget.__doc__
        self.__name__ = fget.__name__

    def __set_name__(self, owner: type, name: str) -> None:
        self.__name__ = name

    @overload
    def __get__(self, obj: None, owner: type) -> cached_property[T]: ...

    @overload
    def __get__(self, obj: object, owner: type | None = None) -> T: ...

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            return self
        # There is no __set__, so that from now on Python finds the value without calling us.
        value = obj.__dict__[self.__name__] = self.fget(obj)
        return value


def mro_lookup(
    cls: type, attr: str, stop: set[type] | None = None, monkey_patched: list[str] | None = None
) -> type | None:
    """The class in the bases of `cls` that defines `attr`, looked for up to a class in `stop`.

    A definition in a class of `stop` counts if its module is not in `monkey_patched`: someone replaced it.
    """
    for node in cls.__mro__:
        if stop and node in stop:
            module = getattr(node.__dict__.get(attr), "__module__", None)
            if monkey_patched and module is not None and module not in monkey_patched:
                return node
            return None
        if attr in node.__dict__:
            return node
    return None


class FallbackContext:
    """A context that is `provided`, or else made by `fallback(*args, **kwargs)` and closed at the end."""

    def __init__(self, provided: Any, fallback: Callable[..., Any], *fb_args: Any, **fb_kwargs: Any) -> None:
        self.provided = provided
        self.fallback = fallback
        self.fb_args = fb_args
        self.fb_kwargs = fb_kwargs
        self._context: Any = None

    def __enter__(self) -> Any:
        if self.provided is not None:
            return self.provided
        self._context = self.fallback(*self.fb_args, **self.fb_kwargs)
        return self._context.__enter__()

    def __exit__(self, *exc_info: Any) -> Any:
        if self._context is not None:
            return self._context.__exit__(*exc_info)
        return None


class getitem_property:  # the lower-case name is Celery's
    """An attribute that is a key of the mapping it sits on: `"options.x"` is `self["options"]["x"]`."""

    def __init__(self, keypath: str, doc: str | None = None) -> None:
        path, _, self.key = keypath.rpartition(".")
        self.path = path.split(".") if path else None
        self.__doc__ = doc

    def _path(self, obj: Any) -> Any:
        for part in self.path or ():
            obj = obj[part]
        return obj

    def __get__(self, obj: Any, type: type | None = None) -> Any:
        if obj is None:
            return self
        return self._path(obj).get(self.key)

    def __set__(self, obj: Any, value: Any) -> None:
        self._path(obj)[self.key] = value
