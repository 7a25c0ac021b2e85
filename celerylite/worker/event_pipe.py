"""From the task processes to the control process: a pipe for events, made before the first fork.

Nobody ever waits for it: what finds no room is dropped, and counted. (Not a datagram socket: those hold ten datagrams
on a stock Linux kernel, a pipe a megabyte.)
"""

from __future__ import annotations

import fcntl
import os
import struct
from select import PIPE_BUF

#: Bytes that wait for the control process at most, if the system lets us.
ROOM = 1 << 20
#: Who writes, bytes that follow, and whether the frame is a packet's first and last. The system writes a frame of
#: this size whole or not at all.
_HEAD = struct.Struct("<IH??")
_MOST = PIPE_BUF - _HEAD.size


class EventPipe:
    """Packets of JSON from many processes to one."""

    def __init__(self) -> None:
        self._out, self._in = _pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            try:
                fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, ROOM)
            except OSError:
                pass  # a user may have only so much; the usual 64 KB it is
        self._left = b""
        #: What has come of packets in several frames, by who writes.
        self._parts: dict[int, bytes] = {}

    def fileno(self) -> int:
        """The file to wait for."""
        return self._out

    def write(self, writer: int, packet: bytes) -> bool:
        """Write a packet; False where there is no room. `writer` is the same number for no two threads at a time."""
        for start in range(0, len(packet), _MOST):
            piece = packet[start : start + _MOST]
            last = start + _MOST >= len(packet)
            try:
                os.write(self._in, _HEAD.pack(writer, len(piece), start == 0, last) + piece)
            except BlockingIOError:
                return False  # the reader throws away what has no end
        return True

    def read(self) -> list[bytes]:
        """The packets that have come."""
        packets = []
        try:
            data = self._left + os.read(self._out, 65536)
        except BlockingIOError:
            return []
        at = 0
        while len(data) - at >= _HEAD.size:
            writer, size, first, last = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + size
            if end > len(data):
                break
            piece = data[at + _HEAD.size : end]
            at = end
            if not first:
                piece = self._parts.pop(writer, b"") + piece
            if last:
                packets.append(piece)
            else:
                self._parts[writer] = piece
        self._left = data[at:]
        return packets

    def empty(self) -> None:
        """Throw away what is in it: another reader may have gone in the middle of a frame."""
        self._left, self._parts = b"", {}
        while True:
            try:
                if not os.read(self._out, 65536):
                    return
            except BlockingIOError:
                return

    def __del__(self) -> None:
        # Not sooner: a thread that was given up may still write, and the number may be another file by then.
        if hasattr(self, "_in"):  # it could be opened
            os.close(self._in)
            os.close(self._out)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
