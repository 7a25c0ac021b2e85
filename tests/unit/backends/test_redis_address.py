"""Where Redis is: URLs and settings."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import redis

from celerylite import Celery
from celerylite.backends.redis import RedisBackend, SentinelBackend
from celerylite.exceptions import ImproperlyConfigured


def backend(url: str, **settings: Any) -> Any:
    app = Celery("tests", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app.backend


DEFAULTS = {"host": "localhost", "port": 6379, "db": 0, "password": None}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {}),
        ("redis", {}),
        ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://u:p%40x@h", {"host": "h", "username": "u", "password": "p@x"}),
        ("redis://:p@h//4", {"host": "h", "password": "p", "db": 4}),
        ("redis://h/0?db=5", {"host": "h", "db": 5}),
        (
            "redis://h?socket_timeout=5&retry_on_timeout=true",
            {"host": "h", "socket_timeout": 5.0, "retry_on_timeout": True},
        ),
        ("redis://h?client_name=me", {"host": "h", "client_name": "me"}),
    ],
)
def test_urls(url: str, expected: dict[str, Any]) -> None:
    params = backend(url).connparams
    assert {**DEFAULTS, **expected}.items() <= params.items()


def test_a_socket() -> None:
    params = backend("redis+socket://:pw@/tmp/x.sock?virtual_host=3").connparams
    assert (params["path"], params["db"], params["password"]) == ("/tmp/x.sock", 3, "pw")
    assert "host" not in params and params["connection_class"] is redis.UnixDomainSocketConnection


def test_tls() -> None:
    params = backend("rediss://h:1/0?ssl_cert_reqs=none&ssl_ca_certs=%2Fa%2Fb").connparams
    assert params["connection_class"] is redis.SSLConnection
    assert params["ssl_cert_reqs"] == ssl.CERT_NONE and params["ssl_ca_certs"] == "/a/b"
    params = backend("rediss://h", redis_backend_use_ssl={"ssl_cert_reqs": "CERT_REQUIRED"}).connparams
    assert params["ssl_cert_reqs"] == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    "url", ["rediss://h", "rediss://h?ssl_cert_reqs=maybe", "redis://h?ssl_cert_reqs=none"]
)
def test_tls_must_be_clear(url: str) -> None:
    with pytest.raises(ValueError):
        backend(url)


def test_settings_stand_in_for_what_the_url_leaves_out() -> None:
    params = backend(
        "redis://h", redis_socket_timeout=3, redis_socket_connect_timeout=4, redis_max_connections=9,
        redis_retry_on_timeout=True, redis_socket_keepalive=True, redis_port=3, redis_db=4,
        redis_password="pw", redis_username="us",
    ).connparams  # fmt: skip
    expected = {
        "host": "h", "port": 3, "db": 0, "password": "pw", "username": "us", "max_connections": 9,
        "socket_timeout": 3.0, "socket_connect_timeout": 4.0, "retry_on_timeout": True,
        "socket_keepalive": True,
    }  # fmt: skip
    assert expected.items() <= params.items()


def test_sentinels() -> None:
    found = backend("sentinel://h1:1;sentinel://:pw@h2:2/3")
    assert isinstance(found, SentinelBackend)
    assert [(host["host"], host["port"]) for host in found.connparams["hosts"]] == [("h1", 1), ("h2", 2)]
    assert found.as_uri() == "sentinel://h1:1/;sentinel://:**@h2:2/3"


def test_sentinels_find_the_master() -> None:
    found = backend(
        "sentinel://h1:1;sentinel://h2:2", result_backend_transport_options={"master_name": "mymaster"}
    )
    pool = found.client.connection_pool
    assert isinstance(pool, redis.sentinel.SentinelConnectionPool) and pool.service_name == "mymaster"


def test_passwords_are_masked() -> None:
    found = backend("redis://u:secret@h:1/2?a=b")
    assert found.as_uri() == "redis://u:**@h:1/2" and "secret" in found.as_uri(include_password=True)


def test_a_prefix_for_all_keys() -> None:
    found = backend("redis://h", result_backend_transport_options={"global_keyprefix": "mine"})
    assert found.get_key_for_task("x") == b"mine_celery-task-meta-x"
    assert found.get_key_for_group("x") == b"mine_celery-taskset-meta-x"
    assert backend("redis://h").get_key_for_chord("x", ".j") == b"chord-unlock-x.j"


def test_credential_providers() -> None:
    provider = redis.UsernamePasswordCredentialProvider("u", "p")
    assert (
        backend("redis://h", redis_backend_credential_provider=provider).connparams["credential_provider"]
        is provider
    )
    with pytest.raises(ImproperlyConfigured):
        backend("redis://h", redis_backend_credential_provider=object)


def test_the_retry_policy() -> None:
    found = backend("redis://h", result_backend_transport_options={"retry_policy": {"max_retries": 4}})
    assert found.retry_policy == {
        "max_retries": 4,
        "interval_start": 0,
        "interval_step": 1,
        "interval_max": 1,
    }
    assert RedisBackend.retry_policy is not None


def test_no_connection_before_it_is_needed() -> None:
    assert "client" not in vars(backend("redis://no-such-host.invalid"))
