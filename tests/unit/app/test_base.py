"""The app: configuration, signals, being current, pickling, finding tasks."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from celerylite import Celery, _state, current_app, signals
from celerylite.app.utils import find_app
from celerylite.exceptions import ImproperlyConfigured


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes importable modules out of settings."""

    def make(name: str, **attributes: Any) -> Any:
        made = types.ModuleType(name)
        vars(made).update(attributes)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    return make


# -- configuration


def test_the_constructor_sets_settings() -> None:
    app = Celery("x", broker="redis://b", backend="redis://r", include=["m"], task_serializer="yaml",
                 changes={"timezone": "Asia/Tokyo"}, set_as_current=False)  # fmt: skip
    assert (app.conf.broker_url, app.conf.result_backend, app.conf.include) == (
        "redis://b",
        "redis://r",
        ["m"],
    )
    assert (app.conf.task_serializer, app.conf.timezone) == ("yaml", "Asia/Tokyo")
    assert str(app.timezone) == "Asia/Tokyo"
    assert app.now().utcoffset().total_seconds() == 9 * 3600


def test_config_is_read_when_it_is_needed(app: Celery, module: Any) -> None:
    app.config_from_object("late_config")
    module("late_config", task_default_queue="q")
    assert app.conf.task_default_queue == "q"


def test_config_from_objects(app: Celery, module: Any) -> None:
    class Config:
        task_default_queue = "from.class"

    app.config_from_object(Config)
    assert app.conf.task_default_queue == "from.class"
    module("some_config", Nested=Config)
    app.config_from_object("some_config:Nested", force=True)
    assert app.conf.task_default_queue == "from.class"
    app.config_from_object({"task_default_queue": "from.dict"})
    assert app.conf.task_default_queue == "from.dict"


def test_config_with_a_namespace(app: Celery, module: Any) -> None:
    module(
        "dj",
        CELERY_TASK_DEFAULT_QUEUE="q",
        CELERY_TIMEZONE="Asia/Tokyo",
        SECRET_KEY="x",
        TASK_SERIALIZER="no",
    )
    app.config_from_object("dj", namespace="CELERY")
    assert (app.conf.task_default_queue, app.conf.timezone) == ("q", "Asia/Tokyo")
    assert app.conf.task_serializer == "json"


def test_config_that_is_not_there(app: Celery) -> None:
    app.config_from_object("no.such.config")
    with pytest.raises(ImportError):
        app.conf.task_serializer  # noqa: B018
    app.config_from_object("no.such.config", silent=True)
    assert app.conf.task_serializer == "json"


def test_config_from_envvar(app: Celery, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="MY_CONFIG"):
        app.config_from_envvar("MY_CONFIG")
    assert app.config_from_envvar("MY_CONFIG", silent=True) is False
    module("env_config", task_default_queue="q")
    monkeypatch.setenv("MY_CONFIG", "env_config")
    app.config_from_envvar("MY_CONFIG")
    assert app.conf.task_default_queue == "q"


def test_config_from_the_command_line(app: Celery) -> None:
    app.config_from_cmdline(["worker.prefetch_multiplier=3", "task.acks_late=true", "broker_url=(string)x"])
    assert (int(app.conf.worker_prefetch_multiplier), app.conf.task_acks_late, app.conf.broker_url) == (
        3,
        True,
        "x",
    )


def test_defaults_rank_below_everything(app: Celery) -> None:
    app.add_defaults(lambda: {"task_default_queue": "low", "task_serializer": "yaml"})
    app.config_from_object({"task_default_queue": "high"})
    assert (app.conf.task_default_queue, app.conf.task_serializer) == ("high", "yaml")


def test_signals_of_configuration(app: Celery) -> None:
    seen = []
    app.on_configure.connect(lambda sender, **kw: seen.append("configure"), weak=False)
    app.on_after_configure.connect(
        lambda sender, source, **kw: seen.append(source.task_serializer), weak=False
    )
    assert seen == []
    app.conf.task_serializer  # noqa: B018  the first look at a setting
    app.conf.task_default_queue  # noqa: B018
    assert seen == ["configure", "json"]


def test_periodic_tasks_wait_for_the_configuration(app: Celery) -> None:
    @app.on_after_configure.connect
    def setup(sender: Any, **kwargs: Any) -> None:
        sender.add_periodic_task(10.0, job.s(1), name="often", expires=5)

    @app.task(name="job")
    def job(x: int) -> None: ...

    app.add_periodic_task(30, job.s(2))
    assert app.conf.beat_schedule["often"] == {
        "schedule": 10.0, "task": "job", "args": (1,), "kwargs": {}, "options": {"expires": 5},
    }  # fmt: skip
    assert app.conf.beat_schedule["job(2)"]["schedule"] == 30


# -- being complete, being current


def test_finalize(app: Celery) -> None:
    seen = []
    app.on_after_finalize.connect(lambda sender, **kw: seen.append(sender), weak=False)
    assert "celery.backend_cleanup" in app.tasks
    app.finalize()
    assert seen == [app]


def test_without_autofinalize() -> None:
    app = Celery("x", autofinalize=False, set_as_current=False)
    with pytest.raises(RuntimeError, match="finalize"):
        app.tasks  # noqa: B018
    app.finalize()
    assert app.tasks


def test_other_threads_see_the_app_of_the_main_thread(app: Celery) -> None:
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(current_app.main))
    thread.start()
    thread.join()
    assert seen == ["proj"]
    default = Celery("default one", set_as_current=False)
    default.set_default()
    thread = threading.Thread(target=lambda: seen.append(current_app.main))
    thread.start()
    thread.join()
    assert seen == ["proj", "default one"]
    assert current_app.main == "proj"


def test_an_app_is_a_context_and_pickles(app: Celery) -> None:
    with Celery("ctx", set_as_current=False) as other:
        assert other in _state._get_active_apps()
    assert other not in _state._get_active_apps()
    app.conf.task_default_queue = "q"
    twin = pickle.loads(pickle.dumps(app))
    assert (twin.main, twin.conf.task_default_queue, current_app.main) == ("proj", "q", "proj")


def test_a_forked_child_has_its_own_name_and_broker(app: Celery) -> None:
    from celerylite.app.publishing import anonymous_name

    mine, broker = (anonymous_name(), app.thread_oid), app._broker
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        same = [anonymous_name() == mine[0], app.thread_oid == mine[1], app._broker is broker]
        os.write(write, b"same" if any(same) else b"different")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 10) == b"different"
    os.close(read)
    os.close(write)


# -- finding things


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "found_pkg").mkdir()
    (tmp_path / "found_pkg" / "__init__.py").touch()
    yield tmp_path / "found_pkg"
    for name in [name for name in sys.modules if name.startswith("found_pkg")]:
        del sys.modules[name]


def test_autodiscover(app: Celery, project: Path) -> None:
    (project / "tasks.py").write_text(
        "from celerylite import shared_task\n@shared_task(name='found')\ndef f(): pass\n"
    )
    app.autodiscover_tasks(["found_pkg", "json"])
    assert "found" not in app._tasks
    app.loader.import_default_modules()
    assert "found" in app.tasks
    assert "found_pkg.tasks" in app.loader.task_modules


def test_autodiscover_shows_errors_inside_of_modules(app: Celery, project: Path) -> None:
    (project / "tasks.py").write_text("import no_such_thing_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        app.autodiscover_tasks(lambda: ["found_pkg"], force=True)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        app.autodiscover_tasks(["no_such_package"], force=True)


@pytest.mark.parametrize(
    "name", ["found_pkg", "found_pkg.celery", "found_pkg.celery:app", "found_pkg:celery.app"]
)
def test_find_app(project: Path, name: str) -> None:
    (project / "celery.py").write_text(
        "from celerylite import Celery\napp = Celery('inside', set_as_current=False)\n"
    )
    if name == "found_pkg:celery.app":
        (project / "__init__.py").write_text("from . import celery\n")
    assert find_app(name).main == "inside"


def test_find_app_shows_import_errors(project: Path) -> None:
    (project / "celery.py").write_text("import no_such_thing_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        find_app("found_pkg")


def test_import_modules_errors_are_raised(app: Celery) -> None:
    def broken(**kwargs: Any) -> None:
        raise KeyError("x")

    signals.import_modules.connect(broken)
    try:
        with pytest.raises(KeyError):
            app.loader.import_default_modules()
    finally:
        signals.import_modules.disconnect(broken)
