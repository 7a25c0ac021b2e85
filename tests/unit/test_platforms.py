"""Pidfiles, file descriptors, users, signals, titles."""

from __future__ import annotations

import os
import select
import signal
import sys

import pytest

from celerylite import platforms
from celerylite.exceptions import SecurityError, SecurityWarning
from celerylite.platforms import LockFailed, Pidfile, create_pidlock, signals, users
from tests.support.fresh import run_fresh


def test_a_pidfile_is_held_and_released(tmp_path) -> None:
    path = tmp_path / "worker.pid"
    with Pidfile(str(path)) as lock:
        assert path.read_text() == f"{os.getpid()}\n" and lock.read_pid() == os.getpid() and lock.is_locked()
        with pytest.raises(LockFailed):
            Pidfile(str(path)).acquire()
    assert not path.exists() and lock.read_pid() is None


@pytest.mark.parametrize("content", ["", "123", "words\n", "0\n"])
def test_a_broken_pidfile_is_replaced(tmp_path, content: str) -> None:
    path = tmp_path / "worker.pid"
    path.write_text(content)
    lock = create_pidlock(str(path))
    assert lock.read_pid() == os.getpid()
    lock.release()


def test_a_stale_pidfile_is_replaced(tmp_path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "worker.pid"
    path.write_text(run_fresh("import os; print(os.getpid())") + "\n")  # of a process that is gone
    lock = create_pidlock(str(path))
    assert lock.read_pid() == os.getpid() and "Stale pidfile" in capfd.readouterr().err
    lock.release()


def test_a_live_pidfile_ends_the_second_process(tmp_path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "worker.pid"
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(SystemExit) as ended:
        create_pidlock(str(path))
    assert ended.value.code == platforms.EX_CANTCREAT
    assert f"already running? (pid: {os.getppid()})" in capfd.readouterr().err


def test_a_forked_child_leaves_the_pidfile(tmp_path) -> None:
    path = tmp_path / "worker.pid"
    run_fresh(
        """
        import os, sys
        from celerylite.platforms import create_pidlock
        create_pidlock(sys.argv[1])
        if os.fork() == 0:
            sys.exit(0)
        os.wait()
        assert os.path.exists(sys.argv[1])
        """,
        str(path),
    )
    assert not path.exists()


def test_closing_files_spares_some() -> None:
    printed = run_fresh(
        """
        import os
        from celerylite.platforms import close_open_fds
        kept, other = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
        close_open_fds([0, 1, 2, kept, None])
        os.fstat(kept)
        try:
            os.fstat(other)
        except OSError:
            print("closed")
        """
    )
    assert printed == "closed"


def test_a_daemon_has_its_own_session(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    run_fresh(
        """
        import os, sys
        from celerylite.platforms import detached
        folder, session = sys.argv[1], os.getsid(0)
        with detached(logfile=folder + "/log", pidfile=folder + "/pid", umask="022", workdir="/"):
            with open(folder + "/pipe", "w") as pipe:
                pipe.write(f"{os.getsid(0) != session} {os.getcwd()} {os.isatty(0)} {os.umask(0):o}")
        """,
        str(tmp_path),
    )
    assert select.select([reading], [], [], 30)[0], "the daemon says nothing"
    assert os.read(reading, 100) == b"True / False 22"
    os.close(reading)
    assert (tmp_path / "log").exists() and not (tmp_path / "pid").exists()


def test_finding_open_files_by_path() -> None:
    fd = os.open("/dev/zero", os.O_RDONLY)
    try:
        assert fd in platforms.fd_by_path(["/dev/zero", "/no/such/file"])
    finally:
        os.close(fd)


def test_users_and_groups() -> None:
    assert users.parse_uid("root") == users.parse_uid("0") == users.parse_gid(0) == 0
    with pytest.raises(KeyError, match="User does not exist"):
        users.parse_uid("no-such-user")
    with pytest.raises(KeyError, match="Group does not exist"):
        users.parse_gid("no-such-group")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become someone else")
def test_dropping_privileges_is_for_good() -> None:
    printed = run_fresh(
        """
        import os
        from celerylite.platforms import maybe_drop_privileges
        maybe_drop_privileges(uid="nobody")
        print(0 in (os.getuid(), os.geteuid(), os.getgid()), 0 in os.getgroups())
        """
    )
    assert printed == "False False"


@pytest.mark.skipif(os.getuid() != 0, reason="about root")
def test_root_may_not_accept_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("C_FORCE_ROOT", raising=False)
    with pytest.warns(SecurityWarning, match="superuser privileges"):
        users.check_privileges(["json"])
    for pickled in ("pickle", "application/x-python-serialize"):
        with pytest.raises(SecurityError, match="C_FORCE_ROOT"):
            users.check_privileges([pickled])
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    with pytest.warns(SecurityWarning):
        users.check_privileges(["pickle"])


def test_signals_by_name() -> None:
    assert signals.signum("TERM") == signals.signum("SIGTERM") == signals.signum(15) == signal.SIGTERM
    assert signals.supported("INT") and not signals.supported("NOSUCH") and not signals.supported("term")
    assert platforms.signal_name(signal.SIGTERM) == "TERM"
    before = signals["USR2"]
    try:
        signals["USR2"] = got = lambda signum, frame: None
        assert signals["USR2"] is got
        signals.ignore("USR2")
        assert signals["USR2"] is signals.ignored
        signals.reset("USR2")
        assert signals["USR2"] is signals.default
        signals["NOSUCH"] = got
    finally:
        signals["USR2"] = before


def test_titles_and_arguments() -> None:
    assert platforms.set_process_title("celeryd", info="ready") == "[celeryd] ready"
    assert platforms.set_mp_process_title("celeryd", hostname="w@h").startswith("[celeryd: w@h:")
    assert platforms.strargv(["celery", "worker", "-B"]) == "(worker -B)"


def test_ignoring_errors_by_name() -> None:
    with platforms.ignore_errno("ENOENT"):
        os.unlink("/no/such/file")
    with pytest.raises(FileNotFoundError), platforms.ignore_errno("EPERM"):
        os.unlink("/no/such/file")
    assert not platforms.isatty(object())
    assert platforms.get_fdmax(7)
    assert sys.implementation.name == platforms.pyimplementation().lower()
