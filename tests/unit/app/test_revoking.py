"""Keeping revokes where a broker has no place for them, or is away; the environment's limits."""

from __future__ import annotations

from typing import Any

import pytest

from celerylite import Celery
from celerylite.app import revoking
from celerylite.exceptions import ImproperlyConfigured


def test_neither_broker_nor_store_has_a_place() -> None:
    with Celery("nowhere", broker="filesystem://", backend="cache+memory://", set_as_current=False) as app:
        assert revoking.book_of(app) is None
        assert not revoking.remember(app, "id")
        assert revoking.recall(app) == ({}, {})


def test_a_broker_that_is_away_does_not_keep_the_broadcast_from_going_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Celery("away", broker="redis://127.0.0.1:1/0", set_as_current=False) as app:
        told: list[Any] = []
        monkeypatch.setattr(app.control, "broadcast", lambda *args, **kwargs: told.append(args))
        app.control.revoke("id")
    assert told[0][0] == "revoke"
    assert "Revokes could not be kept on the broker" in caplog.text


def test_a_revoke_for_some_workers_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("some", broker="memory:///revokes", set_as_current=False)
    monkeypatch.setattr(app.control, "broadcast", lambda *args, **kwargs: None)
    app.control.revoke("some", destination=["celery@one"])
    app.control.revoke(["all", "others"])
    assert set(revoking.recall(app)[0]) == {"all", "others"}


def test_a_limit_in_the_environment_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_WORKER_REVOKES_MAX", "many")
    with pytest.raises(ImproperlyConfigured, match="CELERY_WORKER_REVOKES_MAX"):
        revoking.number_from_env("CELERY_WORKER_REVOKES_MAX", 5)
