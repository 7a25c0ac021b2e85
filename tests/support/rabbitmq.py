"""A private RabbitMQ for the tests: a node of its own name, on free loopback ports, with its own Erlang port mapper.

The node keeps its data in a directory of its own, so that it can be killed and started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from .lifeline import die_with_parent
from .redis_server import free_port
from .waiting import wait_for

#: The server's own script: the one in the PATH may insist on another user.
SCRIPTS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/local/sbin/rabbitmq-server", "/usr/sbin/rabbitmq-server")


def find_server() -> str | None:
    """The path of rabbitmq-server."""
    found = next((path for path in SCRIPTS if os.access(path, os.X_OK)), None)
    return found or shutil.which("rabbitmq-server")


def require_server() -> str:
    """The same, or the test is skipped, or fails where `CI` is set."""
    path = find_server()
    if path:
        return path
    reason = "needs rabbitmq-server (from your package manager)"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class RabbitServer:
    """One node. `config` are lines for its rabbitmq.conf."""

    def __init__(self, config: str = "") -> None:
        self.script = require_server()
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="celerylite-rabbit-"))
        self.node = f"test{os.getpid()}x{self.port}@localhost"
        self.process: subprocess.Popen[bytes] | None = None
        self._vhosts = 0
        self._env = self._environment()
        (self.directory / "home").mkdir()
        cookie = self.directory / "home" / ".erlang.cookie"
        cookie.write_text(f"COOKIE{self.port}")
        cookie.chmod(0o400)
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\nloopback_users = none\n"
            "vm_memory_high_watermark.absolute = 2GB\ndisk_free_limit.absolute = 50MB\n" + config
        )
        (self.directory / "enabled_plugins").write_text("[].\n")

    def _environment(self) -> dict[str, str]:
        here = self.directory
        return {
            "PATH": os.environ["PATH"] + ":/usr/lib/rabbitmq/bin",
            "HOME": str(here / "home"),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_PID_FILE": str(here / "pid"),
            "RABBITMQ_SCHEMA_DIR": str(here / "schema"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(here / "config"),
            # A test's node must not keep the machine busy while it idles.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
        }

    # -- life

    def start(self) -> RabbitServer:
        """Start it (again, with what it has stored) and wait until it takes connections."""
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.script], env=self._env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=self.directory, start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        wait_for(self._answers, 90, "rabbitmq-server to answer")
        return self

    def _answers(self) -> bool:
        import amqp

        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError("rabbitmq-server ended: " + (self.directory / "server.log").read_text()[-3000:])
        try:
            with amqp.Connection(f"127.0.0.1:{self.port}", connect_timeout=5):
                return True
        except (OSError, amqp.AMQPError):
            return False

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """End every process of the node, by default without a warning."""
        if self.process is None:
            return
        for pid in self._pids():
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                pass  # it went with the others
        self.process.wait(60)
        self.process = None
        wait_for(lambda: not self._pids(), 60, "the node to be gone")

    def stop(self) -> None:
        """End it in order."""
        self.kill(signal.SIGTERM)

    def _pids(self) -> list[int]:
        """The processes of this node, its port mapper included: they carry its directory in their environment."""
        needle = f"HOME={self.directory}/home".encode()
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and needle in _environ(name)]

    def close(self) -> None:
        """End it and remove its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- use

    def control(self, *args: str) -> str:
        """Run rabbitmqctl against this node."""
        command = [self.script.replace("rabbitmq-server", "rabbitmqctl"), "-q", "-n", self.node, *args]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise AssertionError(f"rabbitmqctl {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def url(self, vhost: str = "/") -> str:
        """A broker URL; on a server that tests share, the default host is nobody's: see `new_vhost`."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost.replace('/', '%2f')}"

    def new_vhost(self) -> str:
        """The URL of an empty virtual host that nobody else uses."""
        self._vhosts += 1
        name = f"test{self._vhosts}"
        self.evaluate(
            f'rabbit_vhost:add(<<"{name}">>, <<"test">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, '
            '<<".*">>, <<".*">>, <<".*">>, <<"test">>).'
        )
        return self.url(name)

    def evaluate(self, code: str) -> str:
        """Run Erlang code in the node."""
        return self.control("eval", code)

    def queues(self, url: str) -> dict[str, Any]:
        """Queue name → messages that are ready, of the virtual host of a URL."""
        vhost = unquote(url.rpartition("/")[2])
        lines = self.control("list_queues", "-p", vhost, "name", "messages_ready", "--no-table-headers")
        rows = (line.split("\t") for line in lines.splitlines() if "\t" in line)
        return {name: int(ready) for name, ready in rows}


def _environ(name: str) -> bytes:
    try:
        with open(f"/proc/{name}/environ", "rb") as file:
            return file.read()
    except OSError:  # gone, or not ours to look at
        return b""


def is_port_free(port: int) -> bool:
    """Whether nobody listens on a loopback port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0
