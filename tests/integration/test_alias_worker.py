"""A project that says `celery` from end to end, run by `celerylite --as-celery worker` in real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Site

PROJECT = """
import os
from celery import Celery, Task
from celery.exceptions import SoftTimeLimitExceeded
from celery.schedules import crontab
from celery.signals import worker_process_init
from celery.utils.log import get_task_logger

logger = get_task_logger(__name__)
app = Celery("shop", broker=os.environ["TEST_BROKER"], backend=os.environ["TEST_BROKER"])
app.conf.beat_schedule = {"nightly": {"task": "shop.whose", "schedule": crontab(hour=3, minute=0)}}

@worker_process_init.connect
def remember(**kwargs):
    app.started = True

class Counting(Task):
    calls = 0
    def __call__(self, *args, **kwargs):
        self.calls += 1
        return super().__call__(*args, **kwargs)

@app.task(base=Counting, bind=True, name="shop.whose")
def whose(self):
    import celery, celery.app.task, celerylite.app.task
    same = celery.app.task is celerylite.app.task
    return [celery.__name__, same, self.calls, app.started, SoftTimeLimitExceeded.__module__]

@app.task(name="shop.environment")
def environment():
    return os.environ.get("CELERYLITE_AS_CELERY")
"""


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_project_that_says_celery(site: Site, tmp_path: Path, pool: str) -> None:
    (tmp_path / "shop.py").write_text(PROJECT)
    command = [sys.executable, "-m", "celerylite", "--as-celery", "-A", "shop", "worker"]
    argv = [*command, "-P", pool, "-c", "1", "-l", "INFO"]
    worker = site.workers(None, argv=argv, env=site.environment(), cwd=tmp_path)
    client = site.client()
    seen = client.send_task("shop.whose").get(timeout=10)
    assert seen == ["celerylite", True, 1, True, "celerylite.exceptions"]
    # What the worker starts (a shell, a child of multiprocessing) can tell that the alias is wanted.
    assert client.send_task("shop.environment").get(timeout=10) == "1"
    assert worker.terminate() == 0


def test_the_environment_is_enough(site: Site, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(PROJECT)
    argv = [sys.executable, "-m", "celerylite", "-A", "shop", "worker", "-P", "solo", "-l", "INFO"]
    site.workers(None, argv=argv, env=site.environment(env={"CELERYLITE_AS_CELERY": "1"}), cwd=tmp_path)
    assert site.client().send_task("shop.whose").get(timeout=10)[:2] == ["celerylite", True]
