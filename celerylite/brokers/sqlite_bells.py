"""Bells: how one process tells another that something it waits for has been committed to an SQLite file.

A bell is a FIFO in the folder `<file>-run`. Ringing writes a byte, listening polls for one; nothing is registered
anywhere, and a byte stays until somebody has read it, so that whoever reads first and looks afterwards misses nothing.
Waking takes some 50 µs and an idle listener no time at all. Where there are no FIFOs, listeners look every 10 ms.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterable
from hashlib import sha1
from threading import RLock

#: Seconds between looks of listeners whose bell cannot ring, and of all others, for what nobody rang the bell.
POLL, SAFETY = 0.01, 1.0


def queue_bell(queue: str) -> str:
    """The name of the bell of a queue."""
    return "q." + sha1(queue.encode("utf-8", "surrogateescape")).hexdigest()[:16]


#: The bell of those who promote due messages.
DELAYED = "delayed"

#: Bells that are rung often, by the first letter of their names, are kept open; most of them at a time.
KEPT, MOST_KEPT = "qd", 100


class Bells:
    """All bells of one file, as one process uses them."""

    def __init__(self, folder: str, database: str) -> None:
        self.folder = folder
        self._database = database
        #: Those that are kept open for ringing. All threads share them: a number must not be closed while another
        #: thread writes to it, for by then it may be somebody else's file.
        self._open: dict[str, int] = {}
        self._lock = RLock()

    def path(self, name: str) -> str:
        """Where a bell is; the folder is made."""
        return os.path.join(self.folder, name)

    def make_folder(self) -> None:
        """Make the folder, open to those who may write the file (now: its mode may have been changed)."""
        mode = os.stat(self._database).st_mode
        wanted = 0o700 | (0o070 if mode & 0o020 else 0) | (0o007 if mode & 0o002 else 0)
        try:
            os.mkdir(self.folder)
        except FileExistsError:
            found = os.stat(self.folder)
            if stat.S_IMODE(found.st_mode) & 0o777 == wanted or found.st_uid != os.geteuid():
                return
        self.adopt(self.folder, wanted)

    def adopt(self, path: str, mode: int | None = None) -> None:
        """Give a file of ours the owner and the mode of the database, as SQLite does with its own."""
        like = os.stat(self._database)
        if os.geteuid() == 0 and (like.st_uid, like.st_gid) != (0, 0):
            os.chown(path, like.st_uid, like.st_gid)
        os.chmod(path, stat.S_IMODE(like.st_mode) & 0o666 if mode is None else mode)

    def listen(self, name: str) -> int | None:
        """A new descriptor on which a bell is heard; None where there can be none."""
        path = self.path(name)
        try:
            self._make(path)
            return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None

    def _make(self, path: str) -> None:
        self.make_folder()
        try:
            os.mkfifo(path)
        except FileExistsError:
            if os.stat(path).st_uid != os.geteuid():
                return
        self.adopt(path)

    def ring(self, name: str) -> None:
        """Ring a bell, if anybody listens."""
        with self._lock:
            number = self._open.get(name)
            if number is not None:
                _ring(number)
                return
            number = self._for_ringing(name)
            if number is None:
                return
            _ring(number)
            if name[0] in KEPT and len(self._open) < MOST_KEPT:
                self._open[name] = number
            else:
                os.close(number)

    def _for_ringing(self, name: str) -> int | None:
        try:
            return os.open(self.path(name), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # nobody listens

    def ring_once(self, name: str) -> None:
        """The same without keeping anything open."""
        number = self._for_ringing(name)
        if number is not None:
            _ring(number)
            os.close(number)

    def heard(self, name: str) -> bool:
        """Whether anybody listens to a bell."""
        number = self._for_ringing(name)
        if number is not None:
            os.close(number)
        return number is not None

    def shut(self, name: str) -> None:
        """Close a bell; it can be opened again."""
        with self._lock:
            number = self._open.pop(name, None)
            if number is not None:
                os.close(number)

    def remove(self, name: str) -> None:
        """A bell is needed no more."""
        self.shut(name)
        try:
            os.unlink(self.path(name))
        except OSError:
            pass  # somebody else was faster

    def close(self) -> None:
        """Close all bells."""
        for name in list(self._open):
            self.shut(name)

    def forget(self) -> None:
        """In a forked child: another thread of the parent may have had the lock."""
        self._lock = RLock()
        self.close()


def _ring(number: int) -> None:
    try:
        os.write(number, b"!")
    except (BlockingIOError, BrokenPipeError):
        pass  # it is full of ringing; or nobody listens just now


class Ear:
    """Listens to some bells, and to other descriptors (a pipe by which the process is woken). One thread uses it."""

    def __init__(self, bells: Bells, names: Iterable[str], others: Iterable[int] = ()) -> None:
        self._bells = bells
        self._names = list(names)
        self._others = list(others)
        self._numbers: list[int] = []
        self._poll: select.poll | None = None
        #: Whether a bell could not be had: then one has to look every `POLL` seconds.
        self.deaf = False

    def _start(self) -> select.poll:
        poll = select.poll()
        numbers = [self._bells.listen(name) for name in self._names]
        self.deaf = None in numbers
        self._numbers = [number for number in numbers if number is not None]
        for number in (*self._numbers, *self._others):
            poll.register(number, select.POLLIN)
        self._poll = poll
        return poll

    def hush(self) -> None:
        """Take note of all that has rung; look after that, never before."""
        if self._poll is None:
            self._start()
        for number in self._numbers:
            try:
                os.read(number, 65536)
            except BlockingIOError:
                pass  # silence

    def wait(self, seconds: float) -> bool:
        """Wait for a bell or another descriptor, at most so long; True if there was one."""
        poll = self._start() if self._poll is None else self._poll
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def close(self) -> None:
        """Listen no more; the next use begins anew (somebody may have removed the folder)."""
        self._poll = None
        numbers, self._numbers = self._numbers, []
        for number in numbers:
            os.close(number)
