"""The loader where no app was made: configuration is the module `celeryconfig`, where there is one."""

from __future__ import annotations

import os
import warnings
from typing import Any

from celerylite.exceptions import NotConfigured
from celerylite.loaders.base import BaseLoader

__all__ = ("DEFAULT_CONFIG_MODULE", "Loader")

DEFAULT_CONFIG_MODULE = "celeryconfig"


class Loader(BaseLoader):
    """The default loader."""

    def setup_settings(self, settingsdict: Any) -> dict[str, Any]:
        """The settings as a mapping."""
        return dict(settingsdict)

    def read_configuration(self, fail_silently: Any = True) -> dict[str, Any]:
        name = os.environ.get("CELERY_CONFIG_MODULE") or DEFAULT_CONFIG_MODULE
        try:
            found = self._import_config_module(name)
        except ImportError:
            if not fail_silently:
                raise
            # Only when the user said that there is one.
            if "CELERY_CONFIG_MODULE" in os.environ or os.environ.get("C_WNOCONF"):
                warnings.warn(
                    NotConfigured(f"There is no module {name!r} to read the configuration from."),
                    stacklevel=2,
                )
            return self.setup_settings({})
        self.configured = True
        return self.setup_settings(
            {key: getattr(found, key) for key in dir(found) if not key.startswith("_")}
        )
