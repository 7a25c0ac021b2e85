"""A real worker's health: over HTTP, by its heartbeat file, and told to systemd; in good times and in bad ones."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

pytestmark = [pytest.mark.slow, pytest.mark.skipif(OURS == THEIRS, reason="Celery has no health port")]


def port_of(worker: WorkerProcess) -> int:
    (found,) = worker.wait_log(r"Health: http://127\.0\.0\.1:(\d+)/live")
    return int(found.group(1))


def ask(port: int, path: str, timeout: float = 5.0) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(20)
        yield sock


def test_a_broker_outage_and_the_end(make_redis: Any, site: Site, tmp_path: Path, systemd: socket.socket) -> None:
    server: RedisServer = make_redis()
    env = {
        "TEST_BROKER": server.url(), "TEST_BACKEND": server.url(),
        "NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "2000000",
    }  # fmt: skip
    beat = tmp_path / "w1.beat"
    worker = site.worker(
        "-c", "1", "-n", "w1@%h", "--health-port", "127.0.0.1:0", "--heartbeat-file", str(tmp_path / "%n.beat"), env=env
    )
    port = port_of(worker)
    told = [systemd.recv(100)]
    while b"READY=1" not in told:
        told.append(systemd.recv(100))
    assert systemd.recv(100) == b"WATCHDOG=1"
    wait_for(lambda: ask(port, "/ready")[0] == 200, what="ready")
    assert ask(port, "/live") == (200, {"live": True, "reasons": []})

    server.kill()
    wait_for(lambda: ask(port, "/ready")[0] == 503, what="unready without a broker")
    assert "the broker cannot be reached" in ask(port, "/ready")[1]["reasons"]
    os.utime(beat, (0, 0))
    wait_for(lambda: beat.stat().st_mtime > 0, what="the heartbeat file")
    assert ask(port, "/live")[0] == 200

    server.start()
    wait_for(lambda: ask(port, "/ready")[0] == 200, 30, what="ready again")
    systemd.setblocking(False)
    with suppress(BlockingIOError):  # the kernel keeps ten words for a reader; systemd would have read them
        while systemd.recv(100):
            pass
    assert worker.terminate() == 0
    assert not beat.exists()
    systemd.settimeout(5)
    while (word := systemd.recv(100)) == b"WATCHDOG=1":
        pass
    assert word == b"STOPPING=1"


def test_frozen_processes_and_a_warm_shutdown(site: Site) -> None:
    worker = site.worker("-c", "1", "--health-port", "127.0.0.1:0", conf={"worker_lease": 1.5})
    port = port_of(worker)
    wait_for(lambda: ask(port, "/ready")[0] == 200, what="ready")

    worker.signal(signal.SIGSTOP)
    wait_for(lambda: ask(port, "/live")[0] == 503, what="not live while the main process stands still")
    assert "the main process has stood still" in ask(port, "/live")[1]["reasons"][0]
    worker.signal(signal.SIGCONT)
    wait_for(lambda: ask(port, "/live")[0] == 200, what="live again")

    # Another control process takes over the port.
    os.kill(worker.children()[0], signal.SIGKILL)
    worker.wait_log("control process .* has ended")
    wait_for(lambda: ask(port, "/ready")[0] == 200, what="an answer of the next control process")

    running = site.client().tasks["t.work"].delay("gate")
    site.ledger.wait("start", running.id)
    worker.signal(signal.SIGTERM)
    wait_for(lambda: ask(port, "/ready")[1]["reasons"][:1] == ["the worker is shutting down"], what="unready")
    assert ask(port, "/live")[0] == 200
    site.open("gate")
    worker.wait()


def test_solo(site: Site) -> None:
    worker = site.worker("-P", "solo", "--health-port", "127.0.0.1:0")
    port = port_of(worker)
    wait_for(lambda: ask(port, "/ready")[0] == 200, what="ready")
    assert ask(port, "/live")[0] == 200
    worker.terminate()
    with pytest.raises(OSError):
        ask(port, "/live", 1.0)
