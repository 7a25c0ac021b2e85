"""With no broker configured an app uses an SQLite file; with any, it gets what was configured and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celerylite import Celery
from celerylite.brokers.sqlite import SqliteBroker


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(**options: Any) -> Any:
    return Celery("default", set_as_current=False, **options)


def test_broker_and_results_are_one_file_of_this_directory(here: Path) -> None:
    app = make()
    assert isinstance(app.broker, SqliteBroker)
    url = f"sqlite:///{here}/celerylite.db"
    assert (app.connection().as_uri(), app.backend.as_uri()) == (url, url)
    assert app.broker.same_server(app.backend)
    assert app.conf.broker_url is None and app.conf.result_backend is None


def test_looking_at_an_app_makes_no_file(here: Path) -> None:
    app = make()
    app.connection_for_read().as_uri()
    assert (app.broker, app.backend, list(here.iterdir()))[2] == []


@pytest.mark.parametrize("name", ["CELERY_BROKER_URL", "CELERY_BROKER_WRITE_URL"])
def test_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "memory://")
    app = make()
    assert app.connection().transport_cls == "memory"
    assert app.backend.as_uri() == "disabled://"


@pytest.mark.parametrize("broker", ["memory://", "redis://localhost", "sqlite:///other.db"])
def test_a_broker_of_ones_own_brings_no_result_store(broker: str) -> None:
    assert make(broker=broker).backend.as_uri() == "disabled://"


def test_a_result_store_of_ones_own_stays() -> None:
    app = make(backend="cache+memory://")
    assert isinstance(app.broker, SqliteBroker)
    assert app.backend.as_uri() == "cache+memory:///" or "memory" in app.backend.as_uri()


def test_a_transport_with_a_host_is_a_broker() -> None:
    app = make()
    app.conf.update(broker_transport="redis", broker_host="localhost")
    assert not app.without_broker
    assert app.connection().transport_cls == "redis"


def test_settings_that_come_later_count() -> None:
    app = make()
    app.conf.broker_url = "memory://"
    assert app.connection().transport_cls == "memory"


def test_the_backend_by_its_name_alone(here: Path) -> None:
    assert make(broker="memory://", backend="sqlite").backend.as_uri() == f"sqlite:///{here}/celerylite.db"
