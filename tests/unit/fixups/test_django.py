"""An app in a Django project, in an interpreter of its own: Django is set up once in a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fresh import run_fresh

pytest.importorskip("django")

SETTINGS = """
SECRET_KEY = "x"
USE_TZ = True
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CELERY_TASK_DEFAULT_QUEUE = "django-queue"
"""
TASKS = """
from celerylite import shared_task

@shared_task
def pack(number):
    return number
"""
PROGRAM = """
import sys
sys.path.insert(0, ".")
from celerylite import Celery, signals

app = Celery("proj", broker="redis://nowhere")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.loader.import_default_modules()
assert app.conf.task_default_queue == "django-queue"
assert "shop.tasks.pack" in app.tasks

from django.db import connection, transaction
from tests.support.recording import RecordingBroker
from celerylite.contrib.django.task import DjangoTask
from shop.tasks import pack

broker = app._broker = RecordingBroker()
assert isinstance(pack, DjangoTask)
with transaction.atomic():
    pack.delay_on_commit(1)
    pack.apply_async_on_commit(args=(2,), queue="q")
    assert not broker.sent
assert [message.routing_key for message in broker.sent] == ["django-queue", "q"]
try:
    with transaction.atomic():
        pack.delay_on_commit(3)
        raise KeyError
except KeyError:
    pass
assert len(broker.sent) == 2

signals.worker_init.send(sender=None)
assert connection.connection is not None
signals.worker_process_init.send(sender=None)
signals.task_prerun.send(sender=pack)
signals.task_postrun.send(sender=pack)
assert app.loader.now().tzinfo is not None
print("fine")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dj_settings.py").write_text(SETTINGS)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "tasks.py").write_text(TASKS)
    return tmp_path


def test_a_django_project(project: Path) -> None:
    assert run_fresh(PROGRAM, cwd=project, DJANGO_SETTINGS_MODULE="dj_settings") == "fine"


def test_without_django_settings_nothing_is_done(project: Path) -> None:
    program = "from celerylite import Celery; app = Celery('x'); print(app.task_cls, app._fixups)"
    assert run_fresh(program, cwd=project, DJANGO_SETTINGS_MODULE="") == "celerylite.app.task:Task [None]"
