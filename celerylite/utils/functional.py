"""Small functions on functions and sequences."""

from __future__ import annotations

import threading
from collections import OrderedDict, UserList
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from itertools import islice
from typing import Any, TypeVar

from .callargs import head_from_fun

__all__ = (
    "LRUCache",
    "is_list",
    "maybe_list",
    "memoize",
    "mlazy",
    "noop",
    "first",
    "firstmethod",
    "chunks",
    "padlist",
    "mattrgetter",
    "uniq",
    "regen",
    "dictfilter",
    "lazy",
    "maybe_evaluate",
    "head_from_fun",
    "maybe",
    "fun_accepts_kwargs",
)

T = TypeVar("T")

_VARARGS = 0x04  # code flags: the function has *args, **kwargs
_VARKEYWORDS = 0x08


# -- values made late, or kept


class LRUCache(OrderedDict):
    """A dict that forgets what was not used for longest when it has more than `limit` keys."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.mutex = threading.RLock()

    def __getitem__(self, key: Any) -> Any:
        with self.mutex:
            value = super().__getitem__(key)
            self.move_to_end(key)
            return value

    def __setitem__(self, key: Any, value: Any) -> None:
        with self.mutex:
            super().__setitem__(key, value)
            self.move_to_end(key)
            self._trim()

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As of a dict; without arguments it brings the cache down to a new `limit`."""
        with self.mutex:
            super().update(*args, **kwargs)
            self._trim()

    def _trim(self) -> None:
        while self.limit is not None and len(self) > self.limit:
            self.popitem(last=False)

    def incr(self, key: Any, delta: int = 1) -> int:
        """Add to a number, and return it."""
        with self.mutex:
            value = int(super().__getitem__(key)) + delta
            self[key] = value
            return value


def memoize(
    maxsize: int | None = None,
    keyfun: Callable[..., Any] | None = None,
    Cache: Any = LRUCache,  # noqa: N803
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Remember what the function returned for its last `maxsize` arguments."""

    def decorate(fun: Callable[..., T]) -> Callable[..., T]:
        cache = Cache(limit=maxsize)

        @wraps(fun)
        def remembering(*args: Any, **kwargs: Any) -> T:
            key = keyfun(args, kwargs) if keyfun else (args, tuple(sorted(kwargs.items())))
            try:
                return cache[key]
            except KeyError:
                value = cache[key] = fun(*args, **kwargs)
                return value

        remembering.clear = cache.clear  # type: ignore[attr-defined]
        remembering.original_func = fun  # type: ignore[attr-defined]
        return remembering

    return decorate


class lazy:  # the lower-case name is Celery's
    """A value that is computed each time it is called for."""

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._fun = fun
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        return self.evaluate()

    def evaluate(self) -> Any:
        """Compute the value."""
        return self._fun(*self._args, **self._kwargs)

    def __str__(self) -> str:
        return str(self())

    def __repr__(self) -> str:
        return repr(self())

    def __eq__(self, other: object) -> bool:
        return self() == other

    def __ne__(self, other: object) -> bool:
        return self() != other

    def __hash__(self) -> int:
        return hash((self._fun, self._args))


class mlazy(lazy):  # the lower-case name is Celery's
    """A value that is computed when it is first called for, and kept."""

    evaluated = False
    _value: Any = None

    def evaluate(self) -> Any:
        if not self.evaluated:
            self._value = super().evaluate()
            self.evaluated = True
        return self._value


def maybe_evaluate(value: Any) -> Any:
    """What a `lazy` comes to; any other value as it is."""
    return value.evaluate() if isinstance(value, lazy) else value


def evaluate_promises(it: Iterable[Any]) -> Iterator[Any]:
    """Each value, the late ones computed."""
    for value in it:
        yield value() if isinstance(value, mlazy) else value


# -- sequences


def is_list(
    obj: Any, scalars: tuple[type, ...] = (Mapping, str), iters: tuple[type, ...] = (Iterable,)
) -> bool:
    """Whether it has several values: anything one can go through, except text, bytes and mappings."""
    return isinstance(obj, iters) and not isinstance(obj, (*scalars, bytes))


def maybe_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str)) -> Any:
    """A list with the one value, unless there are several, or none."""
    return obj if obj is None or is_list(obj, scalars) else [obj]


def first(predicate: Callable[[Any], Any] | None, it: Iterable[Any]) -> Any:
    """The first value of which `predicate` is true (without one: that is not None), or None."""
    for value in it:
        if (value is not None) if predicate is None else predicate(value):
            return value
    return None


def firstmethod(method: str, on_call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A function that calls `method` on one object after the other until one returns something."""

    def matcher(it: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        for obj in it:
            found = getattr(maybe_evaluate(obj), method)
            answer = on_call(found, *args, **kwargs) if on_call else found(*args, **kwargs)
            if answer is not None:
                return answer
        return None

    return matcher


def chunks(it: Iterable[T], n: int) -> Iterator[list[T]]:
    """The values in lists of `n`; the last one may be shorter."""
    values = iter(it)
    while chunk := list(islice(values, n)):
        yield chunk


def padlist(container: Iterable[Any], size: int, default: Any = None) -> list[Any]:
    """Exactly `size` values: the first ones, filled up with `default`."""
    values = list(container)[:size]
    return values + [default] * (size - len(values))


def uniq(it: Iterable[T]) -> Iterator[T]:
    """Each value once, in the order of first sight."""
    seen: set[Any] = set()
    for value in it:
        if value not in seen:
            seen.add(value)
            yield value


def lookahead(it: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Each value with the one after it, the last one with None."""
    values = iter(it)
    nothing = object()
    current: Any = next(values, nothing)
    if current is nothing:
        return
    for following in values:
        yield current, following
        current = following
    yield current, None


def mattrgetter(*attrs: str) -> Callable[[Any], dict[str, Any]]:
    """A function from an object to a dict of these attributes; None for those it lacks."""
    return lambda obj: {attr: getattr(obj, attr, None) for attr in attrs}


def dictfilter(d: Mapping[Any, Any] | None = None, **kw: Any) -> dict[Any, Any]:
    """The items whose value is not None."""
    merged = {**(d or {}), **kw}
    return {key: value for key, value in merged.items() if value is not None}


def regen(it: Iterable[Any]) -> Any:
    """What can be gone through many times: lists as they are, a generator kept as far as it was read."""
    return it if isinstance(it, list | tuple) else _regen(it)


class _regen(UserList, list):  # type: ignore[misc]
    """A list that reads from an iterator only as far as it is asked for; a `list` so that JSON knows it."""

    def __init__(self, it: Iterable[Any]) -> None:
        self._source = iter(it)
        self._read: list[Any] = []
        self._done = False

    def __reduce__(self) -> Any:
        return list, (self.data,)

    def map(self, func: Callable[[Any], Any]) -> None:
        """Put `func(value)` in the place of every value."""
        self._read = [func(value) for value in self._read]
        self._source = iter([] if self._done else map(func, self._source))

    def _read_to(self, count: int | None) -> None:
        while not self._done and (count is None or len(self._read) < count):
            try:
                self._read.append(next(self._source))
            except StopIteration:
                self._done = True

    def __iter__(self) -> Iterator[Any]:
        position = 0
        while True:
            self._read_to(position + 1)
            if position >= len(self._read):
                return
            yield self._read[position]
            position += 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int) and index >= 0:
            self._read_to(index + 1)
            return self._read[index]
        return self.data[index]

    def __bool__(self) -> bool:
        self._read_to(1)
        return bool(self._read)

    def __repr__(self) -> str:
        body = repr(self._read)
        return f"<{type(self).__name__}: {body if self._done else body[:-1] + '...]'}>"

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    __hash__ = None

    @property
    def data(self) -> list[Any]:  # type: ignore[override]
        self._read_to(None)
        return self._read


def seq_concat_item(seq: Any, item: Any) -> Any:
    """The list or tuple with one more value."""
    return seq + (item,) if isinstance(seq, tuple) else seq + [item]


def seq_concat_seq(a: Any, b: Any) -> Any:
    """Both joined, of the type of the longer one."""
    kind = type(a) if len(a) >= len(b) else type(b)
    return kind([*a, *b])


# -- functions


def noop(*args: Any, **kwargs: Any) -> None:
    """Take anything, do nothing."""


def pass1(arg: T, *args: Any, **kwargs: Any) -> T:
    """Return the first argument."""
    return arg


def maybe(typ: Callable[[Any], Any], val: Any) -> Any:
    """`typ(val)`, except that None stays None."""
    return typ(val) if val is not None else val


def is_numeric_value(value: Any) -> bool:
    """Whether it is an int or a float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _code_of(fun: Any) -> Any:
    """The code object of a plain function or method, or None."""
    return getattr(getattr(fun, "__func__", fun), "__code__", None)


def fun_accepts_kwargs(fun: Callable[..., Any]) -> bool:
    """Whether the function has `**kwargs`."""
    code = _code_of(fun) if not hasattr(fun, "__wrapped__") else None
    if code is not None:
        return bool(code.co_flags & _VARKEYWORDS)
    from inspect import Parameter, signature  # 10 ms, for odd callables only

    return any(p.kind is Parameter.VAR_KEYWORD for p in signature(fun).parameters.values())


def arity_greater(fun: Callable[..., Any], n: int) -> bool:
    """Whether the function takes more than `n` positional arguments."""
    from inspect import Parameter, signature  # 10 ms, for callbacks only

    parameters = signature(fun).parameters.values()
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        return True
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    # Celery counts `self` of a bound method, too: errbacks that are methods rely on it.
    own = 1 if hasattr(fun, "__self__") else 0
    return sum(p.kind in positional for p in parameters) + own > n


def fun_takes_argument(name: str, fun: Callable[..., Any], position: int | None = None) -> Any:
    """Whether the function takes an argument of that name (or has one at `position`)."""
    from inspect import Parameter, signature  # 10 ms, for callbacks only

    parameters = signature(fun).parameters
    kinds = {p.kind for p in parameters.values()}
    if Parameter.VAR_POSITIONAL in kinds or Parameter.VAR_KEYWORD in kinds:
        return True
    own = 1 if hasattr(fun, "__self__") else 0
    return len(parameters) + own >= position if position else name in parameters


class DummyContext:
    """A context that does nothing."""

    def __enter__(self) -> DummyContext:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        pass
