"""Short reprs: limited, closed, and never an error."""

from __future__ import annotations

from decimal import Decimal

import pytest

from celerylite.utils.saferepr import safe_repr, saferepr


@pytest.mark.parametrize(
    "value",
    [1, 2.5, "text", None, True, (1,), (), [], {}, {"a": 1}, {1}, set(), [1, [2]], Decimal("1.5"), b"x"],
)
def test_what_is_short_is_shown_as_repr_does(value: object) -> None:
    assert saferepr(value, maxlen=1024) == repr(value)


@pytest.mark.parametrize(
    ("value", "maxlen", "shown"),
    [
        ("x" * 30, 5, "'xxxxx...'"),
        (list(range(40)), 10, "[0, 1, 2, , ...]"),
        (list(range(40)), 20, "[0, 1, 2, 3, 4, 5, 6..., ...]"),
        ({"key": "v" * 30}, 12, "{'key': 'vvvv...'}"),
        ([[1, 2], 3], 4, "[[1, , ...]]"),
        ({(1, 2): 3}, 4, "{(1, , ...), ...}"),
        ([b"\xff" * 20], 8, "[b'ffffffffffffff...']"),
        ((("deep",),), 3, "(('d...',),)"),
    ],
)
def test_what_is_long_is_cut_and_closed(value: object, maxlen: int, shown: str) -> None:
    assert saferepr(value, maxlen=maxlen) == shown


def test_depth_is_limited() -> None:
    assert saferepr([1, [2, [3, [4]]]]) == "[1, [2, [3, [...]]]]"
    assert saferepr({"a": {"b": 1}}, maxlevels=1) == "{'a': {...}}"


def test_recursion_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert saferepr(endless) == f"[<Recursion on list with id={id(endless)}>]"
    shared = [1]
    assert saferepr([shared, shared]) == "[[1], [1]]"


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no")


def test_a_broken_repr_is_no_error() -> None:
    assert saferepr([Broken()]).startswith("[<Unrepresentable <class ")
    assert "ValueError('no')" in safe_repr(Broken())
