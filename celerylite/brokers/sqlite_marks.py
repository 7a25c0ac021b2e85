"""Marks: which of the messages that a consumer holds have started. A page of shared memory in a file.

A mark costs no transaction, and it outlives the process that made it: whoever cleans up after a killed worker reads
which early acknowledgements it had given. The file is locked as long as its process lives, which tells the living from
the dead at once. Only after a lost power cord may marks be gone.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celerylite.brokers.sqlite_bells import Bells

#: Messages that a serial consumer may hold at a time.
PLACES = 1024
_PLACE = struct.Struct("<q")
_SIZE = PLACES * _PLACE.size
#: What a mark says of a message: acknowledged (before it started, or after a short one that left nothing behind), or
#: running and to be acknowledged late.
NONE, EARLY, LATE = 0, 1, 2


def file_name(consumer: str) -> str:
    """The name of the file of a consumer."""
    return f"c.{consumer}"


class Marks:
    """The consumer's side."""

    def __init__(self, bells: Bells, consumer: str) -> None:
        self._bells = bells
        self._name = file_name(consumer)
        self._number: int | None = None
        self._map: mmap.mmap | None = None

    def open(self) -> None:
        """Make the file and lock it; does nothing where it is open."""
        if self._map is not None:
            return
        self._bells.make_folder()
        path = self._bells.path(self._name)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._bells.adopt(path)
            fcntl.flock(number, fcntl.LOCK_EX)
            os.pwrite(number, bytes(_SIZE), 0)  # not a hole: a full disk must show here, not when a mark is set
            self._map = mmap.mmap(number, _SIZE)
        except BaseException:
            os.close(number)
            raise
        self._number = number

    def set(self, number: int, kind: int) -> None:
        """Note that a message has started."""
        assert self._map is not None
        _PLACE.pack_into(self._map, (number % PLACES) * 8, number * 4 + kind)

    def get(self, number: int) -> int:
        """What is noted of a message."""
        if self._map is None:
            return NONE
        return _kind(_PLACE.unpack_from(self._map, (number % PLACES) * 8)[0], number)

    def close(self) -> None:
        """Nothing is held any more: remove the file."""
        if self._map is None or self._number is None:
            return
        self._map.close()
        self._map = None
        remove(self._bells, self._name[2:])
        os.close(self._number)


def read(bells: Bells, consumer: str) -> bytes:
    """All marks of a consumer; none where there is no file."""
    try:
        with open(bells.path(file_name(consumer)), "rb") as file:
            return file.read(_SIZE)
    except OSError:
        return b""


def kind_of(marks: bytes, number: int) -> int:
    """What the marks say of one message."""
    at = (number % PLACES) * 8
    return _kind(_PLACE.unpack_from(marks, at)[0], number) if len(marks) >= at + 8 else NONE


def _kind(value: int, number: int) -> int:
    return value & 3 if value >> 2 == number else NONE


def lives(bells: Bells, consumer: str) -> bool:
    """Whether the process of a consumer exists; it may be stopped."""
    try:
        number = os.open(bells.path(file_name(consumer)), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(number)


def remove(bells: Bells, consumer: str) -> None:
    """The consumer is forgotten."""
    try:
        os.unlink(bells.path(file_name(consumer)))
    except OSError:
        pass  # somebody else was faster
