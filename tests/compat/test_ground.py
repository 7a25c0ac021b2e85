"""The ground floor gives what Celery's gives: names, signals, states, and the reprs that messages carry."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celerylite.utils.saferepr import saferepr

theirs = pytest.importorskip("celery.utils.saferepr")

#: Names that no package imports and that have no meaning here.
LEFT_OUT = {
    "utils.saferepr": {"reprstream"},
    "utils.threads": {"bound_open_broker_sockets"},
    "utils.collections": {"BufferMap", "ConfigurationView", "Evictable", "Messagebuffer"},
}

MODULES = [
    "states",
    "exceptions",
    "signals",
    "local",
    "platforms",
    "utils",
    "utils.abstract",
    "utils.collections",
    "utils.deprecated",
    "utils.dispatch",
    "utils.functional",
    "utils.imports",
    "utils.iso8601",
    "utils.log",
    "utils.nodenames",
    "utils.objects",
    "utils.saferepr",
    "utils.serialization",
    "utils.sysinfo",
    "utils.term",
    "utils.text",
    "utils.threads",
    "utils.time",
    "app.defaults",
    "app.log",
]


@pytest.mark.parametrize("module", MODULES)
def test_public_names(module: str) -> None:
    celerys = importlib.import_module(f"celery.{module}")
    mine = importlib.import_module(f"celerylite.{module}")
    missing = {name for name in celerys.__all__ if not hasattr(mine, name)}
    assert missing == LEFT_OUT.get(module, set())


def test_states() -> None:
    from celery import states as celerys

    from celerylite import states as mine

    for name in vars(celerys):
        if name.isupper():
            assert getattr(mine, name) == getattr(celerys, name), name


def test_signals_and_their_arguments() -> None:
    from celery import signals as celerys

    from celerylite import signals as mine

    for name in celerys.__all__:
        assert getattr(mine, name).providing_args == getattr(celerys, name).providing_args, name


def test_exceptions_have_the_same_bases() -> None:
    from celery import exceptions as celerys

    from celerylite import exceptions as mine

    for name in celerys.__all__:
        known = getattr(celerys, name)
        if isinstance(known, type):
            bases = [base.__name__ for base in known.__mro__]
            assert [base.__name__ for base in getattr(mine, name).__mro__] == bases, name


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("ab'\"\\é \n", max_size=25)
    | st.binary(max_size=12)
    | st.dates()
    | st.decimals(allow_nan=False)
)
keys = st.text("ab'", max_size=5) | st.integers() | st.tuples(st.integers(), st.text(max_size=3))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.sets(st.integers(), max_size=3)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(values, st.sampled_from([None, 3, 8, 20, 33, 100, 1024]), st.sampled_from([1, 2, 3]))
def test_saferepr(value: object, maxlen: int | None, maxlevels: int) -> None:
    expected = theirs.saferepr(value, maxlen=maxlen, maxlevels=maxlevels)
    assert saferepr(value, maxlen=maxlen, maxlevels=maxlevels) == expected
