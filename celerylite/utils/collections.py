"""Containers: a dict with attributes, an object's attributes as a dict, a set that forgets what is old."""

from __future__ import annotations

import time
from collections import ChainMap, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .functional import first

__all__ = (
    "AttributeDictMixin",
    "AttributeDict",
    "ChainMap",
    "DictAttribute",
    "LimitedSet",
    "OrderedDict",
    "force_mapping",
    "lpmerge",
)


def force_mapping(m: Any) -> Mapping[str, Any]:
    """A mapping as it is; the attributes of anything else as one."""
    return m if isinstance(m, Mapping) else DictAttribute(m)


def lpmerge(L: dict[Any, Any], R: Mapping[Any, Any]) -> dict[Any, Any]:  # noqa: N803 (Celery's names)
    """`L`, with every value of `R` in it that is not None."""
    L.update((key, value) for key, value in R.items() if value is not None)
    return L


class AttributeDictMixin:
    """Keys can be read and written as attributes."""

    def __getattr__(self, k: str) -> Any:
        try:
            return self[k]  # type: ignore[index]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {k!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value


class AttributeDict(dict, AttributeDictMixin):
    """A dict whose keys are attributes, too."""


class DictAttribute(Mapping):
    """The attributes of an object, as a mapping that writes through."""

    obj: Any = None

    def __init__(self, obj: Any) -> None:
        object.__setattr__(self, "obj", obj)

    def __getattr__(self, key: str) -> Any:
        return getattr(self.obj, key)

    def __setattr__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self.obj, key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As `dict.setdefault`."""
        if key not in self:
            self[key] = default
        return self[key]

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self.obj, key)
        except AttributeError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and hasattr(self.obj, key)

    def __iter__(self) -> Iterator[str]:
        return iter(dir(self.obj))

    def __len__(self) -> int:
        return len(dir(self.obj))


class LimitedSet:
    """A set with at most `maxlen` members, which leave after `expires` seconds, the oldest first.

    `minlen` members stay however old they are. Used for the ids of revoked tasks, which is why it can be
    merged (`update`) and saved (`as_dict`).
    """

    def __init__(self, maxlen: int = 0, expires: float = 0, data: Any = None, minlen: int = 0) -> None:
        self.maxlen = maxlen or 0
        self.minlen = minlen or 0
        self.expires = expires or 0
        if not self.maxlen >= self.minlen >= 0:
            raise ValueError("minlen must be a positive number, less or equal to maxlen.")
        if self.expires < 0:
            raise ValueError("expires must not be negative!")
        #: Member -> when it was added, the oldest first.
        self._data: dict[Any, float] = {}
        if data:
            self.update(data)

    def clear(self) -> None:
        """Forget all."""
        self._data.clear()

    def add(self, item: Any, now: float | None = None) -> None:
        """Add a member, or make it young again."""
        added = now or time.time()
        self._data.pop(item, None)
        newest = next(reversed(self._data.values()), 0.0)
        self._data[item] = added
        if added < newest:  # merged from elsewhere: keep the order by age
            self._data = dict(sorted(self._data.items(), key=lambda pair: pair[1]))
        if self.maxlen and len(self._data) > self.maxlen:
            self.purge()

    def update(self, other: Any) -> None:
        """Add the members of another set, mapping (member: age) or sequence."""
        if not other:
            return
        if isinstance(other, LimitedSet):
            pairs: Iterable[tuple[Any, float]] = other._data.items()
        elif isinstance(other, Mapping):
            # What `as_dict` of an older version saved had dicts for values.
            pairs = [
                (key, val["inserted"] if isinstance(val, Mapping) else val) for key, val in other.items()
            ]
        else:
            pairs = [(item, time.time()) for item in other]
        merged = dict(self._data)
        for item, added in pairs:
            merged[item] = max(float(added), merged.get(item, 0.0))
        self._data = dict(sorted(merged.items(), key=lambda pair: pair[1]))
        self.purge()

    def discard(self, item: Any) -> None:
        """Take a member out, if it is in."""
        self._data.pop(item, None)

    pop_value = discard

    def purge(self, now: float | None = None) -> None:
        """Take out who is too old or too many."""
        now = now or time.time()
        excess = len(self._data) - self.maxlen if self.maxlen else 0
        spare = len(self._data) - self.minlen
        gone: list[Any] = []
        for item, added in self._data.items():
            too_old = self.expires and added <= now - self.expires
            if len(gone) >= excess and not (too_old and len(gone) < spare):
                break
            gone.append(item)
        for item in gone:
            del self._data[item]

    def pop(self, default: Any = None) -> Any:
        """Take the oldest member out; `default` when empty."""
        oldest = first(None, iter(self._data))
        if oldest is None:
            return default
        del self._data[oldest]
        return oldest

    def as_dict(self) -> dict[Any, float]:
        """Member -> when it was added."""
        return dict(self._data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LimitedSet) and self._data == other._data

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}({len(self)}): maxlen={self.maxlen}, expires={self.expires}, "
            f"minlen={self.minlen}>"
        )

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._data))

    def __len__(self) -> int:
        return len(self._data)

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __reduce__(self) -> Any:
        return type(self), (self.maxlen, self.expires, self.as_dict(), self.minlen)

    def __bool__(self) -> bool:
        return bool(self._data)
