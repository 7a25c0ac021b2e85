"""A repr that stays short: for arguments in messages, events and log lines.

The output is the one that Celery gives: limited in length and depth, brackets always closed, never an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Number
from typing import Any

from .text import truncate

__all__ = ("saferepr", "safe_repr")


def saferepr(o: Any, maxlen: int | None = None, maxlevels: int = 3, seen: set[int] | None = None) -> str:
    """The repr of `o` in about `maxlen` characters, with containers shown `maxlevels` deep."""
    writer = _Writer(float("inf") if maxlen is None else maxlen, maxlevels, seen or set())
    writer.write(o, 0)
    return "".join(writer.parts)


def safe_repr(o: Any) -> str:
    """The plain repr of `o`, or a stand-in where `__repr__` fails."""
    try:
        return repr(o)
    except Exception as exc:  # a border: __repr__ is the user's code
        return f"<Unrepresentable {type(o)!r}{id(o):#x}: {exc!r}>"


class _Writer:
    """Collects the parts of a repr until there is no room left."""

    def __init__(self, room: float, maxlevels: int, seen: set[int]) -> None:
        self.parts: list[str] = []
        self.room = room
        self.maxlevels = maxlevels
        self.open_ids = seen  # the containers that we are inside of
        self.full = False

    def write(self, obj: Any, level: int) -> None:
        """Add one value, or what remains to be said when there is no room for it."""
        if self._is_full():
            return
        if isinstance(obj, str):
            self._write_text(obj)
        elif isinstance(obj, bytes):
            self._write_bytes(obj)
        elif isinstance(obj, Number):
            self._plain(safe_repr(obj))
        elif isinstance(obj, dict):
            self._container(obj, level, "{", "}")
        elif isinstance(obj, set | frozenset):
            self._write_set(obj, level)
        elif isinstance(obj, list):
            self._container(obj, level, "[", "]")
        elif isinstance(obj, tuple):
            self._container(obj, level, "(", ",)" if len(obj) == 1 else ")")
        else:
            self._plain(safe_repr(obj))

    def _is_full(self) -> bool:
        if self.room <= 0 and not self.full:
            self.full = True
            self.parts.append(", ...")
        return self.full

    def _mark(self, text: str) -> None:
        self.parts.append(text)
        self.room -= len(text)

    def _plain(self, text: str) -> None:
        self.parts.append(self._shortened(text))
        self.room -= len(text)

    def _shortened(self, text: str) -> str:
        return text if self.room - len(text) > 0 else truncate(text, int(self.room))

    def _write_text(self, text: str) -> None:
        shown = self._shortened(text).replace("'", "\\'")
        self.parts.append(f"'{shown}'")
        self.room -= len(shown) + 2

    def _write_bytes(self, data: bytes) -> None:
        cut = len(data) > self.room
        shown = data[: int(self.room)] if cut else data
        try:
            text = shown.decode()
        except UnicodeDecodeError:
            text = shown.hex()
        text = text + "..." if cut else text
        self.parts.append(f"b'{text}'")
        self.room -= len(text) + 3

    def _write_set(self, values: Any, level: int) -> None:
        frozen = isinstance(values, frozenset)
        if not values:
            self._plain("frozenset()" if frozen else "set()")
        else:
            self._container(values, level, "frozenset({" if frozen else "{", "})" if frozen else "}")

    def _container(self, values: Any, level: int, opening: str, closing: str) -> None:
        if level >= self.maxlevels:
            self._mark(f"{opening}...{closing}")
            return
        if id(values) in self.open_ids:
            self._plain(f"<Recursion on {type(values).__name__} with id={id(values)}>")
            return
        self.open_ids.add(id(values))
        self._mark(opening)
        if isinstance(values, dict):
            self._items(values, level + 1)
        else:
            self._values(values, level + 1)
        self._mark(closing)
        self.open_ids.discard(id(values))

    def _values(self, values: Iterable[Any], level: int) -> None:
        for position, value in enumerate(values):
            if position:
                if self._is_full():
                    return
                self._mark(", ")
            self.write(value, level)
            if self.full:
                return

    def _items(self, mapping: dict[Any, Any], level: int) -> None:
        for position, (key, value) in enumerate(mapping.items()):
            if position:
                if self._is_full():
                    return
                self._mark(", ")
            self._write_key(key, level - 1)
            if self._is_full():
                return
            self._mark(": ")
            self.write(value, level)
            if self.full:
                return

    def _write_key(self, key: Any, level: int) -> None:
        if not self._is_full():
            self.write(key, level)
            if self.full:
                # Room ran out within a tuple: the dict says for itself that there was more.
                self.parts.append(", ...")
