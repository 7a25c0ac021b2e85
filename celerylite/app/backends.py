"""Celery's place for finding a result store by name or URL; see `celerylite.backends`."""

from celerylite.backends import BACKEND_ALIASES, UNKNOWN_BACKEND, by_name, by_url

__all__ = ("BACKEND_ALIASES", "UNKNOWN_BACKEND", "by_name", "by_url")
