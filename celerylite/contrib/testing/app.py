"""An app for tests that keeps all in memory, and a trap for code that uses the wrong app."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celerylite import Celery, _state
from celerylite.app.log import Logging

__all__ = ("DEFAULT_TEST_CONFIG", "TestApp", "Trap", "UnitLogging", "set_trap", "setup_default_app")

#: Settings of every test app: quiet logs, JSON only, nothing outside this process.
DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "broker_heartbeat": 0,
}


class UnitLogging(Logging):
    """Leaves logging as the test set it up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.already_setup = True


class Trap:
    """Stands where the current app would be, and raises as soon as it is used."""

    def __getattr__(self, name: str) -> Any:
        # copy and pickle look for special methods; only the app's own names are a mistake of the test
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError("Test depends on current_app")


def TestApp(
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: Any = UnitLogging,
    backend: str | None = None,
    broker: str | None = None,
    **kwargs: Any,
) -> Celery:
    """Make an app for a test; `config` goes over the settings in `DEFAULT_TEST_CONFIG`."""
    settings = {**DEFAULT_TEST_CONFIG, **(config or {})}
    if broker is not None:
        del settings["broker_url"]
    if backend is not None:
        del settings["result_backend"]
    app = Celery(
        name or "celery.tests",
        set_as_current=set_as_current,
        log=None if enable_logging else log,
        broker=broker,
        backend=backend,
        **kwargs,
    )
    app.add_defaults(settings)
    return app


# pytest would take it for a class of tests where it is imported.
TestApp.__test__ = False  # type: ignore[attr-defined]


@contextmanager
def set_trap(app: Celery) -> Iterator[None]:
    """Make the current app a trap, in all threads, until the end."""
    trap: Any = Trap()
    with _current_app_put_back():
        _state.set_default_app(trap)
        _state._set_current_app(trap)
        yield


@contextmanager
def setup_default_app(app: Celery, use_trap: bool = False) -> Iterator[None]:
    """Put back afterwards which app is current and which is the default; close `app`.

    Shared tasks stay: a module that defines some is imported only once, and later tests need them too.
    """
    before = _state.get_current_app()
    try:
        with _current_app_put_back():
            _state._set_current_app(before)
            if use_trap:
                with set_trap(app):
                    yield
            else:
                yield
    finally:
        if app is not before:
            app.close()


@contextmanager
def _current_app_put_back() -> Iterator[None]:
    """Let the block choose other apps; afterwards every thread has the one it had."""
    default, process, threads = _state.default_app, _state._process_app, _state._tls
    _state._tls = _state._CurrentApp()
    try:
        yield
    finally:
        _state.default_app, _state._process_app, _state._tls = default, process, threads
