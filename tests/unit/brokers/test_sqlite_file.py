"""The SQLite file: its address, what makes it unusable, transactions, and processes that fork."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from celerylite.brokers import sqlite_address
from celerylite.brokers import sqlite_schema as schema
from celerylite.brokers.sqlite_address import Address, parse
from celerylite.brokers.sqlite_bells import Ear
from celerylite.brokers.sqlite_file import Database, Link, database
from celerylite.exceptions import ImproperlyConfigured


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "celerylite.db"


@pytest.fixture
def base(file: Path) -> Database:
    return Database(Address(str(file), timeout=0.2))


def count(base: Database) -> int:
    return base.run(lambda link: link.read("SELECT count(*) FROM message")[0][0])


def insert(base: Database, *bodies: bytes) -> None:
    def work(link: Link) -> None:
        with link:
            link.many(schema.SEND, [("q", 0, None, body) for body in bodies])

    base.run(work)


# -- addresses


def test_a_relative_path_is_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("sqlite:///a/b.db").path == f"{tmp_path}/a/b.db"


def test_four_slashes_make_an_absolute_path() -> None:
    address = parse("sqlite:////var/lib/my%20tasks.db")
    assert (address.path, address.url) == ("/var/lib/my tasks.db", "sqlite:////var/lib/my tasks.db")


def test_options() -> None:
    address = parse("sqlite:////x.db?timeout=2.5&network=1")
    assert (address.timeout, address.network) == (2.5, True)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite://host/x.db", "names the host 'host'"),
        ("sqlite:///x.db?timeout=soon", "number of seconds"),
        ("sqlite:///x.db?tiemout=1", "unknown option 'tiemout'"),
    ],
)
def test_addresses_that_are_wrong(url: str, word: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=word):
        parse(url)


# -- what makes a file unusable


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="there is no folder"):
        Database(Address(f"{tmp_path}/no/x.db")).connect()


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="that is a folder"):
        Database(Address(str(tmp_path))).connect()


def test_a_file_that_is_no_database(file: Path, base: Database) -> None:
    file.write_text("a letter to my aunt, " * 300)
    with pytest.raises(ImproperlyConfigured, match="file is not a database"):
        base.connect()
    assert file.read_text().startswith("a letter")


def test_a_database_of_somebody_else(file: Path, base: Database) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE aunts (name)")
    with pytest.raises(ImproperlyConfigured, match="of another program"):
        base.connect()


def test_a_database_of_somebody_else_with_a_version(file: Path, base: Database) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE aunts (name)")
        connection.execute("PRAGMA user_version=7")
    with pytest.raises(ImproperlyConfigured, match="of another program"):
        base.connect()


def test_a_file_of_another_version(file: Path, base: Database) -> None:
    base.connect().close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(ImproperlyConfigured, match="another version of celerylite"):
        Database(Address(str(file))).connect()


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], None]], str]:
    """Runs a function in a child that may not write what it does not own; gives what it says of its error."""

    def run(work: Callable[[], None]) -> str:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if os.geteuid() == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                work()
                os.write(writing, b"no error")
            except BaseException as exc:  # it must not reach pytest a second time
                os.write(writing, f"{type(exc).__name__}: {exc}".encode())
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(pid, 0)
        with open(reading, "rb") as pipe:
            return pipe.read().decode()

    return run


def open_to_nobody(folder: Path, mode: int) -> None:
    """Pytest's directories are closed to others."""
    folder.chmod(mode)
    for parent in folder.parents:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, base: Database, as_nobody: Callable[[Callable[[], None]], str]
) -> None:
    open_to_nobody(tmp_path, 0o555)
    said = as_nobody(lambda: base.connect().close())
    assert said.startswith("OperationalError") and "must be able to write the file and its folder" in said


def test_a_file_that_cannot_be_written(
    tmp_path: Path, file: Path, base: Database, as_nobody: Callable[[Callable[[], None]], str]
) -> None:
    open_to_nobody(tmp_path, 0o755)
    base.connect().close()
    file.chmod(0o444)
    said = as_nobody(lambda: Database(Address(str(file))).connect().close())
    assert "cannot be written" in said or "must be able to write" in said


@pytest.mark.parametrize(("kind", "name"), [(0x6969, "NFS"), (0xFF534D42, "CIFS")])
def test_network_file_systems_are_refused(
    file: Path, base: Database, monkeypatch: pytest.MonkeyPatch, kind: int, name: str
) -> None:
    monkeypatch.setattr(sqlite_address, "file_system", lambda folder: kind)
    with pytest.raises(ImproperlyConfigured, match=rf"network file system \({name}\)"):
        base.connect()
    Database(Address(str(file), network=True)).connect().close()


def test_doubtful_file_systems_are_warned_of(
    base: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_address, "file_system", lambda folder: 0x65735546)
    base.connect().close()
    assert "lies on FUSE" in caplog.text


def test_this_file_system_is_known(tmp_path: Path) -> None:
    kind = sqlite_address.file_system(str(tmp_path))
    assert kind is not None and kind not in sqlite_address.NETWORK


def test_a_full_disk_says_so_and_nothing_is_left_behind(base: Database) -> None:
    def work(link: Link) -> None:
        link.execute(f"PRAGMA max_page_count={link.read('PRAGMA page_count')[0][0] + 4}")
        with link:
            link.many(schema.SEND, [("q", 0, None, bytes(100_000))])

    with pytest.raises(sqlite3.OperationalError, match=r"celerylite\.db: database or disk is full \(no space"):
        base.run(work)
    assert count(base) == 0
    insert(base, b"there is room for this")
    assert count(base) == 1


# -- transactions


def test_an_error_undoes_a_transaction_and_its_bells(base: Database) -> None:
    def work(link: Link) -> None:
        with link:
            link.many(schema.SEND, [("q", 0, None, b"x")])
            link.ring("q.x")
            raise KeyError

    with pytest.raises(KeyError):
        base.run(work)
    assert count(base) == 0
    assert base.run(lambda link: link._bells) == set()


def test_a_lock_is_waited_for_and_then_an_error(base: Database) -> None:
    insert(base, b"1")
    other = base.connect()
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match=r"locked by another process for 0\.2 s"):
        insert(base, b"2")
    assert count(base) == 1  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    insert(base, b"2")
    assert count(base) == 2


def test_version_changes_with_the_commits_of_others(base: Database) -> None:
    link, other = Link(base), Link(base)
    before = link.version()
    assert link.version() == before
    with other:
        other.many(schema.SEND, [("q", 0, None, b"x")])
    assert link.version() != before
    link.close()
    other.close()


def test_sync(base: Database) -> None:
    link = Link(base)
    with link:
        link.many(schema.SEND, [("q", 0, None, b"x")])
    assert link.dirty
    link.sync()
    assert not link.dirty
    link.close()


def test_one_object_for_a_file(file: Path) -> None:
    assert database(parse(f"sqlite:///{file}")) is database(parse(f"sqlite:///{file}"))


# -- forking


def test_a_forked_child_has_links_of_its_own(base: Database) -> None:
    insert(base, b"parent")
    kept = Link(base)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert not kept.usable
            insert(base, b"child")
            status = 0 if count(base) == 2 else 2
            del kept
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert kept.usable and count(base) == 2
    insert(base, b"parent again")
    kept.close()
    base.close()
    assert count(base) == 3


def test_files_beside_it_have_its_mode(file: Path, base: Database) -> None:
    insert(base, b"x")
    file.chmod(0o660)
    base.bells.listen("q.x")
    assert stat.S_IMODE(os.stat(f"{file}-run").st_mode) == 0o770
    assert stat.S_IMODE(os.stat(f"{file}-run/q.x").st_mode) == 0o660




def test_a_group_may_share_the_file(
    tmp_path: Path, file: Path, base: Database, as_nobody: Callable[[Callable[[], None]], str]
) -> None:
    """Another user, with write permission, sends and wakes who waits."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    open_to_nobody(tmp_path, 0o777)
    before = os.umask(0)
    try:
        insert(base, b"x")
    finally:
        os.umask(before)
    ear = Ear(base.bells, ("q.x",))
    ear.hush()

    def ring() -> None:
        other = Database(Address(str(file)))
        insert(other, b"y")
        other.bells.ring("q.x")

    assert as_nobody(ring) == "no error"
    assert ear.wait(10) and count(base) == 2
    ear.close()
