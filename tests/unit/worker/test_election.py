"""Who is elected: the first that claims it, whoever asks later."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from celerylite import Celery
from celerylite.worker import election


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("voters", broker=f"memory:///{uuid.uuid4().hex}", set_as_current=False) as app:
        yield app


def node(app: Celery, hostname: str) -> Any:
    return SimpleNamespace(app=app, broker=app.broker, hostname=hostname)


def test_one_of_many_sends_the_task(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for n in range(3):
        election.hold(node(app, f"w{n}@h"), "id", "task", dict(app.signature("p.clean", (1,))))
    assert app.broker.queue_length("celery") == 1
    assert [record.getMessage() for record in caplog.records] == ["I won the election id", *["node w0@h elected"] * 2]


def test_old_elections_are_forgotten(app: Celery) -> None:
    book = app.broker.notebook("elections")
    assert book is not None
    for n in range(election.REMEMBERED + 20):
        assert election.claim(book, str(n), "w@h") == "w@h"
    notes = book.read()[1]
    assert len(notes) == election.REMEMBERED
    assert "0" not in notes and "119" in notes


def test_other_topics_and_bad_tasks_are_said(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    election.hold(node(app, "w@h"), "1", "leader", None)
    assert "Unknown election topic 'leader'" in caplog.text
    election.hold(node(app, "w@h"), "2", "task", dict(app.signature("t", (object(),))))
    assert "Could not call task" in caplog.text
