"""Proxies do as their object does."""

from __future__ import annotations

import pickle

import pytest

from celerylite.local import PromiseProxy, Proxy, maybe_evaluate, try_import


def test_a_proxy_passes_for_its_object() -> None:
    numbers = [1, 2]
    proxy = Proxy(lambda: numbers)
    assert isinstance(proxy, list)
    assert proxy == [1, 2] and len(proxy) == 2 and proxy[0] == 1 and 2 in proxy and bool(proxy)
    proxy.append(3)
    proxy[0] = 0
    del proxy[1]
    assert numbers == [0, 3] == list(proxy)
    assert proxy + [4] == [0, 3, 4]
    assert repr(proxy) == "[0, 3]"
    assert pickle.loads(pickle.dumps(Proxy(int, ("7",)))) == 7


def test_a_proxy_looks_its_object_up_each_time() -> None:
    current = {"name": "one"}
    proxy = Proxy(current.get, ("name",))
    assert str(proxy) == "one"
    current["name"] = "two"
    assert proxy.upper() == "TWO"


def test_attributes_are_set_on_the_object() -> None:
    class Thing:
        pass

    thing = Thing()
    proxy = Proxy(lambda: thing)
    proxy.color = "red"
    assert thing.color == "red"  # type: ignore[attr-defined]
    del proxy.color
    assert not hasattr(thing, "color")


def test_a_proxy_without_object_can_be_shown() -> None:
    def nothing() -> None:
        raise RuntimeError("not now")

    assert repr(Proxy(nothing)) == "<Proxy unbound>"
    with pytest.raises(RuntimeError):
        Proxy(nothing).anything  # noqa: B018


def test_a_promise_is_made_once() -> None:
    made = []
    promise = PromiseProxy(lambda: made.append(1) or {"a": 1})
    told = []
    promise.__then__(told.append, "ready")
    assert not promise.__evaluated__() and not told
    assert promise["a"] == 1 and promise["a"] == 1
    assert made == [1] and told == ["ready"]
    promise.__then__(told.append, "at once")
    assert told == ["ready", "at once"]


def test_maybe_evaluate() -> None:
    assert type(maybe_evaluate(PromiseProxy(dict))) is dict
    assert maybe_evaluate(5) == 5


def test_try_import() -> None:
    assert try_import("no.such.module", "default") == "default"
    assert try_import("json").loads("1") == 1
