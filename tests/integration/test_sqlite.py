"""Real workers on an SQLite file: no broker configured, a file that is none, a full disk, Celery's own worker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celerylite import Celery, chord
from celerylite.brokers.sqlite_address import parse
from celerylite.transports import SQLITE
from tests.conftest import THEIRS, Workers
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def environment(url: str, ledger: Ledger) -> dict[str, str]:
    return {"TEST_BROKER": url, "TEST_BACKEND": url, "TEST_LEDGER": str(ledger.directory)}


def client(url: str) -> Any:
    from tests.support.app import make_app  # here, because it needs kombu

    return make_app("celerylite", url)


def test_a_file_that_is_no_database_ends_the_worker(tmp_path: Path, ledger: Ledger, start_worker: Workers) -> None:
    (tmp_path / "letter.db").write_text("dear aunt, " * 500)
    env = environment(f"sqlite:///{tmp_path}/letter.db", ledger)
    worker = start_worker("tests.support.app", "-c", "1", env=env, ready=False)
    assert worker.wait(20) != 0
    assert "letter.db cannot be used as broker or result store: file is not a database" in worker.log()
    assert "ForkPoolWorker" not in worker.log()


def test_nothing_is_configured(tmp_path: Path, start_worker: Workers) -> None:
    """Client and worker meet in the file of their directory, and the worker says so."""
    (tmp_path / "proj.py").write_text(
        "from celerylite import Celery\napp = Celery('proj')\n\n@app.task\ndef add(x, y):\n    return x + y\n"
    )
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[2]}"}
    worker = start_worker("proj", "-c", "1", env=env, cwd=tmp_path)
    code = "import proj; print(proj.add.delay(2, 3).get(timeout=20))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**worker.env}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "5\n", done.stderr
    assert f"transport:   sqlite:///{tmp_path}/celerylite.db (no broker_url is set)" in worker.log()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk(small_disk: Path, ledger: Ledger, start_worker: Workers) -> None:
    """Who sends is told; the worker waits, and goes on by itself when there is space again. Nothing is lost."""
    url = f"sqlite:///{small_disk}/celerylite.db"
    worker = start_worker("tests.support.app", "-c", "1", env=environment(url, ledger))
    app = client(url)
    add = app.tasks["t.add"]
    assert add.delay(1, 1).get(timeout=20) == 2

    from kombu.exceptions import OperationalError

    (small_disk / "ballast").write_bytes(bytes(4_500_000))
    sent = []
    with pytest.raises(OperationalError, match="database or disk is full"):
        for number in range(20_000):
            sent.append(add.apply_async((number, 0), headers={"padding": "x" * 2000}, retry=False))
    with pytest.raises(OSError, match="No space left"), (small_disk / "more").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    wait_for(lambda: "database or disk is full" in worker.log() or all(r.ready() for r in sent), 20, "the worker")
    (small_disk / "ballast").unlink()
    (small_disk / "more").unlink()

    assert [result.get(timeout=30) for result in sent] == list(range(len(sent)))
    assert worker.returncode is None
    app.close()
    worker.terminate()


def test_celerys_own_worker_uses_the_file_through_kombu(
    tmp_path: Path, ledger: Ledger, start_worker: Workers
) -> None:
    """Calls of ours are run by it; results go elsewhere, for Celery has no store of this kind."""
    pytest.importorskip("celery")
    url = f"sqlite:///{tmp_path}/celerylite.db"
    (tmp_path / "theirs.py").write_text(
        "from celery import Celery\n"
        f"app = Celery('theirs', backend='file://{tmp_path}/results')\n"
        f"app.conf.update(broker_url={url!r}, broker_transport={SQLITE!r})\n"
        "@app.task(name='add')\ndef add(x, y):\n    return x + y\n"
    )
    (tmp_path / "results").mkdir()
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[2]}"}
    start_worker("theirs", "-c", "1", "-P", "solo", program=THEIRS, env=env, cwd=tmp_path)
    ours = Celery("ours", broker=url, set_as_current=False)
    ours.send_task("add", (2, 3))
    wait_for(lambda: list((tmp_path / "results").iterdir()), 20, "a result")
    # Remote control: a broadcast over the same file, and its reply.
    with ours.connection() as connection:
        from kombu.pidbox import Mailbox

        mailbox = Mailbox("celery", type="fanout", accept=["json"])
        replies = mailbox(connection)._broadcast("ping", {}, reply=True, timeout=5, limit=1)
    assert list(replies[0].values()) == [{"ok": "pong"}]
    ours.close()
    assert parse(url).path == str(tmp_path / "celerylite.db")


@pytest.mark.parametrize("options", [("-c", "1"), ("-c", "2", "-P", "threads"), ("-P", "solo")])
def test_a_chord_is_finished_by_whoever_has_counted_its_last_part(
    tmp_path: Path, ledger: Ledger, start_worker: Workers, options: tuple[str, ...]
) -> None:
    """Housekeeping would do it too, but only after some seconds."""
    url = f"sqlite:///{tmp_path}/chords.db"
    worker = start_worker("tests.support.app", *options, env=environment(url, ledger))
    tasks = client(url).tasks
    for _ in range(3):
        inner = chord([tasks["t.add"].s(1, 2), tasks["t.add"].s(3, 4)], tasks["t.size"].s())
        body = chord([tasks["t.add"].s(i, i) for i in range(3)] + [inner])(tasks["t.size"].s())
        assert body.get(timeout=30) == 4
    assert "left to housekeeping" not in worker.log()
