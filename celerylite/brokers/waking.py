"""How a waiting consumer or keeper is woken by another thread or a signal handler: a pipe. Knows nothing of brokers."""

from __future__ import annotations

import os
from threading import RLock

from celerylite.utils.polling import readable


class Waking:
    """What consumers and keepers inherit; call `_open_wake` first."""

    #: Further descriptors that end a wait when they become readable.
    _alarms: tuple[int, ...] = ()
    _wake_read: int
    #: None once it is closed: whoever is late with `wake` must not write into what the number means by then.
    _wake_write: int | None = None
    #: Held while that number is used, and while it is closed; a signal handler may come in between.
    _waking: RLock

    def _open_wake(self, alarm: int | None = None) -> None:
        self._alarms = () if alarm is None else (alarm,)
        self._waking = RLock()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self) -> None:
        """End a wait; any thread and any signal handler may call."""
        with self._waking:
            if self._wake_write is None:
                return
            try:
                os.write(self._wake_write, b"w")
            except BlockingIOError:
                pass  # the pipe is full of wake-ups already

    def _drain_wake(self) -> bool:
        """Whether somebody has called `wake` since the last time."""
        try:
            return bool(os.read(self._wake_read, 4096))
        except BlockingIOError:
            return False

    def _alarmed(self) -> bool:
        return bool(self._alarms and readable(self._alarms, 0))

    def _sleep(self, seconds: float) -> None:
        """Let time pass, unless somebody calls `wake`. An alarm can wait as long: it stays readable until it is heard,
        and whoever must try again would not pause at all.
        """
        if readable([self._wake_read], seconds):
            self._drain_wake()

    def _idle(self, seconds: float) -> None:
        """Let time pass, unless somebody calls `wake` or there is an alarm."""
        if readable([self._wake_read, *self._alarms], seconds):
            self._drain_wake()

    def _close_wake(self) -> None:
        with self._waking:
            writing, self._wake_write = self._wake_write, None
            if writing is not None:
                os.close(writing)
                os.close(self._wake_read)

    def __del__(self) -> None:
        if self._wake_write is not None:  # a part that nobody closes, or that could not be opened
            self._close_wake()
