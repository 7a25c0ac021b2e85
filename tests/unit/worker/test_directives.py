"""What a worker was told: each directive changes one thing, and listeners hear of it afterwards."""

from __future__ import annotations

import json

import pytest

from celerylite.worker.directives import Directives


@pytest.fixture
def told() -> Directives:
    return Directives(["a", "b"])


def test_queues_come_and_go_in_order(told: Directives) -> None:
    told.apply({"directive": "add_consumer", "queue": "c", "exchange": "x", "exchange_type": "topic"})
    told.apply({"directive": "cancel_consumer", "queue": "a"})
    assert told.queues == ["b", "c"]
    assert told.definitions == {"c": {"exchange": "x", "exchange_type": "topic"}}


def test_a_queue_that_is_consumed_is_not_added_twice(told: Directives) -> None:
    told.apply({"directive": "add_consumer", "queue": "b"})
    assert told.queues == ["a", "b"]
    assert told.definitions == {}


def test_a_queue_that_is_not_consumed_cannot_be_cancelled(told: Directives) -> None:
    told.apply({"directive": "cancel_consumer", "queue": "z"})
    assert told.queues == ["a", "b"]


def test_limits_revokes_events_and_autoscale_are_noted(told: Directives) -> None:
    for directive in (
        {"directive": "revoke", "ids": ["1", "2"]},
        {"directive": "revoke_stamps", "stamps": {"who": ["me"]}},
        {"directive": "rate_limit", "task": "t", "limit": "10/m"},
        {"directive": "time_limit", "task": "t", "soft": 1.0, "hard": None},
        {"directive": "events", "on": True},
        {"directive": "autoscale", "max": 8, "min": 2},
    ):
        told.apply(json.loads(json.dumps(directive)))
    assert "1" in told.revoked and "2" in told.revoked
    assert told.revoked_stamps == {"who": ["me"]}
    assert told.rate_limits == {"t": "10/m"}
    assert told.time_limits == {"t": (1.0, None)}
    assert told.events is True
    assert told.autoscale == (8, 2)


def test_listeners_hear_after_it_was_noted_and_one_that_fails_keeps_nobody_from_it(told: Directives) -> None:
    heard = []

    def fail(directive: dict[str, object]) -> None:
        raise ValueError("no")

    told.on("events", fail)
    told.on("events", lambda directive: heard.append(told.events))
    told.apply({"directive": "events", "on": True})
    assert heard == [True]


def test_unknown_kinds_are_for_listeners_or_for_nobody(told: Directives) -> None:
    heard = []
    told.apply({"directive": "from the future"})
    told.on("reload", heard.append)
    told.apply({"directive": "reload", "modules": ["m"]})
    assert heard == [{"directive": "reload", "modules": ["m"]}]
