"""Fixtures and the `celery` mark for projects' tests: a pytest plugin, active once celerylite is installed.

Its entry point carries the module's own name, so that naming it in `pytest_plugins` as well is no clash.
Celery's own plugin, where a project asks for it, is registered later, so its fixtures win. With
`pytest --as-celery` (or CELERYLITE_AS_CELERY=1) `celery` is celerylite, celery.contrib.pytest this module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from celerylite import alias

# The plugin is loaded in every pytest run of the environment, so only the fixtures import more of celerylite.
if TYPE_CHECKING:
    from celerylite import Celery
    from celerylite.worker import WorkController

#: Set in the environment to have the worker fixtures start nothing (a worker runs elsewhere).
NO_WORKER = os.environ.get("NO_WORKER")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer `--as-celery`."""
    group = parser.getgroup("celerylite")
    group.addoption("--as-celery", action="store_true", help="make `import celery` mean celerylite")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Install the alias before the first conftest can import celery."""
    if early_config.known_args_namespace.as_celery or alias.wanted_by_environment():
        alias.install_as_celery()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "celery(**overrides): override celery configuration for a test case")


def pytest_plugin_registered(plugin: object, manager: pytest.PytestPluginManager) -> None:
    """Under the alias celery.contrib.pytest is this module, which pytest refuses to register twice.

    Called for a conftest before its `pytest_plugins` are read.
    """
    name = "celery.contrib.pytest"
    if alias.installed() and not manager.has_plugin(name):
        manager.set_blocked(name)


@contextmanager
def _create_app(
    enable_logging: bool = False,
    use_trap: bool = False,
    parameters: Mapping[str, Any] | None = None,
    **config: Any,
) -> Iterator[Celery]:
    """The app of a fixture: current and default while it lives, unless there is to be a trap in its place."""
    from celerylite.contrib.testing.app import TestApp, setup_default_app

    app = TestApp(set_as_current=False, enable_logging=enable_logging, config=config, **(parameters or {}))
    with setup_default_app(app, use_trap=use_trap):
        if not use_trap:
            app.set_default()
            app.set_current()
        yield app


@contextmanager
def _run_worker(
    app: Celery, includes: Sequence[str], tasks: Sequence[Any], pool: str, parameters: Mapping[str, Any]
) -> Iterator[WorkController | None]:
    """The worker of a fixture: what it needs is imported first; nothing is started under NO_WORKER."""
    if NO_WORKER:
        yield None
        return
    from celerylite.contrib.testing import worker

    for module in includes:
        app.loader.import_task_module(module)
    for task in tasks:
        app.register_task(task)
    with worker.start_worker(app, pool=pool, **parameters) as running:
        yield running


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Redefine it to give the settings of the test app."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Redefine it to give the arguments that the test app is made with."""
    return {}


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Redefine it to True to let the test app set up logging."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Redefine it to name modules that are imported before the worker starts."""
    return ()


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """Redefine it to choose the worker's pool."""
    return "solo"


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Redefine it to give the arguments of `start_worker` and of the worker itself."""
    return {}


@pytest.fixture(scope="session")
def celery_class_tasks() -> list[Any]:
    """Redefine it to list class-based tasks that are registered with the session's app."""
    return []


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Redefine it to True to have every use of the current app raise."""
    return False


@pytest.fixture(scope="session")
def celery_session_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """An app for the whole session, in memory unless `celery_config` says otherwise."""
    with _create_app(celery_enable_logging, use_celery_app_trap, celery_parameters, **celery_config) as app:
        yield app


@pytest.fixture(scope="session")
def celery_session_worker(
    request: pytest.FixtureRequest,
    celery_session_app: Celery,
    celery_includes: Sequence[str],
    celery_class_tasks: list[Any],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[WorkController | None]:
    """A worker of `celery_session_app` in a thread, for the whole session."""
    with _run_worker(
        celery_session_app, celery_includes, celery_class_tasks, celery_worker_pool, celery_worker_parameters
    ) as worker:
        yield worker


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """An app for one test, in memory; `@pytest.mark.celery(name=value)` overrides settings."""
    mark = request.node.get_closest_marker("celery")
    config = {**celery_config, **(mark.kwargs if mark else {})}
    with _create_app(celery_enable_logging, use_celery_app_trap, celery_parameters, **config) as app:
        yield app


@pytest.fixture
def celery_worker(
    request: pytest.FixtureRequest,
    celery_app: Celery,
    celery_includes: Sequence[str],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[WorkController | None]:
    """A worker of `celery_app` in a thread, for one test."""
    with _run_worker(celery_app, celery_includes, (), celery_worker_pool, celery_worker_parameters) as worker:
        yield worker


@pytest.fixture
def depends_on_current_app(celery_app: Celery) -> None:
    """For a test that uses the current app although there is a trap."""
    celery_app.set_current()
