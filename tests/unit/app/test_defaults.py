"""The table of settings holds together."""

from __future__ import annotations

import pytest

from celerylite.app import defaults


def test_every_setting_has_help_and_a_known_type() -> None:
    for name, option in defaults.flatten(defaults.NAMESPACES):
        assert option.help.endswith("."), name
        assert option.type in option.typemap, name


def test_names_are_unique() -> None:
    assert len(defaults._TO_NEW_KEY) == len(defaults.DEFAULTS)
    assert not {old for old in defaults._TO_NEW_KEY if old in defaults.DEFAULTS}


def test_find() -> None:
    assert defaults.find("pool")[:2] == ("worker", "pool")
    assert defaults.find("worker_pool").type.default == "prefork"
    assert defaults.find("url", "broker").namespace == "broker"
    with pytest.raises(KeyError):
        defaults.find("nonsense")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("worker_concurrency", "3", "3"),
        ("worker_prefetch_multiplier", "3", 3),
        ("task_acks_late", "yes", True),
        ("task_time_limit", "1.5", 1.5),
    ],
)
def test_values_given_as_text(name: str, text: str, value: object) -> None:
    assert defaults._OPTIONS[name].to_python(text) == value
