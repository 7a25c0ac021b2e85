"""URLs that can never work are refused in a sentence; all others are left to those who connect."""

from __future__ import annotations

from typing import Any

import pytest

from celerylite import Celery
from celerylite.brokers.addresses import check
from celerylite.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rediss:/oops", "Did you mean 'rediss://oops'?"),
        ("redis//localhost", "Did you mean 'redis://localhost'?"),
        ("amqp:localhost", "Did you mean 'amqp://localhost'?"),
        ("sqlite:/tasks.db", "Did you mean 'sqlite:///tasks.db'?"),
        ("localhost:6379/0", "Did you mean 'redis://localhost:6379/0'?"),
        ("localhost:5672", "Did you mean 'amqp://localhost:5672'?"),
        ("somewhere/else", "begins with the transport"),
        ("redis://localhost:port/0", "the port is not a number"),
        ("redis://:pa/ss@localhost/0", "percent-encoded"),
        ("amqp://user:pa#ss@localhost//", "percent-encoded"),
        ("redis://local host/0", "a space in the name of the host"),
        ("redis://localhost/queue", "a number, as in redis://localhost/0, not 'queue'"),
        ("redis://fine/0;redis:/not", "Did you mean 'redis://not'?"),
        (["redis://fine/0", "redis//not"], "Did you mean 'redis://not'?"),
    ],
)
def test_refused(url: Any, words: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        check(url, "broker_url")
    assert words in str(caught.value) and str(caught.value).startswith("broker_url ")


@pytest.mark.parametrize(
    "url",
    [
        None, "", "localhost", "memory", "memory://", "redis://", "redis://localhost", "redis://:p%23w@h:6379/1?a=b",
        "rediss://h/0", "redis+socket:///tmp/redis.sock?virtual_host=1", "sentinel://h1:26379;sentinel://h2:26379",
        "amqp://u:p@h:5672//", "amqp://u:p@[::1]:5672/vhost", "sqs://key:se/cret@", "mongodb://h1:27017,h2:27018/db",
        "filesystem://", "sqlite:///tasks.db", "custom.module:Transport://x", object(),
    ],
)  # fmt: skip
def test_left_alone(url: Any) -> None:
    check(url, "broker_url")


def test_a_bare_host_where_the_transport_is_set() -> None:
    check("localhost:5672", "broker_url", "amqp")


@pytest.mark.parametrize("url", ["redis:/:secret@host/0", "redis://:secret#x@host/0", "redis//:secret@host"])
def test_passwords_are_not_shown(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        check(url, "broker_url")
    assert "secret" not in str(caught.value)


def test_an_app_says_so_when_it_sends() -> None:
    app = Celery(broker="rediss:/oops", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="broker_url 'rediss:/oops'"):
        app.send_task("t")


def test_an_app_says_so_of_its_result_store() -> None:
    app = Celery(broker="memory://", backend="redis://localhost:port", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="result_backend"):
        app.backend  # noqa: B018
