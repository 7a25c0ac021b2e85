"""Signals by name, and their handlers."""

from __future__ import annotations

import os
import platform as _platform
import signal as _signal
from typing import Any

__all__ = ("SIGMAP", "SIGNAMES", "Signals", "set_pdeathsig", "signal_name", "signals")

SIGNAMES = {sig for sig in dir(_signal) if sig.startswith("SIG") and "_" not in sig}
SIGMAP = {getattr(_signal, name): name for name in SIGNAMES}


class Signals:
    """The signals of this process by name: `signals["INT"] = handler`; unknown names are ignored."""

    ignored = _signal.SIG_IGN
    default = _signal.SIG_DFL

    def arm_alarm(self, seconds: float) -> None:
        """Have SIGALRM sent to us in so many seconds."""
        _signal.setitimer(_signal.ITIMER_REAL, seconds)

    def reset_alarm(self) -> int:
        """Take that back."""
        return _signal.alarm(0)

    def supported(self, name: str) -> bool:
        """Whether this system has the signal."""
        try:
            self.signum(name)
        except (AttributeError, TypeError):
            return False
        return True

    def signum(self, name: Any) -> int:
        """The number of a signal, with or without SIG before its name; numbers as they are."""
        if isinstance(name, int):
            return name
        if not isinstance(name, str) or not name.isupper():
            raise TypeError("signal name must be uppercase string.")
        return getattr(_signal, name if name.startswith("SIG") else "SIG" + name)

    def reset(self, *signal_names: str) -> None:
        """Let them do what they do by default."""
        self.update((name, self.default) for name in signal_names)

    def ignore(self, *names: str) -> None:
        """Let them do nothing."""
        self.update((name, self.ignored) for name in names)

    def __getitem__(self, name: str) -> Any:
        return _signal.getsignal(self.signum(name))

    def __setitem__(self, name: str, handler: Any) -> None:
        try:
            _signal.signal(self.signum(name), handler)
        except (AttributeError, ValueError):
            pass  # no such signal here, or not in the main thread, where no handler can be set

    def update(self, _d_: Any = None, **sigmap: Any) -> None:
        """Set several handlers."""
        for name, handler in dict(_d_ or {}, **sigmap).items():
            self[name] = handler


signals = Signals()
get_signal = signals.signum
install_signal_handler = signals.__setitem__
reset_signal = signals.reset
ignore_signal = signals.ignore


def signal_name(signum: int) -> str:
    """The name of a signal without SIG."""
    return SIGMAP[signum][3:]


def set_pdeathsig(name: Any) -> None:
    """Have this signal sent to us when our parent dies (Linux only)."""
    if _platform.system() != "Linux":
        return
    import ctypes  # 15 ms, and only some processes ask

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(1, int(signals.signum(name)), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
