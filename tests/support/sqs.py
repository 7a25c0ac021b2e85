"""moto's SQS, a server in a process of its own on a free port of this machine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from .lifeline import die_with_parent
from .redis_server import free_port
from .waiting import wait_for

NEEDED = ("moto", "boto3", "pycurl")


class SqsServer:
    """A server without any queue."""

    def __init__(self) -> None:
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            reason = f"needs {', '.join(missing)}: pip install 'moto[sqs,server]' 'kombu[sqs]'"
            if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL of a broker."""
        return f"sqs://key:secret@127.0.0.1:{self.port}"

    def start(self) -> SqsServer:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent
        )
        wait_for(self._answers, 60, "moto's server to answer")
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/moto-api/data.json", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def close(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
