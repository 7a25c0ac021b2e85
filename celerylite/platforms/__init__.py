"""What depends on the operating system: files and daemons; the rest is in modules beside."""

from __future__ import annotations

import errno
import os
import platform as _platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..local import try_import
from .pidfiles import (
    PIDFILE_FLAGS,
    PIDFILE_MODE,
    PIDLOCKED,
    LockFailed,
    PIDFile,
    Pidfile,
    _create_pidlock,
    create_pidlock,
)
from .sighandlers import (
    SIGMAP,
    SIGNAMES,
    Signals,
    get_signal,
    ignore_signal,
    install_signal_handler,
    reset_signal,
    set_pdeathsig,
    signal_name,
    signals,
)
from .users import (
    ROOT_DISALLOWED,
    ROOT_DISCOURAGED,
    check_privileges,
    initgroups,
    maybe_drop_privileges,
    parse_gid,
    parse_uid,
    setgid,
    setgroups,
    setuid,
)

resource: Any = try_import("resource")

__all__ = (
    "EX_OK",
    "EX_FAILURE",
    "EX_UNAVAILABLE",
    "EX_USAGE",
    "SYSTEM",
    "IS_macOS",
    "IS_WINDOWS",
    "SIGMAP",
    "pyimplementation",
    "LockFailed",
    "get_fdmax",
    "Pidfile",
    "create_pidlock",
    "close_open_fds",
    "DaemonContext",
    "detached",
    "parse_uid",
    "parse_gid",
    "setgroups",
    "initgroups",
    "setgid",
    "setuid",
    "maybe_drop_privileges",
    "signals",
    "signal_name",
    "set_process_title",
    "set_mp_process_title",
    "get_errno_name",
    "ignore_errno",
    "fd_by_path",
    "isatty",
    "EX_CANTCREAT",
    "PIDFILE_FLAGS",
    "PIDFILE_MODE",
    "PIDFile",
    "PIDLOCKED",
    "ROOT_DISALLOWED",
    "ROOT_DISCOURAGED",
    "SIGNAMES",
    "Signals",
    "check_privileges",
    "get_signal",
    "ignore_signal",
    "install_signal_handler",
    "reset_signal",
    "set_pdeathsig",
    "strargv",
)

# Exit codes, as sysexits.h has them.
EX_OK = getattr(os, "EX_OK", 0)
EX_FAILURE = 1
EX_UNAVAILABLE = getattr(os, "EX_UNAVAILABLE", 69)
EX_USAGE = getattr(os, "EX_USAGE", 64)
EX_CANTCREAT = getattr(os, "EX_CANTCREAT", 73)

SYSTEM = _platform.system()
IS_macOS = SYSTEM == "Darwin"  # noqa: N816 (Celery's name)
IS_WINDOWS = SYSTEM == "Windows"

DAEMON_WORKDIR = "/"


def isatty(fh: Any) -> bool:
    """Whether a file is a terminal."""
    try:
        return bool(fh.isatty())
    except (AttributeError, ValueError):
        return False  # not a file, or a closed one


def pyimplementation() -> str:
    """The name of this Python."""
    return _platform.python_implementation()


# -- file descriptors


def fileno(obj: Any) -> int | None:
    """The number of a file, or a number as it is; None where there is none."""
    if isinstance(obj, int):
        return obj
    try:
        return obj.fileno()
    except (AttributeError, ValueError, OSError):
        return None


def get_fdmax(default: int | None = None) -> int | None:
    """How many files this process may have open; `default` where there is no limit."""
    try:
        return os.sysconf("SC_OPEN_MAX")
    except (AttributeError, ValueError, OSError):
        pass  # no such figure on this system: ask for the limit
    if resource is None:
        return default
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return default if limit == resource.RLIM_INFINITY else limit


def close_open_fds(keep: Iterable[Any] | None = None) -> None:
    """Close all files but those in `keep`."""
    kept = sorted({number for one in keep or () if (number := fileno(one)) is not None})
    start = 0
    for number in [*kept, get_fdmax(2048) or 2048]:
        if start < number:  # closerange(0, 0) closes everything there is
            os.closerange(start, number)
        start = number + 1


def fd_by_path(paths: Iterable[str]) -> list[int]:
    """The open files of this process that are one of these paths."""
    wanted = {(stat.st_dev, stat.st_ino) for path in paths if (stat := _stat(path)) is not None}
    found = []
    for number in _open_fds():
        stat = _stat(number)
        if stat is not None and (stat.st_dev, stat.st_ino) in wanted:
            found.append(number)
    return found


def _stat(file: Any) -> os.stat_result | None:
    try:
        return os.stat(file)
    except OSError:
        return None


def _open_fds() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return sorted(int(name) for name in os.listdir(folder) if name.isdigit())
        except OSError:
            continue  # not on this system
    return list(range(get_fdmax(2048) or 2048))


# -- daemons


class DaemonContext:
    """Within it, this process is a daemon: no terminal, no parent, its own session and directory.

    `fake` leaves out the forks, for tests and debugging.
    """

    _is_open = False

    def __init__(
        self,
        pidfile: str | None = None,
        workdir: str | None = None,
        umask: Any = None,
        fake: bool = False,
        after_chdir: Callable[[], Any] | None = None,
        after_forkers: bool = True,
        **kwargs: Any,
    ) -> None:
        if isinstance(umask, str):
            umask = int(umask, 8 if umask.startswith("0") else 10)
        self.workdir = workdir or DAEMON_WORKDIR
        self.umask = umask
        self.fake = fake
        self.after_chdir = after_chdir
        self.after_forkers = after_forkers
        self.stdfds = (sys.stdin, sys.stdout, sys.stderr)

    def redirect_to_null(self, fd: int | None) -> None:
        """Let a file lead nowhere."""
        if fd is not None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, fd)
            os.close(null)

    def open(self) -> None:
        """Become a daemon."""
        if self._is_open:
            return
        if not self.fake:
            self._detach()
        os.chdir(self.workdir)
        if self.umask is not None:
            os.umask(self.umask)
        if self.after_chdir:
            self.after_chdir()
        if not self.fake:
            # Files of loggers and sources of random numbers stay open: those who hold them would not know.
            from ..utils.log import iter_open_logger_fds

            keep = [*self.stdfds, *fd_by_path(["/dev/urandom"]), *iter_open_logger_fds()]
            close_open_fds(keep)
            for stream in self.stdfds:
                self.redirect_to_null(fileno(stream))
        self._is_open = True

    def __enter__(self) -> DaemonContext:
        self.open()
        return self

    def close(self, *args: Any) -> None:
        """Say that it is over; what was let go cannot be had back."""
        self._is_open = False

    __exit__ = close

    def _detach(self) -> None:
        # Twice: the first child leads a new session, and its child can never get a terminal again.
        if os.fork() == 0:
            os.setsid()
            if os.fork() > 0:
                os._exit(0)
        else:
            os._exit(0)


def detached(
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: Any = None,
    gid: Any = None,
    umask: Any = 0,
    workdir: str | None = None,
    fake: bool = False,
    **opts: Any,
) -> DaemonContext:
    """A `DaemonContext` as another user, for which the log and pid files were found to be writable first."""
    if resource is None:
        raise RuntimeError("This platform does not support detach.")
    workdir = os.getcwd() if workdir is None else workdir
    signals.reset("SIGCLD")  # the default: the shell that we leave behind must not hear of us
    maybe_drop_privileges(uid=uid, gid=gid)

    def try_files() -> None:
        # While there is still a terminal to complain to.
        if logfile:
            open(logfile, "a").close()
        if pidfile:
            _create_pidlock(pidfile).release()

    return DaemonContext(umask=umask, workdir=workdir, fake=fake, after_chdir=try_files)


# -- process titles


def strargv(argv: list[str]) -> str:
    """The arguments of a command as text, without the program."""
    arguments = argv[1:]
    return f"({' '.join(arguments)})" if arguments else ""


def set_process_title(progname: str, info: str | None = None) -> str:
    """Set what `ps` shows, where setproctitle is installed; the title."""
    title = f"[{progname}]"
    title = f"{title} {info}" if info else title
    setter = _setproctitle()
    if setter is not None:
        setter.setproctitle(title)
    return title


def _setproctitle() -> ModuleType | None:
    # Looked for when needed: importing it takes time, and only workers have titles.
    return try_import("setproctitle")


def set_mp_process_title(progname: str, info: str | None = None, hostname: str | None = None) -> str:
    """The same with the names of the worker and of the process in it."""
    from ..utils.log import current_process  # which imports multiprocessing

    if hostname:
        progname = f"{progname}: {hostname}"
    name = current_process().name.split("-")[-1]
    return set_process_title(f"{progname}:{name}", info=info)


# -- errors


def get_errno_name(n: Any) -> Any:
    """The number of an error, given by name or number."""
    return getattr(errno, n) if isinstance(n, str) else n


@contextmanager
def ignore_errno(*errnos: Any, **kwargs: Any) -> Iterator[None]:
    """Within it, these errors of the system (by name or number) are no errors."""
    types = kwargs.get("types") or (Exception,)
    numbers = [get_errno_name(one) for one in errnos]
    try:
        yield
    except types as exc:
        if getattr(exc, "errno", None) not in numbers:
            raise
