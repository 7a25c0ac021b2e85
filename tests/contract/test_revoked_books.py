"""Where revokes are kept: every broker and result store that has a place for them passes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from celerylite import Celery
from celerylite.app import revoking
from celerylite.brokers.revoked_book import RevokedBook

Clock = Callable[[float], None]


PLACES = (
    "memory", "redis", "sqlite", "redis result store", "sqlite result store",
    pytest.param("redis_cluster", marks=pytest.mark.slow),
)  # fmt: skip


@pytest.fixture(params=PLACES)
def app(request: pytest.FixtureRequest) -> Any:
    if request.param == "redis_cluster":
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        url = cluster.url
    elif "redis" in request.param:
        url = request.getfixturevalue("redis_url")
    elif "sqlite" in request.param:
        url = f"sqlite:///{request.getfixturevalue('tmp_path')}/celerylite.db"
    else:
        url = f"memory:///{uuid.uuid4().hex}"
    urls = {"broker": "filesystem://", "backend": url} if "store" in request.param else {"broker": url}
    with Celery("books", **urls, set_as_current=False) as made:
        yield made


@pytest.fixture
def book(app: Any) -> RevokedBook:
    found = revoking.book_of(app)
    assert found is not None
    return found


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Turn the clock forward."""

    def forward(seconds: float) -> None:
        now = time.time() + seconds
        monkeypatch.setattr(time, "time", lambda: now)

    return forward


def test_an_empty_book(book: RevokedBook) -> None:
    assert book.read(3600) == {}


def test_what_was_written_is_read_in_order(book: RevokedBook, turn: Clock) -> None:
    book.add(["c", "a"], expires=3600, most=10)
    turn(5)
    book.add(["b", "\0odd é"], expires=3600, most=10)
    found = book.read(3600)
    assert sorted(list(found)[:2]) == ["a", "c"] and sorted(list(found)[2:]) == ["\0odd é", "b"]
    assert found["b"] == pytest.approx(time.time(), abs=1)


def test_writing_again_makes_young_again(book: RevokedBook, turn: Clock) -> None:
    book.add(["a", "b"], expires=3600, most=10)
    turn(60)
    book.add(["a"], expires=3600, most=10)
    assert list(book.read(3600)) == ["b", "a"]
    assert list(book.read(30)) == ["a"]


def test_the_old_are_forgotten(book: RevokedBook, turn: Clock) -> None:
    book.add(["old"], expires=100, most=10)
    turn(101)
    assert book.read(100) == {}
    book.add(["new"], expires=100, most=10)
    assert list(book.read(1000)) == ["new"] or list(book.read(100)) == ["new"]


def test_only_the_newest_are_kept(book: RevokedBook, turn: Clock) -> None:
    for number in range(6):
        book.add([str(number)], expires=3600, most=3)
        turn(1)
    assert list(book.read(3600)) == ["3", "4", "5"]


def test_nothing_to_write(book: RevokedBook) -> None:
    book.add([], expires=3600, most=3)
    assert book.read(3600) == {}


def test_ids_and_stamps(app: Any) -> None:
    assert revoking.remember(app, "one") and revoking.remember(app, ["two", "three"])
    assert revoking.remember_stamps(app, {"header": "value", "tenant": ["a", 7]})
    ids, stamps = revoking.recall(app)
    assert sorted(ids) == ["one", "three", "two"]
    assert stamps.keys() == {"header", "tenant"} and sorted(stamps["tenant"], key=str) == [7, "a"]
