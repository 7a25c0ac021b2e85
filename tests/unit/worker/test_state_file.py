"""The file of --statedb: what is revoked is there at once, survives restarts and crashes, and leaves when it is old."""

from __future__ import annotations

import json
import os
import shelve
import time
from pathlib import Path

import pytest

from celerylite.app.revoking import REVOKE_EXPIRES
from celerylite.exceptions import ImproperlyConfigured
from celerylite.worker.directives import Directives
from celerylite.worker.state_file import StateFile


def revoke(told: Directives, *ids: str) -> None:
    told.apply({"directive": "revoke", "ids": list(ids)})


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "worker.state")


def read(path: str) -> Directives:
    """What a worker that starts with this file knows."""
    told = Directives()
    StateFile(path, told).close()
    return told


def test_over_a_restart(path: str) -> None:
    told = Directives()
    file = StateFile(path, told)
    revoke(told, "a", "b")
    told.apply({"directive": "revoke_stamps", "stamps": {"tenant": ["acme"]}})
    file.close()
    again = read(path)
    assert set(again.revoked) == {"a", "b"}
    assert again.revoked_stamps == {"tenant": ["acme"]}
    assert again.revoked.as_dict()["a"] == pytest.approx(time.time(), abs=60)


def test_it_is_there_at_once_for_the_worker_may_be_killed(path: str) -> None:
    told = Directives()
    file = StateFile(path, told)
    revoke(told, "a")
    assert set(read(path).revoked) == {"a"}
    file.close()


def test_a_line_that_was_cut_off_costs_only_itself(path: str) -> None:
    told = Directives()
    file = StateFile(path, told)
    revoke(told, "a")
    file.close()
    with open(path, "a") as out:
        out.write('{"ids": ["b"], "ti')
    assert set(read(path).revoked) == {"a"}


def test_what_is_old_is_forgotten(path: str) -> None:
    now = time.time()
    lines = [{"celerylite": "worker state", "version": 1}, {"ids": ["old"], "time": now - REVOKE_EXPIRES - 1},
             {"ids": ["new"], "time": now - 5}]  # fmt: skip
    Path(path).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert set(read(path).revoked) == {"new"}
    assert "old" not in Path(path).read_text()


def test_children_leave_the_writing_to_the_main_process(path: str) -> None:
    told = Directives()
    file = StateFile(path, told)
    child = os.fork()
    if not child:
        revoke(told, "child")
        os._exit(0)
    os.waitpid(child, 0)
    revoke(told, "parent")
    file.close()
    assert set(read(path).revoked) == {"parent"}


def test_two_workers_with_one_file_lose_nothing(path: str) -> None:
    one, other = Directives(), Directives()
    first, second = StateFile(path, one), StateFile(path, other)
    revoke(one, "a")
    revoke(other, "b")
    first.close()
    second.close()
    assert set(read(path).revoked) == {"a", "b"}


def test_a_file_of_celery_is_kept_aside(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with shelve.open(path) as there:
        there["zrevoked"] = b"x"
    if not os.path.exists(path):  # this system's dbm adds an ending of its own, so the names do not meet
        Path(path).write_bytes(b"\x00\x01something else")
    assert not read(path).revoked
    assert os.path.exists(path + ".old") and "was not written by celerylite" in caplog.text


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"--statedb .*no/such/worker\.state"):
        StateFile(str(tmp_path / "no/such/worker.state"), Directives())
