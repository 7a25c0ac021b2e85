"""`upgrade settings`: names change, nothing else does, and the file is never half written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from celerylite.bin import upgrade
from celerylite.bin.upgrade import renamed

Run = Callable[..., Result]

OLD = '''\
BROKER_URL = "redis://"  # CELERYD_CONCURRENCY is a comment
CELERYD_CONCURRENCY = 4; CELERY_TASK_RESULT_EXPIRES = 3
name = f"{CELERYD_CONCURRENCY} CELERYD_CONCURRENCY"
conf = {"BROKER_URL": 1, 'about BROKER_URL': 2}
app.conf.CELERY_ACCEPT_CONTENT = ["json"]
"""
BROKER_URL
"""
mine = BROKER_URL_2
'''


def test_new_names() -> None:
    assert renamed(OLD) == '''\
broker_url = "redis://"  # CELERYD_CONCURRENCY is a comment
worker_concurrency = 4; result_expires = 3
name = f"{worker_concurrency} CELERYD_CONCURRENCY"
conf = {"broker_url": 1, 'about BROKER_URL': 2}
app.conf.accept_content = ["json"]
"""
BROKER_URL
"""
mine = BROKER_URL_2
'''


def test_names_for_django() -> None:
    assert renamed("BROKER_URL = CELERY_RESULT_BACKEND = CELERYD_POOL = 1\n", prefixed=True) == (
        "CELERY_BROKER_URL = CELERY_RESULT_BACKEND = CELERY_WORKER_POOL = 1\n"
    )


def test_line_ends_stay() -> None:
    assert renamed("BROKER_URL = 1\r\nCELERYD_POOL = 2\r\n") == "broker_url = 1\r\nworker_pool = 2\r\n"


def test_the_command(run: Run, project: Path) -> None:
    path = project / "settings.py"
    path.write_bytes("# -*- coding: latin-1 -*-\nBROKER_URL = 'ü'\r\n".encode("latin-1"))
    os.chmod(path, 0o640)
    result = run("upgrade", "settings", "settings.py")
    assert result.exit_code == 0 and "Changes to your setting have been made!" in result.stdout
    assert path.read_bytes() == "# -*- coding: latin-1 -*-\nbroker_url = 'ü'\r\n".encode("latin-1")
    assert path.stat().st_mode & 0o777 == 0o640
    assert b"BROKER_URL" in (project / "settings.py.orig").read_bytes()
    assert "Does not seem to require any changes" in run("upgrade", "settings", "settings.py").stdout


@pytest.mark.parametrize("option", ["--django", "--compat"])
def test_without_a_backup(run: Run, project: Path, option: str) -> None:
    (project / "settings.py").write_text("BROKER_URL = 1\n")
    run("upgrade", "settings", "settings.py", option, "--no-backup")
    assert (project / "settings.py").read_text() == "CELERY_BROKER_URL = 1\n"
    assert not (project / "settings.py.orig").exists()


def test_what_is_not_python(run: Run, project: Path) -> None:
    (project / "settings.py").write_text("BROKER_URL = ((\n")
    result = run("upgrade", "settings", "settings.py")
    assert result.exit_code == 1 and "settings.py is not Python" in result.output
    assert (project / "settings.py").read_text() == "BROKER_URL = ((\n"


def test_a_link_stays_a_link(project: Path) -> None:
    (project / "real.py").write_text("old")
    (project / "link.py").symlink_to("real.py")
    upgrade.replace(project / "link.py", b"new")
    assert (project / "link.py").is_symlink() and (project / "real.py").read_text() == "new"


def test_a_write_that_fails_leaves_the_old_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project / "settings.py"
    path.write_text("old")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(upgrade.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        upgrade.replace(path, b"new")
    assert path.read_text() == "old"
    assert [file.name for file in project.glob(".settings.py*")] == []
