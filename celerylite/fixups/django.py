"""What is done to an app in a Django project: found by the environment variable DJANGO_SETTINGS_MODULE.

Django is set up before tasks are imported, and connections to databases and caches are kept fresh between
tasks.
"""

from __future__ import annotations

import os
import sys
import warnings
from datetime import datetime, timezone
from functools import cached_property
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from celerylite import signals
from celerylite.exceptions import FixupWarning, ImproperlyConfigured
from celerylite.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("DjangoFixup", "fixup")

ERR_NOT_INSTALLED = """\
DJANGO_SETTINGS_MODULE is set, but Django is not installed: the app is not prepared for Django.
"""
OLDEST_DJANGO = (3, 2)


def _maybe_close_fd(fh: IO[Any]) -> None:
    try:
        os.close(fh.fileno())
    except (AttributeError, OSError, TypeError):
        # The connection is closed already, or has no descriptor that we could see.
        return


def _verify_django_version(django: Any) -> None:
    if django.VERSION < OLDEST_DJANGO:
        raise ImproperlyConfigured(f"Django {'.'.join(map(str, OLDEST_DJANGO))} or later is needed.")


def fixup(app: Celery, env: str = "DJANGO_SETTINGS_MODULE") -> DjangoFixup | None:
    """Fix up the app where it is in a Django project."""
    if not os.environ.get(env) or "django" in str(app.loader_cls).lower():
        return None
    try:
        django = import_module("django")
    except ImportError:
        warnings.warn(FixupWarning(ERR_NOT_INSTALLED), stacklevel=2)
        return None
    _verify_django_version(django)
    return DjangoFixup(app).install()


class DjangoFixup:
    """What Django needs of the app itself."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        app.set_default()
        self._worker_fixup: DjangoWorkerFixup | None = None

    def install(self) -> DjangoFixup:
        """Find settings and tasks where `manage.py` would."""
        sys.path.insert(0, os.getcwd())
        self._settings = symbol_by_name("django.conf:settings")
        self.app.loader.now = self.now
        if not self.app._custom_task_cls_used:
            self.app.task_cls = "celerylite.contrib.django.task:DjangoTask"
        signals.import_modules.connect(self.on_import_modules)
        signals.worker_init.connect(self.on_worker_init)
        return self

    @property
    def worker_fixup(self) -> DjangoWorkerFixup:
        if self._worker_fixup is None:
            self._worker_fixup = DjangoWorkerFixup(self.app)
        return self._worker_fixup

    @worker_fixup.setter
    def worker_fixup(self, value: DjangoWorkerFixup) -> None:
        self._worker_fixup = value

    def on_import_modules(self, **kwargs: Any) -> None:
        self.worker_fixup.validate_models()

    def on_worker_init(self, **kwargs: Any) -> None:
        self.worker_fixup.install()

    def now(self, utc: bool = False) -> datetime:
        """The present, in Django's time zone."""
        return datetime.now(timezone.utc) if utc else self._now()

    @cached_property
    def _now(self) -> Any:
        return symbol_by_name("django.utils.timezone:now")

    def autodiscover_tasks(self) -> list[str]:
        """The packages that may have tasks: Django's installed apps."""
        from django.apps import apps  # only there in a Django project

        return [config.name for config in apps.get_app_configs()]


class DjangoWorkerFixup:
    """What Django needs of the worker: set up, and connections that do not grow old."""

    #: Tasks since the connections were closed last.
    _db_recycles = 0

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.db_reuse_max = app.conf.get("CELERY_DB_REUSE_MAX", None)
        self._db = import_module("django.db")
        self._cache = import_module("django.core.cache")
        self._settings = symbol_by_name("django.conf:settings")
        self.interface_errors = (self._db.InterfaceError,)
        self.DatabaseError = self._db.DatabaseError

    def django_setup(self) -> None:
        import django

        django.setup()

    def validate_models(self) -> None:
        """Set Django up, and run its checks, as `manage.py` does."""
        from django.core.checks import run_checks

        self.django_setup()
        if not os.environ.get("CELERY_SKIP_CHECKS"):
            run_checks()

    def install(self) -> DjangoWorkerFixup:
        signals.beat_embedded_init.connect(self.close_database)
        signals.task_prerun.connect(self.on_task_prerun)
        signals.task_postrun.connect(self.on_task_postrun)
        signals.worker_process_init.connect(self.on_worker_process_init)
        self.close_database()
        self.close_cache()
        return self

    def on_worker_process_init(self, **kwargs: Any) -> None:
        # A forked child must not speak on the parent's connections, nor say good-bye on them: the descriptors
        # are
        # closed without a word.
        for connection in self._db.connections.all():
            self._maybe_close_db_fd(connection)
        self.close_database()
        self.close_cache()

    def _maybe_close_db_fd(self, c: Any) -> None:
        try:
            with c.wrap_database_errors:
                _maybe_close_fd(c.connection)
        except self.interface_errors:
            return  # there is no connection any more

    def on_task_prerun(self, sender: Any, **kwargs: Any) -> None:
        if not getattr(sender.request, "is_eager", False):
            self.close_database()

    def on_task_postrun(self, sender: Any, **kwargs: Any) -> None:
        if not getattr(sender.request, "is_eager", False):
            self.close_database()
            self.close_cache()

    def close_database(self, **kwargs: Any) -> None:
        """Close connections that are too old or broken; every `CELERY_DB_REUSE_MAX` tasks, where that is
        set."""
        if not self.db_reuse_max:
            self._close_database()
            return
        if self._db_recycles >= self.db_reuse_max * 2:
            self._db_recycles = 0
            self._close_database()
        self._db_recycles += 1

    def _close_database(self) -> None:
        for connection in self._db.connections.all(initialized_only=True):
            try:
                connection.close_if_unusable_or_obsolete()
            except self.interface_errors:
                continue  # closed already, by the server
            except self.DatabaseError as exc:
                if not any(text in str(exc) for text in ("closed", "not connected")):
                    raise

    def close_cache(self) -> None:
        close = getattr(self._cache, "close_caches", None)
        if close is not None:
            close()
