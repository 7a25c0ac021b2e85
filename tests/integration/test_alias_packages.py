"""Packages from PyPI that say `celery` run unchanged on celerylite: each in a fresh process, under the alias.

The worker runs in a thread on an in-memory broker, so no server and no Celery is needed.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fresh import run_fresh

pytestmark = pytest.mark.ecosystem

#: Before the package is imported: the alias. After it: an app, two tasks and a worker.
PREAMBLE = """
from celerylite.alias import install_as_celery
install_as_celery()
import json, sys
from celery.contrib.testing.app import TestApp
"""

#: The worker is imported after the package is set up, as in a real project.
TASKS = """
from celery.contrib.testing.worker import start_worker

@app.task(name="demo.add")
def add(x, y):
    return x + y

@app.task(name="demo.fail")
def fail():
    raise KeyError("no such thing")
"""


def needs(module: str, package: str) -> None:
    """Skip where the package is not installed."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{package} is not installed: pip install {package}")


def run_project(code: str, *args: str, cwd: Path | None = None) -> Any:
    """Run a small project under the alias; it prints one JSON value last."""
    return json.loads(run_fresh(PREAMBLE + code, *args, cwd=cwd).splitlines()[-1])


def test_sentry_reports_failures_and_traces_tasks() -> None:
    needs("sentry_sdk", "sentry-sdk")
    seen = run_project(
        """
import sentry_sdk
from sentry_sdk.integrations.celery import CeleryIntegration

events, transactions = [], []
sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1",
    integrations=[CeleryIntegration()],
    default_integrations=False,
    auto_enabling_integrations=False,
    traces_sample_rate=1.0,
    before_send=lambda event, hint: events.append(event),
    before_send_transaction=lambda event, hint: transactions.append(event),
)
app = TestApp(set_as_current=True)
"""
        + TASKS
        + """
with start_worker(app, perform_ping_check=False):
    with sentry_sdk.start_transaction(name="request") as request:
        answer = add.delay(2, 3).get(timeout=10)
        failed = fail.delay()
        failed.get(timeout=10, propagate=False)
    trace_id = request.trace_id
(event,) = events
tasks = {t["transaction"]: t["contexts"]["trace"] for t in transactions}
print(json.dumps({
    "answer": answer,
    "error": event["exception"]["values"][-1]["type"],
    "mechanism": event["exception"]["values"][-1]["mechanism"]["type"],
    "task_in_event": event["extra"]["celery-job"]["task_name"],
    "task_id_in_event": event["tags"]["celery_task_id"] == failed.id,
    "operations": {name: trace["op"] for name, trace in tasks.items() if name != "request"},
    "one_trace": all(trace["trace_id"] == trace_id for trace in tasks.values()),
    "status": tasks["demo.fail"]["status"],
    "sent": sorted({s["description"] for t in transactions if t["transaction"] == "request"
                    for s in t["spans"] if s["op"] == "queue.submit.celery"}),
}))
"""
    )
    assert seen == {
        "answer": 5,
        "error": "KeyError",
        "mechanism": "celery",
        "task_in_event": "demo.fail",
        "task_id_in_event": True,
        "operations": {"demo.add": "queue.task.celery", "demo.fail": "queue.task.celery"},
        "one_trace": True,
        "status": "internal_error",
        "sent": ["demo.add", "demo.fail"],
    }


def test_opentelemetry_joins_sender_and_worker_in_one_trace() -> None:
    needs("opentelemetry.instrumentation.celery", "opentelemetry-instrumentation-celery")
    needs("opentelemetry.sdk", "opentelemetry-sdk")
    seen = run_project(
        """
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
instrumentor = CeleryInstrumentor()
instrumentor.instrument(tracer_provider=provider)
app = TestApp(set_as_current=True)
"""
        + TASKS
        + """
with start_worker(app, perform_ping_check=False):
    added = add.delay(2, 3)
    answer = added.get(timeout=10)
    fail.delay().get(timeout=10, propagate=False)
spans = {span.name: span for span in exporter.get_finished_spans()}
send, run = spans["apply_async/demo.add"], spans["run/demo.add"]
failed = spans["run/demo.fail"]
print(json.dumps({
    "instrumented": instrumentor.is_instrumented_by_opentelemetry,
    "answer": answer,
    "names": sorted(spans),
    "kinds": [send.kind.name, run.kind.name],
    "one_trace": send.context.trace_id == run.context.trace_id,
    "parent": run.parent.span_id == send.context.span_id,
    "state": run.attributes["celery.state"],
    "task": run.attributes["celery.task_name"],
    "id": run.attributes["messaging.message.id"] == added.id,
    "failure": [failed.status.status_code.name, failed.events[0].attributes["exception.type"]],
}))
"""
    )
    assert seen == {
        "instrumented": True,
        "answer": 5,
        "names": ["apply_async/demo.add", "apply_async/demo.fail", "run/demo.add", "run/demo.fail"],
        "kinds": ["PRODUCER", "CONSUMER"],
        "one_trace": True,
        "parent": True,
        "state": "SUCCESS",
        "task": "demo.add",
        "id": True,
        "failure": ["ERROR", "KeyError"],
    }


@pytest.fixture
def django_project(tmp_path: Path) -> Path:
    """A Django project with a SQLite file, settled on the folder it lives in."""
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
    (tmp_path / "project_settings.py").write_text(
        f"""
SECRET_KEY = "only for a test"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_results"]
DATABASES = {{"default": {database!r}}}
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
CELERY_BROKER_URL = "memory://"
CELERY_RESULT_EXTENDED = True
"""
    )
    return tmp_path


DJANGO_APP = """
import os
sys.path.insert(0, os.getcwd())
os.environ["DJANGO_SETTINGS_MODULE"] = "project_settings"
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from celery import Celery
app = Celery("project", backend=sys.argv[1])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
"""


def test_django_celery_results_stores_results_in_the_database(django_project: Path) -> None:
    needs("django_celery_results", "django-celery-results")
    seen = run_project(
        DJANGO_APP
        + TASKS
        + """
from celery.result import AsyncResult
from django_celery_results.backends.database import DatabaseBackend
from django_celery_results.models import TaskResult
with start_worker(app, perform_ping_check=False):
    added, failed = add.delay(2, y=3), fail.delay()
    answer = added.get(timeout=10)
    error = failed.get(timeout=10, propagate=False)
row = TaskResult.objects.get(task_id=added.id)
lost = TaskResult.objects.get(task_id=failed.id)
again = AsyncResult(added.id, app=app)
print(json.dumps({
    "backend": isinstance(app.backend, DatabaseBackend),
    "answer": answer,
    "row": [row.status, row.result, row.task_name, row.task_args, row.task_kwargs],
    "failure": [lost.status, json.loads(lost.result)["exc_type"], "KeyError" in lost.traceback, repr(error)],
    "read_back": [again.state, again.result],
    "forgotten": [again.forget(), TaskResult.objects.filter(task_id=added.id).count()],
    "pending": AsyncResult("never-sent", app=app).state,
}))
""",
        "django-db",
        cwd=django_project,
    )
    assert seen == {
        "backend": True,
        "answer": 5,
        "row": ["SUCCESS", "5", "demo.add", '"(2,)"', "\"{'y': 3}\""],
        "failure": ["FAILURE", "KeyError", True, "KeyError('no such thing')"],
        "read_back": ["SUCCESS", 5],
        "forgotten": [None, 0],
        "pending": "PENDING",
    }


def test_django_celery_results_stores_results_in_the_cache(django_project: Path) -> None:
    needs("django_celery_results", "django-celery-results")
    seen = run_project(
        DJANGO_APP
        + TASKS
        + """
with start_worker(app, perform_ping_check=False):
    answer = add.delay(2, 3).get(timeout=10)
    error = fail.delay().get(timeout=10, propagate=False)
print(json.dumps([type(app.backend).__name__, answer, repr(error)]))
""",
        "django-cache",
        cwd=django_project,
    )
    assert seen == ["CacheBackend", 5, "KeyError('no such thing')"]


def test_django_structlog_logs_in_the_worker_by_its_step(django_project: Path) -> None:
    needs("django_structlog", "django-structlog")
    settings = django_project / "project_settings.py"
    settings.write_text(settings.read_text().replace('"django_celery_results"', '"django_structlog"'))
    seen = run_project(
        DJANGO_APP
        + TASKS
        + """
import structlog
from django_structlog.celery.steps import DjangoStructLogInitStep
events = []

def keep(logger, method, event):
    events.append([event.get("event"), event.get("task"), bool(event.get("task_id")), event.get("error")])
    raise structlog.DropEvent

structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
app.steps["worker"].add(DjangoStructLogInitStep)
with start_worker(app, perform_ping_check=False):
    add.delay(2, y=3).get(timeout=10)
    fail.delay().get(timeout=10, propagate=False)
print(json.dumps([event for event in events if event[0] != "task_enqueued"]))
""",
        "cache+memory://",
        cwd=django_project,
    )
    assert [event[0] for event in seen] == ["task_started", "task_succeeded", "task_started", "task_failed"]
    assert seen[0] == ["task_started", "demo.add", True, None]
    assert "no such thing" in seen[3][3]


def test_celery_once_refuses_a_second_call(tmp_path: Path) -> None:
    needs("celery_once", "celery-once")
    seen = run_project(
        """
from celery_once import AlreadyQueued, QueueOnce
app = TestApp(set_as_current=True)
settings = {"location": sys.argv[1], "default_timeout": 60}
app.conf.ONCE = {"backend": "celery_once.backends.File", "settings": settings}

@app.task(base=QueueOnce, once={"keys": ["x"]})
def slowly(x):
    return x

from celery.contrib.testing.worker import start_worker
first = slowly.delay(1)
try:
    slowly.delay(1)
    second = "sent"
except AlreadyQueued:
    second = "refused"
graceful = slowly.apply_async((1,), once={"graceful": True})
with start_worker(app, perform_ping_check=False):
    answer = first.get(timeout=10)
    other = slowly.delay(2).get(timeout=10)
third = slowly.delay(1)
print(json.dumps([second, graceful.state, answer, other, third.id != first.id]))
""",
        str(tmp_path),
    )
    assert seen == ["refused", "REJECTED", 1, 2, True]


def test_celery_singleton_gives_the_call_that_waits(new_redis_url: Callable[[], str]) -> None:
    needs("celery_singleton", "celery-singleton")
    seen = run_project(
        """
from celery_singleton import Singleton
app = TestApp(set_as_current=True, config={"singleton_backend_url": sys.argv[1]})

@app.task(base=Singleton)
def only_one(x):
    return x

from celery.contrib.testing.worker import start_worker
first, second, other = only_one.delay(1), only_one.delay(1), only_one.delay(2)
with start_worker(app, perform_ping_check=False):
    answer = first.get(timeout=10)
    other.get(timeout=10)
third = only_one.delay(1)
print(json.dumps([first.id == second.id, other.id == first.id, answer, third.id == first.id]))
""",
        new_redis_url(),
    )
    assert seen == [True, False, 1, False]


def test_elastic_apm_records_transactions_and_errors() -> None:
    needs("elasticapm", "elastic-apm")
    seen = run_project(
        """
import elasticapm
from elasticapm.contrib.celery import register_exception_tracking, register_instrumentation

recorded = []
class Client(elasticapm.Client):
    def queue(self, event_type, data, flush=False):
        recorded.append((event_type, data))

client = Client(service_name="demo", metrics_interval="0ms", central_config=False)
register_exception_tracking(client)
register_instrumentation(client)
app = TestApp(set_as_current=True)
"""
        + TASKS
        + """
with start_worker(app, perform_ping_check=False):
    client.begin_transaction("request")
    elasticapm.set_transaction_name("sender")
    trace = elasticapm.get_trace_id()
    add.delay(2, 3).get(timeout=10)
    fail.delay().get(timeout=10, propagate=False)
    client.end_transaction("sender", "OK")
done = {data["name"]: data for kind, data in recorded if kind == "transaction"}
errors = [data for kind, data in recorded if kind == "error"]
print(json.dumps({
    "outcomes": {name: data["outcome"] for name, data in done.items() if name != "sender"},
    "one_trace": all(data["trace_id"] == trace for data in done.values()),
    "errors": [error["exception"]["type"] for error in errors],
}))
client.close()
"""
    )
    outcomes = {name.rpartition(".")[2]: outcome for name, outcome in seen["outcomes"].items()}
    assert outcomes == {"add": "success", "fail": "failure"}
    assert seen["one_trace"] and seen["errors"] == ["KeyError"]


def test_new_relic_wraps_what_it_waits_for() -> None:
    needs("newrelic", "newrelic")
    code = """
import newrelic.config
newrelic.config.initialize()
import newrelic.api.import_hook as import_hook
assert any(isinstance(finder, import_hook.ImportHookFinder) for finder in __import__("sys").meta_path)
"""
    out = run_fresh(
        code
        + PREAMBLE
        + """
from celery.app import trace
from celery.local import Proxy
from celery.loaders.base import BaseLoader
from billiard.pool import Worker
wrapped = [trace.build_tracer, Proxy.__call__, Worker._do_exit]
print(json.dumps([type(function).__module__.startswith("newrelic") for function in wrapped]))
"""
    )
    assert json.loads(out.splitlines()[-1]) == [True, True, True]


def test_honeybadger_reports_the_task_that_failed() -> None:
    needs("honeybadger", "honeybadger")
    seen = run_project(
        """
from honeybadger import honeybadger
from honeybadger.contrib import CeleryHoneybadger

notices = []
app = TestApp(set_as_current=True)
keep = lambda notice: notices.append(notice.payload)
honeybadger.configure(api_key="key", force_report_data=True, before_notify=keep)
CeleryHoneybadger(app, report_exceptions=True)
"""
        + TASKS
        + """
with start_worker(app, perform_ping_check=False):
    failed = fail.delay()
    failed.get(timeout=10, propagate=False)
(notice,) = notices
request = notice["request"]
print(json.dumps([notice["error"]["class"], request["action"], request["context"]["task_id"] == failed.id]))
"""
    )
    assert seen == ["KeyError", "demo.fail", True]
