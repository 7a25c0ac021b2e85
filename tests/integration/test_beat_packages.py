"""Schedulers of other packages run unchanged on celerylite: django-celery-beat and celery-redbeat, under the alias."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_alias_packages import needs, run_project

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]

#: Stops beat once every task in `enough` was sent twice; `run(service)` gives how often each entry was.
RUN = """
import threading
from collections import Counter
from celery import Celery
from celery.beat import Service
from celery.schedules import crontab, schedule
from celery.signals import after_task_publish

url = sys.argv[1]
app = Celery("packages", broker=url, backend=url)
sent = Counter()

@app.task(name="t.a")
def a(x=0):
    return x

def run(service, *enough, on_first=None):
    def count(body, **kwargs):
        sent[body[0][0]] += 1
        if on_first is not None and sum(sent.values()) == 1:
            on_first()
        if all(sent[name] >= 2 for name in enough):
            service.stop()

    after_task_publish.connect(count, weak=False)
    late = threading.Timer(30, service.stop)
    late.daemon = True
    late.start()
    service.start()
    return dict(sent)
"""

DJANGO = """
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "beat.sqlite3"}},
    USE_TZ=True, TIME_ZONE="UTC", DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""


def test_django_celery_beat(redis_url: str, tmp_path: Path) -> None:
    """Entries of the code and of the database, one added while beat runs, last runs kept in the database."""
    needs("django_celery_beat", "--no-deps django-celery-beat django-timezone-field cron-descriptor python-crontab")
    seen = run_project(
        DJANGO
        + RUN
        + """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
app.conf.beat_schedule = {
    "code": {"task": "t.a", "schedule": 1.0, "args": ("code",)},
    "cron": {"task": "t.a", "schedule": crontab(minute="*/5", hour=4, day_of_month="1"), "args": ("cron",)},
}
every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")

def add(name, **fields):
    return PeriodicTask.objects.create(name=name, task="t.a", interval=every, args=json.dumps([name]), **fields)

add("database")
add("disabled", enabled=False)
service = Service(app, scheduler_cls="django", max_interval=1)
counts = run(service, "code", "database", "late", on_first=lambda: add("late"))
from celery.beat import Scheduler
print(json.dumps({
    "counts": sorted(counts),
    "ours": isinstance(service.scheduler, Scheduler) and type(service.scheduler).__module__,
    "kept": {name: PeriodicTask.objects.get(name=name).total_run_count == counts[name] for name in counts},
    "all": sorted(PeriodicTask.objects.values_list("name", flat=True)),
}))
""",
        redis_url,
        cwd=tmp_path,
    )
    assert seen == {
        "counts": ["code", "database", "late"],
        "ours": "django_celery_beat.schedulers",
        "kept": {"code": True, "database": True, "late": True},
        "all": ["celery.backend_cleanup", "code", "cron", "database", "disabled", "late"],
    }


def test_redbeat(redis_url: str, tmp_path: Path) -> None:
    """Entries of the code and of Redis, one added while beat runs; the lock is taken and given back."""
    needs("redbeat", "--no-deps celery-redbeat tenacity python-dateutil")
    seen = run_project(
        RUN
        + """
import redbeat
from redis import Redis
app.conf.update(redbeat_redis_url=url, redbeat_redis_options={}, redbeat_lock_timeout=30)
app.conf.beat_schedule = {"code": {"task": "t.a", "schedule": 1.0, "args": ("code",)}}
locked = []

def add():
    locked.append(Redis.from_url(url).exists("redbeat::lock"))
    redbeat.RedBeatSchedulerEntry("late", "t.a", schedule(run_every=1.0), args=["late"], app=app).save()

service = Service(app, scheduler_cls="redbeat.RedBeatScheduler", max_interval=1)
counts = run(service, "code", "late", on_first=add)
entry = redbeat.RedBeatSchedulerEntry.from_key("redbeat:code", app=app)
print(json.dumps({
    "counts": sorted(counts),
    "kept": entry.total_run_count == counts["code"],
    "locked": locked,
    "unlocked": not Redis.from_url(url).exists("redbeat::lock"),
}))
""",
        redis_url,
        cwd=tmp_path,
    )
    assert seen == {"counts": ["code", "late"], "kept": True, "locked": [1], "unlocked": True}


def test_sentry_watches_periodic_tasks(redis_url: str, tmp_path: Path) -> None:
    """Its monitors hang on Scheduler.apply_entry: one check-in for each tick, with the schedule."""
    needs("sentry_sdk", "sentry-sdk")
    seen = run_project(
        """
from datetime import timedelta
import sentry_sdk
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport

checkins = []

class Recorder(Transport):
    def capture_envelope(self, envelope):
        items = [item for item in envelope.items if item.headers["type"] == "check_in"]
        checkins.extend(json.loads(item.get_bytes()) for item in items)

sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1", transport=Recorder, default_integrations=False, auto_enabling_integrations=False,
    integrations=[CeleryIntegration(monitor_beat_tasks=True)],
)
"""
        + RUN
        + """
almost = app.now() - timedelta(seconds=59)
app.conf.beat_schedule = {
    "quick": {"task": "t.a", "schedule": 1.0, "args": ("quick",)},
    "minutely": {"task": "t.a", "schedule": schedule(60.0), "args": ("minutely",), "last_run_at": almost},
}
run(Service(app), "quick")
from redis import Redis
headers = [json.loads(raw)["headers"] for raw in Redis.from_url(url).lrange("celery", 0, -1)]
monitored = [found for found in headers if "sentry-monitor-slug" in found]
print(json.dumps({
    "monitored": [(found["argsrepr"], found["sentry-monitor-slug"]) for found in monitored],
    "checkins": [(found["monitor_slug"], found["status"], found["monitor_config"]["schedule"]) for found in checkins],
    "same": [f["check_in_id"] for f in checkins] == [f["sentry-monitor-check-in-id"] for f in monitored],
}))
""",
        redis_url,
        cwd=tmp_path,
    )
    assert seen == {
        "monitored": [["['minutely']", "minutely"]],
        "checkins": [["minutely", "in_progress", {"type": "interval", "value": 1, "unit": "minute"}]],
        "same": True,
    }
