"""The loader of apps that a project makes."""

from celerylite.loaders.base import BaseLoader

__all__ = ("AppLoader",)


class AppLoader(BaseLoader):
    """Configuration comes from the app, or from the module that CELERY_CONFIG_MODULE names."""
