"""A project's tests, written for Celery's pytest plugin, pass on celerylite, by import and by alias."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fresh import ROOT

CONFTEST = """
import pytest
pytest_plugins = ("celery.contrib.pytest",)

@pytest.fixture(scope="session")
def celery_includes():
    return ["shop.tasks"]

@pytest.fixture(scope="session")
def celery_config():
    return {"task_default_queue": "shop", "task_soft_time_limit": 30}

@pytest.fixture(scope="session")
def celery_parameters():
    return {"strict_typing": False}

@pytest.fixture(scope="session")
def celery_worker_parameters():
    return {"shutdown_timeout": 20.0, "queues": ("shop", "other")}

@pytest.fixture(scope="session")
def celery_class_tasks():
    from shop.tasks import Greet
    return [Greet]
"""

TASKS = """
from celery import Task, shared_task

@shared_task
def add(x, y):
    return x + y

@shared_task(bind=True, max_retries=2, default_retry_delay=0)
def shaky(self):
    if self.request.retries < 2:
        raise self.retry()
    return self.request.retries

class Greet(Task):
    name = "shop.greet"
    def run(self, who):
        return f"hello {who}"
"""

TESTS = """
import pytest
from celery import current_app
from shop import tasks

def test_the_app_is_in_memory_and_current(celery_app):
    assert celery_app.main == "celery.tests"
    assert celery_app.conf.broker_url == "memory://"
    assert celery_app.conf.task_default_queue == "shop"
    assert celery_app.strict_typing is False
    assert current_app._get_current_object() is celery_app

@pytest.mark.celery(task_default_queue="marked")
def test_the_mark_overrides_settings(celery_app):
    assert celery_app.conf.task_default_queue == "marked"
    assert celery_app.conf.task_soft_time_limit == 30

@pytest.mark.celery(result_backend="cache+memory://")
class TestMarkedClass:
    def test_first(self, celery_app):
        assert celery_app.conf.result_backend == "cache+memory://"

def test_a_worker_runs_shared_tasks(celery_app, celery_worker):
    assert tasks.add.delay(4, 4).get(timeout=10) == 8
    assert tasks.shaky.delay().get(timeout=10) == 2

def test_a_task_defined_after_the_worker_has_started(celery_app, celery_worker):
    @celery_app.task
    def mul(x, y):
        return x * y

    celery_worker.reload()
    assert mul.delay(4, 4).get(timeout=10) == 16

def test_other_queues_of_the_worker(celery_app, celery_worker):
    @celery_app.task(name="again")
    def again():
        return "again"
    celery_worker.reload()
    assert again.apply_async(queue="other").get(timeout=10) == "again"

def test_a_failing_task(celery_app, celery_worker):
    @celery_app.task(name="broken")
    def broken():
        raise KeyError("gone")
    celery_worker.reload()
    result = broken.delay()
    with pytest.raises(KeyError):
        result.get(timeout=10)
    assert result.failed() and "KeyError" in result.traceback
"""

#: Celery forgets shared tasks of modules that an earlier test imported, and other threads do not see its app.
OUR_TESTS = """
import threading

def test_other_threads_see_the_app(celery_app):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(current_app._get_current_object()))
    thread.start()
    thread.join()
    assert seen == [celery_app]

def test_shared_tasks_are_still_there_in_a_later_test(celery_app, celery_worker):
    assert tasks.add.delay(1, 1).get(timeout=10) == 2
"""

SESSION_TESTS = """
from shop.tasks import Greet, add

def test_first(celery_session_app, celery_session_worker):
    assert celery_session_app.tasks["shop.greet"].delay("you").get(timeout=10) == "hello you"

def test_second(celery_session_app, celery_session_worker):
    assert add.delay(1, 2).get(timeout=10) == 3
"""

TRAP_TESTS = """
import pytest
from celery import current_app

@pytest.fixture(scope="session")
def use_celery_app_trap():
    return True

@pytest.fixture(scope="session")
def celery_includes():
    return []

def test_the_current_app_is_a_trap(celery_app):
    with pytest.raises(RuntimeError):
        current_app.conf

@pytest.mark.usefixtures("depends_on_current_app")
def test_that_needs_it(celery_app):
    assert current_app.main == "celery.tests"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project whose tests say `celery`."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "tasks.py").write_text(TASKS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    return tmp_path


def run_pytest(project: Path, *args: str, **environment: str) -> str:
    """Run the project's tests in a process of their own; give what pytest said, which must be a success."""
    path = os.pathsep.join([str(project), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args],
        cwd=project,
        # Plugins of other packages that happen to be installed are not what is tested.
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def say_celerylite(project: Path) -> None:
    """The whole migration: change the imports."""
    for file in project.rglob("*.py"):
        text = file.read_text().replace("from celery", "from celerylite")
        file.write_text(text.replace('"celery.contrib', '"celerylite.contrib'))


#: Loads the plugin before the project's conftest, as the entry point of an installed celerylite does.
LOADED = ("-p", "celerylite.contrib.pytest")


@pytest.mark.parametrize("tests", [TESTS, TESTS + OUR_TESTS, SESSION_TESTS, TRAP_TESTS])
def test_a_project_after_the_change_of_imports(project: Path, tests: str) -> None:
    (project / "test_shop.py").write_text(tests)
    say_celerylite(project)
    assert " passed" in run_pytest(project)


def test_the_plugin_named_twice_is_no_clash(project: Path) -> None:
    (project / "test_shop.py").write_text(TESTS)
    say_celerylite(project)
    assert " passed" in run_pytest(project, *LOADED, "-k", "in_memory")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_an_unchanged_project_under_the_alias(project: Path, how: str) -> None:
    (project / "test_shop.py").write_text(TESTS)
    option = ["--as-celery"] if how == "option" else []
    environment = {"CELERYLITE_AS_CELERY": "1"} if how == "environment" else {}
    chosen = [] if how == "option" else ["-k", "in_memory or shared"]
    assert " passed" in run_pytest(project, *LOADED, *option, *chosen, **environment)


def test_the_alias_installed_by_the_conftest_itself(project: Path) -> None:
    (project / "test_shop.py").write_text(TESTS)
    call = "from celerylite.alias import install_as_celery\ninstall_as_celery()\n"
    (project / "conftest.py").write_text(call + CONFTEST)
    assert " passed" in run_pytest(project, *LOADED, "-k", "in_memory")
    assert " passed" in run_pytest(project, "-k", "in_memory")


def test_the_mark_is_known_and_loading_the_plugin_is_light(project: Path) -> None:
    (project / "conftest.py").write_text("")
    (project / "test_shop.py").write_text(
        """
import sys

def test_light():
    assert not {"kombu", "redis", "celerylite.app.base", "celerylite.worker"} & set(sys.modules)
"""
    )
    run_pytest(project, *LOADED)
    assert "celery(**overrides)" in run_pytest(project, *LOADED, "--markers")
