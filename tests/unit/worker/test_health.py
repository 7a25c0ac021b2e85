"""When a worker counts as alive and as ready, and how that is told."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from celerylite.brokers.kombu_keeper import KombuKeeper
from celerylite.exceptions import ImproperlyConfigured
from celerylite.worker.health import GONE, Health, Signs, Vitals, parse_address, respond
from celerylite.worker.systemd import Notifier

WELL = Signs(parent=0.1, housekeeping=0.2, renewed=3.0, connected=True, fetching=2, stopping=False, lease=15.0)


def test_a_worker_that_is_well() -> None:
    assert WELL.not_live() == WELL.not_ready() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"connected": False}, "the broker cannot be reached"),
        ({"renewed": 16.0}, "the broker cannot be reached"),
        ({"fetching": 0}, "no task process is ready"),
        ({"stopping": True}, "the worker is shutting down"),
    ],
)
def test_what_makes_it_unready_does_not_make_it_dead(change: dict[str, object], reason: str) -> None:
    signs = dataclasses.replace(WELL, **change)
    assert signs.not_ready() == [reason]
    assert signs.not_live() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"parent": 11.0}, "the main process has stood still for 11 s"),
        ({"parent": GONE}, "the main process is gone"),
        ({"housekeeping": 30.0}, "housekeeping has stood still for 30 s"),
    ],
)
def test_what_makes_it_dead(change: dict[str, object], reason: str) -> None:
    signs = dataclasses.replace(WELL, **change)
    assert signs.not_live() == [reason] and reason in signs.not_ready()


def test_a_worker_without_a_parent() -> None:
    assert dataclasses.replace(WELL, parent=None).not_live() == []


def test_answers() -> None:
    assert respond("GET", "/live", lambda: WELL) == ("200 OK", {"live": True, "reasons": []})
    status, body = respond("GET", "/ready", lambda: dataclasses.replace(WELL, stopping=True))
    assert (status[:3], body["ready"]) == ("503", False) and "shutting down" in body["reasons"][0]
    assert respond("GET", "/", lambda: WELL)[0][:3] == "404"
    assert respond("POST", "/live", lambda: WELL)[0][:3] == "405"


def test_vitals_are_shared() -> None:
    vitals = Vitals()
    vitals.note(3, True)
    when, fetching, stopping = vitals.read()
    assert when > 0 and (fetching, stopping) == (3, True)


@pytest.mark.parametrize(
    ("value", "address"),
    [(8080, ("", 8080)), ("8080", ("", 8080)), ("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80))],
)
def test_addresses(value: object, address: tuple[str, int]) -> None:
    assert parse_address(value) == address


@pytest.mark.parametrize("value", ["", "host:", "eighty", "1.2.3.4:99999"])
def test_addresses_that_are_none(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"PORT or HOST:PORT"):
        parse_address(value)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ImproperlyConfigured, match=f"{port} cannot be opened"):
            Health(f"127.0.0.1:{port}")


def test_a_heartbeat_file_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="heartbeat file cannot be written"):
        Health(file=str(tmp_path / "nowhere" / "beat"))


def test_the_heartbeat_file_goes_with_the_worker(tmp_path: Path) -> None:
    health = Health(file=str(tmp_path / "beat"))
    assert (tmp_path / "beat").exists()
    health.close()
    assert not (tmp_path / "beat").exists()


def test_a_server_that_hangs_up_on_all_task_processes() -> None:
    keeper = KombuKeeper(SimpleNamespace(is_amqp=True))  # type: ignore[arg-type]
    assert keeper.connected()  # nothing is known
    pairs = [socket.socketpair() for _ in range(2)]
    for number, (_, ours) in enumerate(pairs):
        keeper.adopt(f"consumer{number}:1:1", ours.detach())
    pairs[0][0].close()
    assert keeper.connected()
    pairs[1][0].sendall(b"unread")  # what was not read yet does not hide the end
    pairs[1][0].close()
    assert not keeper.connected()
    keeper.close()


# -- systemd


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_what_systemd_hears(systemd: socket.socket) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "20000000"})
    assert notifier is not None and notifier.watchdog == 20.0
    health = Health(notifier=notifier)
    health.ready()
    health.tell(WELL)
    health.tell(WELL)  # too soon to say it again
    health.tell(dataclasses.replace(WELL, stopping=True))
    health.tell(dataclasses.replace(WELL, stopping=True))
    health.close()
    assert [systemd.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


def test_the_watchdog_is_not_fed_by_the_dead(systemd: socket.socket) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "1000000"})
    health = Health(notifier=notifier)
    health.tell(dataclasses.replace(WELL, housekeeping=99.0))
    health.close()
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


def test_a_restart_is_no_stop(systemd: socket.socket) -> None:
    health = Health(notifier=Notifier.from_environment({"NOTIFY_SOCKET": systemd.getsockname()}))
    health.restarting()
    health.tell(dataclasses.replace(WELL, stopping=True))
    health.close()
    assert systemd.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_the_watchdog_of_another_process() -> None:
    environment = {"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    notifier = Notifier.from_environment(environment)
    assert notifier is not None and notifier.watchdog is None
    notifier.ready()  # nobody listens, and nothing happens
    notifier.close()


def test_without_systemd() -> None:
    assert Notifier.from_environment({}) is None
