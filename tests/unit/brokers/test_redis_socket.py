"""Plain sessions with Redis, and which addresses are plain; with real servers."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import pytest

from celerylite import Celery, brokers
from celerylite.brokers.redis_connector import Connector
from celerylite.brokers.redis_link import Link, LinkError, ReplyError, pack
from celerylite.brokers.redis_socket import Address, address_of, open_session
from celerylite.exceptions import TimeoutError
from tests.support.redis_server import RedisServer

PING = pack(b"PING")


def ask(address: Address, *words: bytes) -> Any:
    (_, close), replies = open_session(address, [pack(*words)])
    close()
    return replies[0]


def test_database_and_client_name(redis_server: RedisServer) -> None:
    address = Address(port=redis_server.port, db=7, client_name="somebody")
    said = ask(address, b"CLIENT", b"LIST").decode()
    assert any("name=somebody" in line and "db=7" in line for line in said.splitlines())


def test_passwords_and_users(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis()
    with server.client() as client:
        client.acl_setuser("ann", enabled=True, passwords=["+s3cret:/@"], categories=["+@all"], keys=["*"])
        client.config_set("requirepass", "open sesame")
    assert ask(Address(port=server.port, username="ann", password="s3cret:/@"), b"ACL", b"WHOAMI") == b"ann"
    assert ask(Address(port=server.port, password="open sesame", db=3), b"PING") == b"PONG"
    with pytest.raises(LinkError, match="WRONGPASS"):
        open_session(Address(port=server.port, password="wrong"), [PING])
    assert isinstance(ask(Address(port=server.port), b"PING"), ReplyError)  # without a greeting, the command is refused


def test_unix_sockets(make_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    make_redis(extra=("--unixsocket", str(path)))
    address = Connector(kombu.Connection(f"redis+socket://{path}?virtual_host=2")).address
    assert address is not None and address.db == 2
    assert b"db=2" in ask(address, b"CLIENT", b"INFO")


def test_nobody_answers() -> None:
    with pytest.raises(OSError):
        open_session(Address(port=1))


def test_closing_in_a_forked_child_leaves_the_parents_session(redis_server: RedisServer) -> None:
    opened, _ = open_session(Address(port=redis_server.port))
    child = os.fork()
    if not child:
        opened[1]()
        os._exit(0)
    os.waitpid(child, 0)
    link = Link(lambda: opened)
    assert link.call(PING) == b"PONG"
    link.close()


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("redis://", {}, Address()),
        ("redis://:p%40ss@there:7/3", {}, Address(host="there", port=7, db=3, password="p@ss")),
        (
            "redis://ann:x@there",
            {"client_name": "me"},
            Address("there", username="ann", password="x", client_name="me"),
        ),
        ("redis://there", {"socket_keepalive": True, "socket_timeout": 9}, Address("there", timeout=9, keepalive=True)),
        ("redis+socket:///run/r.sock", {"socket_connect_timeout": 1}, Address(path="/run/r.sock", connect_timeout=1)),
        ("rediss://there", {}, None),
        ("redis://there?credential_provider=a.B", {}, None),
        ("sentinel://there:26379", {"master_name": "m"}, None),
    ],
)
def test_which_addresses_are_plain(url: str, options: dict[str, Any], expected: Address | None) -> None:
    assert address_of(kombu.Connection(url, transport_options=options)) == expected


URLS = [
    "redis://", "redis://:p%40@localhost", "redis://u:p@h:1/2", "redis:///5", "redis://[::1]:80/1", "redis://a;redis://b:7/4",
    ["redis://a/3", "redis://b"], "redis+socket:///run/r.sock?virtual_host=3", "memory://",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS, ids=str)
def test_the_apps_connection_is_the_one_that_kombu_makes(url: Any) -> None:
    ours = Celery(broker=url, set_as_current=False).connection_for_write()
    theirs = kombu.Connection(url, ssl=False, connect_timeout=ours.connect_timeout, heartbeat=ours.heartbeat)
    made_later = {"_transport", "cycle", "transport_options", "declared_entities"}
    for name in vars(theirs).keys() - made_later:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert brokers.as_uri(ours) == theirs.as_uri()
    assert ours.as_uri(include_password=True) == theirs.as_uri(include_password=True)


def test_the_next_server_of_a_failover_list(redis_server: RedisServer) -> None:
    connector = Connector(kombu.Connection(f"redis://127.0.0.1:1/0;{redis_server.url(5)}"))
    with pytest.raises(LinkError, match="cannot connect to redis://.*127.0.0.1:1/0"):
        connector.open()
    link = Link(connector.open)
    assert link.call(PING) == b"PONG" and connector.db == 5
    link.close()


@pytest.mark.filterwarnings("error")
def test_an_app_that_is_never_closed_does_not_warn(redis_url: str) -> None:
    app = Celery(broker=redis_url, backend=redis_url, set_as_current=False)
    result = app.send_task("add")
    assert result.state == "PENDING"
    with pytest.raises(TimeoutError):
        result.get(timeout=0.1)
    del app, result
    gc.collect()


def test_a_bad_database_is_named() -> None:
    with pytest.raises(ValueError, match="not 'abc'"):
        address_of(kombu.Connection("redis://h/abc"))


SENDS = """
import sys
from celerylite import Celery
app = Celery(broker={url!r}, backend={url!r})
@app.task
def add(x, y): return x + y
result = add.delay(1, 2)
assert result.state == "PENDING"
app.backend.store(result.id, app.backend.record(result.id, "SUCCESS", 3))
assert result.get(timeout=5) == 3
print([name for name in ("redis", "asyncio", "kombu.transport.redis") if name in sys.modules])
"""


def test_sending_and_waiting_import_neither_redis_py_nor_asyncio(redis_url: str) -> None:
    program = SENDS.format(url=redis_url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]", done.stderr
