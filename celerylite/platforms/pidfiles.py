"""Pidfiles: at most one process of a kind at a time, and a way to find it."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import Any

__all__ = ("LockFailed", "PIDFile", "Pidfile", "create_pidlock")

EX_CANTCREAT = getattr(os, "EX_CANTCREAT", 73)
PIDFILE_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY
PIDFILE_MODE = 0o644
PIDLOCKED = """ERROR: Pidfile ({0}) already exists.
Seems we're already running? (pid: {1})"""


class LockFailed(Exception):
    """The pidfile is there already, or cannot be written."""


class Pidfile:
    """A file with the number of the process that has it; made only where there is none.

    One that is left over from a process that is gone can be told by `remove_if_stale`.
    """

    path: str

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    def acquire(self) -> Pidfile:
        """Make the file; LockFailed where that cannot be done."""
        try:
            self.write_pid()
        except OSError as exc:
            raise LockFailed(str(exc)) from exc
        return self

    __enter__ = acquire

    def is_locked(self) -> bool:
        """Whether the file is there."""
        return os.path.exists(self.path)

    def release(self, *args: Any) -> None:
        """Remove the file."""
        self.remove()

    __exit__ = release

    def read_pid(self) -> int | None:
        """The number in the file; None where there is no file, ValueError where it is not one of ours."""
        try:
            with open(self.path) as file:
                line = file.readline()
        except FileNotFoundError:
            return None
        if line.strip() == line:  # the line end is written last: without it, writing broke off
            raise ValueError(f"Partial or invalid pidfile {self.path}")
        return int(line.strip())

    def remove(self) -> None:
        """Remove the file, if it is there and we may."""
        with suppress(FileNotFoundError, PermissionError):
            os.unlink(self.path)

    def remove_if_stale(self) -> bool:
        """Remove the file if its process is gone; whether there is no file now."""
        try:
            pid = self.read_pid()
        except ValueError:
            print("Broken pidfile found - Removing it.", file=sys.stderr)
            self.remove()
            return True
        if not pid:
            self.remove()
            return True
        # Our own number: the process that wrote it is gone, and the system gave its number to us.
        if pid == os.getpid() or not _is_alive(pid):
            print("Stale pidfile exists - Removing it.", file=sys.stderr)
            self.remove()
            return True
        return False

    def write_pid(self) -> None:
        """Write our number, to the disk, and make sure that it is there."""
        content = f"{os.getpid()}\n"
        fd = os.open(self.path, PIDFILE_FLAGS, PIDFILE_MODE)
        with os.fdopen(fd, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        with open(self.path) as check:
            if check.read() != content:
                raise LockFailed("Inconsistency: Pidfile content doesn't match at re-read")


PIDFile = Pidfile


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True  # someone else's, or we cannot tell
    return True


def create_pidlock(pidfile: str) -> Pidfile:
    """Make the pidfile, or end this process where another one that lives has it; it goes when we go."""
    lock = _create_pidlock(pidfile)
    atexit.register(_release_own, lock, os.getpid())
    return lock


def _create_pidlock(pidfile: str) -> Pidfile:
    lock = Pidfile(pidfile)
    if lock.is_locked() and not lock.remove_if_stale():
        print(PIDLOCKED.format(pidfile, lock.read_pid()), file=sys.stderr)
        raise SystemExit(EX_CANTCREAT)
    return lock.acquire()


def _release_own(lock: Pidfile, owner: int) -> None:
    # A forked child that exits must not take its parent's pidfile away.
    if os.getpid() == owner:
        lock.release()
