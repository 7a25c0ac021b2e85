"""The file beside what beats share, and the brokers that can share nothing."""

from __future__ import annotations

import logging
import shelve
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from celerylite.beat import ledger
from celerylite.beat.ledger import LocalLedger, ResultStoreLedger
from celerylite.brokers.memory import MemoryBroker
from tests.support.beats import Beats

# -- the file


def test_the_file_remembers_where_nothing_is_shared(
    beats: Beats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBroker, "notebook", lambda self, name: None)
    file = str(tmp_path / "schedule")
    first = beats.start({"a": 600}, schedule_filename=file)
    beats.turn(700, step=100)
    assert beats.sent() == ["a"]
    beats.kill(first)
    first.close()
    beats.clock.turn(400)
    again = beats.start({"a": 600}, schedule_filename=file)
    assert again.schedule["a"].total_run_count == 1
    beats.turn(100, step=100)
    assert beats.sent() == ["a"]


def test_what_is_shared_counts_more_than_the_file(beats: Beats, tmp_path: Path) -> None:
    file = str(tmp_path / "schedule")
    first = beats.start({"a": 600}, schedule_filename=file)
    first.close()
    beats.turn(600, step=100)
    beats.kill(first)
    beats.start({"a": 600}, schedule_filename=file)
    beats.turn(590, step=590)
    assert beats.sent() == ["a"]


def test_entries_that_are_gone_are_gone_from_the_file(beats: Beats, tmp_path: Path) -> None:
    file = str(tmp_path / "schedule")
    beats.start({"a": 600, "b": 5}, schedule_filename=file).close()
    beats.start({"a": 600}, schedule_filename=file)
    with shelve.open(file) as stored:
        assert set(stored["entries"]) == {"a"}


def test_a_file_that_is_broken_is_replaced(beats: Beats, tmp_path: Path, caplog: Any) -> None:
    file = str(tmp_path / "schedule")
    beats.start({"a": 600}, schedule_filename=file).close()
    for part in tmp_path.iterdir():
        part.write_bytes(b"what is this?")
    with caplog.at_level(logging.ERROR, "celery.beat"):
        beats.start({"a": 10}, schedule_filename=file)
    assert "Removing corrupted schedule file" in caplog.text
    beats.turn(10)
    assert beats.sent() == ["a"]


def test_an_entry_in_the_file_that_cannot_be_loaded_is_made_anew(beats: Beats, tmp_path: Path) -> None:
    file = str(tmp_path / "schedule")
    with shelve.open(file) as stored:
        stored.dict[b"entries"] = b"cno_such_module\nEntry\n."
    beats.start({"a": 10}, schedule_filename=file)
    beats.turn(10)
    assert beats.sent() == ["a"]


def test_a_place_that_cannot_be_written_is_no_obstacle(beats: Beats, tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "celery.beat"):
        beats.start({"a": 10}, schedule_filename=str(tmp_path / "missing" / "schedule"))
    assert "Going on without the file" in caplog.text
    beats.turn(10)
    assert beats.sent() == ["a"]


def test_the_banner_names_the_file(beats: Beats) -> None:
    assert beats.start({}, schedule_filename="").info == "    . db -> "


# -- brokers without notebooks


@pytest.fixture
def lonely(beats: Beats, monkeypatch: pytest.MonkeyPatch) -> Beats:
    """A broker that keeps no notes; nor does the result store."""
    monkeypatch.setattr(MemoryBroker, "notebook", lambda self, name: None)
    return beats


def test_beat_says_where_only_one_may_run(lonely: Beats, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "celery.beat"):
        scheduler = lonely.start({"a": 10})
    assert isinstance(scheduler.ledger, LocalLedger)
    assert "run one beat only" in caplog.text
    lonely.turn(30)
    assert lonely.sent() == ["a"] * 3


def test_local_notes_are_written_once_the_task_is_sent(lonely: Beats, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = lonely.start({"a": {"schedule": 10, "missed": "all"}})
    send = MemoryBroker.publish_many

    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(MemoryBroker, "publish_many", away)
    lonely.turn(20)
    assert scheduler.ledger.runs.read()[1]["a"] == scheduler._plans["a"].seen
    monkeypatch.setattr(MemoryBroker, "publish_many", send)
    lonely.turn(10)
    assert lonely.sent() == ["a"] * 3


@pytest.fixture
def helped(beats: Beats, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> Beats:
    """A broker that keeps no notes, and Redis for the results."""
    monkeypatch.setattr(MemoryBroker, "notebook", lambda self, name: None)
    beats.conf["result_backend"] = redis_url
    return beats


def test_ticks_are_claimed_in_the_result_store(helped: Beats, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "celery.beat"):
        beats = [helped.start({"a": 10, "b": 7}) for _ in range(3)]
    assert all(isinstance(beat.ledger, ResultStoreLedger) for beat in beats)
    assert "ticks are claimed in the result store" in caplog.text
    helped.turn(70)
    sent = helped.sent()
    assert (sent.count("a"), sent.count("b")) == (7, 10)


def test_what_cannot_be_sent_is_not_claimed(helped: Beats, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = {"a": {"schedule": 10, "missed": "all"}, "b": {"schedule": 10, "missed": "all"}}
    for _ in range(2):
        helped.start(schedule)
    helped.turn(10)
    send = MemoryBroker.publish_many
    allowed = iter([True, False, False, True, False, False])

    def sometimes(self: Any, messages: Any, **kwargs: Any) -> None:
        if not next(allowed, False):
            raise OperationalError("away")
        send(self, messages, **kwargs)

    monkeypatch.setattr(MemoryBroker, "publish_many", sometimes)
    helped.turn(30)
    monkeypatch.setattr(MemoryBroker, "publish_many", send)
    helped.turn(5)
    ids = [message.headers["id"] for message in helped.messages()]
    assert len(ids) == len(set(ids)) == 8


def test_notebooks_of_two_apps_are_apart(beats: Beats) -> None:
    app = beats.app({})
    assert ledger.book_names(app) == ("beat.beats.runs", "beat.beats.entries")
    app.main = None
    assert ledger.book_names(app) == ("beat.celery.runs", "beat.celery.entries")
