"""The names that other packages import from Celery are there, under the alias, and are celerylite's own."""

from __future__ import annotations

import json
from functools import cache

import pytest

from tests.support.fresh import run_fresh
from tests.support.names import NEEDS_PACKAGE, NOT_YET, every_name, is_not_yet

#: Looks every name up in one process, as an importing package would.
LOOK_UP = """
import importlib, json, sys
from celerylite.alias import install_as_celery
install_as_celery()
from tests.support.names import every_name

def look_up(module, name):
    first, *rest = name.split(".")
    if module in ("kombu", "vine") or module.startswith("kombu."):
        found = getattr(importlib.import_module(module), first)
    else:
        scope = {}
        exec(f"from {module} import {first} as found", scope)
        found = scope["found"]
    for part in rest:
        found = getattr(found, part)
    if module.startswith("celery"):
        assert sys.modules[module] is sys.modules[module.replace("celery", "celerylite", 1)], "another module"

missing = {}
for module, name in every_name():
    try:
        look_up(module, name)
    except (ImportError, AttributeError, AssertionError) as exc:
        missing[f"{module}:{name}"] = f"{type(exc).__name__}: {exc}"
print(json.dumps(missing))
"""


@cache
def missing_names() -> dict[str, str]:
    """Name -> why it did not resolve."""
    return dict(json.loads(run_fresh(LOOK_UP)))


def skip_without_package(module: str) -> None:
    if module in NEEDS_PACKAGE:
        pytest.importorskip(NEEDS_PACKAGE[module])


@pytest.mark.parametrize(("module", "name"), [pair for pair in every_name() if not is_not_yet(*pair)])
def test_name_is_there(module: str, name: str) -> None:
    skip_without_package(module)
    reason = missing_names().get(f"{module}:{name}")
    assert reason is None, f"from {module} import {name}: {reason}"


@pytest.mark.parametrize(("module", "name"), [pair for pair in every_name() if is_not_yet(*pair)])
def test_excused_name_is_still_missing(module: str, name: str) -> None:
    """When this fails, the part has been built: take the name out of NOT_YET."""
    assert f"{module}:{name}" in missing_names(), f"{module}:{name} is there now; take it out of NOT_YET"


def test_excuses_are_about_names_of_the_table() -> None:
    pairs = every_name()
    known = {module for module, _ in pairs} | {f"{module}:{name}" for module, name in pairs}
    assert set(NOT_YET) <= known
