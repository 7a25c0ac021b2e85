"""Odds and ends of apps: pickling, the bug report, and finding the app that `-A` names."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from celerylite.app.settings import Settings
from celerylite.app.sources import filter_hidden_settings
from celerylite.utils.imports import import_from_cwd, qualname, symbol_by_name

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("AppPickler", "Settings", "appstr", "bugreport", "filter_hidden_settings", "find_app")

BUGREPORT_INFO = """
software -> celerylite:{version} kombu:{kombu} py:{python}
            {driver}
platform -> system:{system} arch:{arch}
            kernel version:{kernel} imp:{implementation}
loader   -> {loader}
settings -> transport:{transport} results:{results}

{settings}
"""


def appstr(app: Celery) -> str:
    """The app in logs: its main module and where it is."""
    return f"{app.main or '__main__'} at {id(app):#x}"


class AppPickler:
    """Makes an app from what `__reduce_keys__` gave; the name is Celery's."""

    def __call__(self, cls: type[Celery], *args: Any) -> Celery:
        return cls(*args)


def _unpickle_app(cls: type[Celery], pickler: type[AppPickler], *args: Any) -> Celery:
    return pickler()(cls, *args)


def _unpickle_app_v2(cls: type[Celery], kwargs: dict[str, Any]) -> Celery:
    kwargs["set_as_current"] = False
    return cls(**kwargs)


def bugreport(app: Celery) -> str:
    """Versions and settings, with passwords masked."""
    import kombu

    import celerylite

    try:
        connection = app.connection()
        driver = f"{connection.transport.driver_name}:{connection.transport.driver_version()}"
        transport = connection.transport_cls
    except Exception as exc:  # the border to foreign drivers: a report must come out in any case
        driver, transport = f"({exc})", ""
    import platform as _platform  # lazy: 2 ms, for a report

    return BUGREPORT_INFO.format(
        version=celerylite.VERSION_BANNER,
        kombu=kombu.__version__,
        python=_platform.python_version(),
        driver=driver,
        system=_platform.system(),
        arch=", ".join(part for part in _platform.architecture() if part),
        kernel=_platform.release(),
        implementation=_platform.python_implementation(),
        loader=qualname(type(app.loader)),
        transport=transport,
        results=filter_hidden_settings({"results": app.conf.result_backend})["results"] or "disabled",
        settings=app.conf.humanize(),
    )


def find_app(
    app: Any,
    symbol_by_name: Callable[..., Any] = symbol_by_name,
    imp: Callable[..., Any] = import_from_cwd,
) -> Any:
    """The app that `-A` means: `proj`, `proj.celery`, `proj:app` or `proj.celery:app`."""
    from celerylite.app.base import Celery  # a circle otherwise: the app uses this module

    try:
        found = symbol_by_name(app, imp=imp)
    except AttributeError:
        found = imp(app)
    if not isinstance(found, ModuleType):
        return found
    if ":" in app:
        return found
    for attribute in ("app", "celery"):
        candidate = getattr(found, attribute, None)
        if candidate is not None and not isinstance(candidate, ModuleType):
            return candidate
    if getattr(found, "__path__", None):
        try:
            return find_app(f"{app}.celery", symbol_by_name=symbol_by_name, imp=imp)
        except ModuleNotFoundError as exc:
            # Without that module, look at what the package has itself; an import that fails inside it is
            # shown.
            if exc.name != f"{app}.celery":
                raise
    for candidate in vars(found).values():
        if isinstance(candidate, Celery):
            return candidate
    raise AttributeError(f"module {found.__name__!r} has no attribute 'celery'")
