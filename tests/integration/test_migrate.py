"""Waiting messages move between brokers of any kind, and between queues of one; nothing of them is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kombu import Exchange, Queue

from celerylite import Celery
from celerylite.bin.celery import celery
from celerylite.contrib import migrate
from tests.conftest import THEIRS, Site


@pytest.fixture
def place(tmp_path: Path, new_redis_url: Callable[[], str]) -> Iterator[Callable[[str], Celery]]:
    """`place("redis")` → an app on an empty broker of that kind."""
    apps: list[Celery] = []

    def make(kind: str) -> Celery:
        url = new_redis_url() if kind == "redis" else f"sqlite:///{tmp_path}/{len(apps)}.db"
        apps.append(Celery(kind, broker=url, set_as_current=False))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


def messages(app: Celery, queue: str = "celery") -> list[Any]:
    """Everything that waits in a queue, in the order in which it would run; it is taken out."""
    found = []
    with app.connection_for_read() as connection:
        while message := connection.default_channel.basic_get(queue, no_ack=True):
            found.append(message)
    return found


def essence(message: Any) -> Any:
    assert message.properties["reply_to"], "whoever asked is known"
    keep = ("correlation_id", "priority", "delivery_mode", "expiration")
    properties = {name: message.properties.get(name) for name in keep}
    return message.headers, message.body, message.content_type, message.content_encoding, properties


def send(app: Celery) -> None:
    app.send_task("t.a", (1, "ä"), {"k": [1]}, task_id="1", priority=3)
    app.send_task("t.b", task_id="2", expires=600, compression="zlib")
    app.send_task("t.a", task_id="3", serializer="pickle", headers={"tenant": 7})


@pytest.mark.parametrize("kinds", [("redis", "redis"), ("redis", "sqlite"), ("sqlite", "redis")], ids="-".join)
def test_everything_arrives_unchanged(kinds: tuple[str, str], place: Callable[[str], Celery]) -> None:
    source, dest, control = place(kinds[0]), place(kinds[1]), place(kinds[1])
    send(source)
    send(control)
    with source.connection_for_write() as here, dest.connection_for_write() as there:
        state = migrate.migrate_tasks(here, there, app=source, ack_messages=True, timeout=0.3)
    assert (state.count, state.total_apx, str(state)) == (3, 3, "3/3")
    arrived, expected = ([essence(message) for message in messages(app)] for app in (dest, control))
    for pair in zip(arrived, expected, strict=True):
        for headers, *_ in pair:
            del headers["expires"], headers["origin"]  # a time, and who sent it
        assert pair[0] == pair[1]
    assert messages(source) == []


def test_without_acks_they_stay_too(place: Callable[[str], Celery]) -> None:
    source, dest = place("redis"), place("redis")
    send(source)
    with source.connection_for_write() as here, dest.connection_for_write() as there:
        migrate.migrate_tasks(here, there, app=source, timeout=0.3, tasks="t.a", queues="celery:renamed")
    assert {message.headers["id"] for message in messages(dest, "renamed")} == {"1", "3"}
    assert {message.headers["id"] for message in messages(source)} == {"1", "2", "3"}


def test_command(place: Callable[[str], Celery]) -> None:
    source, dest = place("redis"), place("sqlite")
    send(source)
    words = [str(source.conf.broker_url), str(dest.conf.broker_url), "-a", "-t", "0.3", "-n", "2"]
    result = CliRunner().invoke(celery, ["migrate", *words], obj=source, prog_name="celerylite")
    assert result.exception is None, result.output
    lines = result.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["Migrating task 1/3", "Migrating task 2/3"]
    assert len(messages(dest)) == 2
    assert len(messages(source)) == 1


def test_moving_by_id_and_by_name(place: Callable[[str], Celery]) -> None:
    app = place("redis")
    for task_id in "abcd":
        app.send_task("t.even" if task_id in "bd" else "t.odd", task_id=task_id)
    seen: list[str] = []
    options: dict[str, Any] = {"app": app, "timeout": 0.3}
    migrate.move_task_by_id("b", "picked", callback=lambda state, body, message: seen.append(body["id"]), **options)
    assert seen == ["b"]
    migrate.move_by_taskmap({"t.even": Queue("evens", Exchange("evens"), "evens")}, **options)
    migrate.move_direct_by_id("a", "w1@host", **options)
    for queue, task_id in {"picked": "b", "evens": "d", "w1@host.dq2": "a", "celery": "c"}.items():
        assert [message.headers["id"] for message in messages(app, queue)] == [task_id]


def test_predicates(place: Callable[[str], Celery]) -> None:
    """They see the call whatever the protocol: names, arguments, headers."""
    app = place("redis")
    for number in range(5):
        app.send_task("t", (number,), task_id=str(number))

    def odd(body: Any, message: Any) -> Any:
        return body["args"][0] % 2 and ("", "odd")

    state = migrate.move(odd, app=app, timeout=0.3, limit=1)
    assert (state.filtered, str(state)) == (1, "^1")
    migrate.move(lambda body, message: migrate.task_id_in({"0", "2"}, body, message), app=app, timeout=0.3,
                 exchange="", routing_key="given")  # fmt: skip
    assert len(messages(app, "odd")) == 1
    assert {message.headers["id"] for message in messages(app, "given")} == {"0", "2"}
    assert len(messages(app)) == 2


@pytest.mark.slow
def test_from_celery_on_redis_to_celerylite_on_sqlite(site: Site, tmp_path: Path) -> None:
    client = site.client(THEIRS)
    results = [client.tasks["t.add"].delay(number, number) for number in range(3)]
    target = f"sqlite:///{tmp_path}/here.db"
    words = ["migrate", site.url, target, "-a", "-t", "0.5"]
    assert CliRunner().invoke(celery, words, obj=site.client(), prog_name="celerylite").exception is None
    site.worker("-c", "1", env={"TEST_BROKER": target})
    assert [result.get(timeout=20) for result in results] == [0, 2, 4]
