"""Functions on functions and sequences, and the check of arguments."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from celerylite.utils import functional
from celerylite.utils.functional import head_from_fun, regen


def numbers(a, b=1): ...
def keywords(a, **kwargs): ...
def named(a, *, c): ...


class Callee:
    def __call__(self, **kwargs): ...

    def method(self, a, b): ...


def test_who_takes_keywords() -> None:
    assert not functional.fun_accepts_kwargs(numbers)
    assert functional.fun_accepts_kwargs(keywords)
    assert functional.fun_accepts_kwargs(Callee())
    assert not functional.fun_accepts_kwargs(Callee().method)


@pytest.mark.parametrize(
    ("fun", "args", "kwargs", "complaint"),
    [
        (numbers, (), {}, "numbers() missing 1 required positional argument: 'a'"),
        (numbers, (1, 2, 3), {}, "numbers() takes from 1 to 2 positional arguments but 3 were given"),
        (numbers, (1,), {"x": 1}, "numbers() got an unexpected keyword argument 'x'"),
        (numbers, (1,), {"a": 1}, "numbers() got multiple values for argument 'a'"),
        (named, (1,), {}, "named() missing 1 required keyword-only argument: 'c'"),
        (Callee().method, (), {}, "method() missing 2 required positional arguments: 'a' and 'b'"),
        (lambda: 1, (1,), {}, "<lambda>() takes 0 positional arguments but 1 was given"),
    ],
)
def test_wrong_calls_are_told_as_python_does(
    fun: Callable[..., object], args: tuple, kwargs: dict, complaint: str
) -> None:
    with pytest.raises(TypeError) as error:
        head_from_fun(fun)(*args, **kwargs)
    assert str(error.value) == complaint


def test_right_calls_pass() -> None:
    head_from_fun(numbers)(1)
    head_from_fun(numbers)(1, b=2)
    head_from_fun(keywords)(1, x=2)
    head_from_fun(named)(1, c=2)
    head_from_fun(Callee.method, bound=True)(1, 2)


def test_sequences() -> None:
    assert list(functional.chunks(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert functional.padlist([1], 3) == [1, None, None]
    assert list(functional.uniq([1, 2, 1])) == [1, 2]
    assert list(functional.lookahead("ab")) == [("a", "b"), ("b", None)] and not list(
        functional.lookahead("")
    )
    assert functional.first(None, [None, 0]) == 0
    assert functional.maybe_list("a") == ["a"] and functional.maybe_list(None) is None
    assert functional.dictfilter({"a": 1, "b": None}, c=None) == {"a": 1}
    assert functional.seq_concat_item((1,), 2) == (1, 2)
    assert functional.mattrgetter("real", "none")(3) == {"real": 3, "none": None}


def test_regen_reads_as_far_as_needed() -> None:
    read = []
    values = regen(read.append(n) or n for n in range(5))
    assert values[1] == 1 and read == [0, 1]
    assert list(values) == list(values) == [0, 1, 2, 3, 4]
    assert len(values) == 5 and values == [0, 1, 2, 3, 4]
    assert json.dumps(list(values)) == "[0, 1, 2, 3, 4]"
    assert regen([1]) == [1]


def test_memory_of_functions() -> None:
    calls = []

    @functional.memoize(maxsize=2)
    def double(n):
        calls.append(n)
        return 2 * n

    assert [double(1), double(1), double(2), double(3), double(1)] == [2, 2, 4, 6, 2]
    assert calls == [1, 2, 3, 1]


def test_late_values() -> None:
    calls = []
    late = functional.mlazy(lambda: calls.append(1) or 7)
    assert (late(), late(), calls) == (7, 7, [1])
    assert functional.maybe_evaluate(functional.lazy(int, "3")) == 3
