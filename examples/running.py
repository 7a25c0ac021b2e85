"""What the examples need to run by themselves: a Redis and a worker that live as long as a `with` block."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celerylite import Celery
from celerylite.utils.redis_server import PrivateServer
from celerylite.utils.running_worker import running_worker

HERE = Path(__file__).resolve().parent


@contextmanager
def redis() -> Iterator[None]:
    """A private Redis as broker and result store, unless the environment names one."""
    if "CELERY_BROKER_URL" in os.environ:
        yield
        return
    with PrivateServer() as server:
        os.environ["CELERY_BROKER_URL"] = os.environ["CELERY_RESULT_BACKEND"] = server.url()
        try:
            yield
        finally:
            del os.environ["CELERY_BROKER_URL"], os.environ["CELERY_RESULT_BACKEND"]


@contextmanager
def worker(app: Celery, *options: str, show_log: bool = False) -> Iterator[None]:
    """A worker for the app of the example that is running, ready when the block begins."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "worker.log"
        if "-B" in options:  # beat's file, which would stay in this directory
            options = (*options, "-s", str(Path(directory) / "schedule"))
        with running_worker(str(app.main), *options, log=log, cwd=HERE):
            yield
        if show_log:
            print(log.read_text())
