"""The package records that `importlib.metadata` finds for the names the alias answers to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from typing import Any

from .billiard import VERSION as BILLIARD_VERSION

#: The release of Celery whose contract celerylite keeps; `celery>=5` must hold under the alias.
CELERY_VERSION = "5.7.0"

VERSIONS = {"celery": CELERY_VERSION, "billiard": ".".join(str(part) for part in BILLIARD_VERSION[:3])}


class AliasDistribution(Distribution):
    """A package record without files: a name, a version, and the one import name that belongs to it."""

    def __init__(self, name: str) -> None:
        self._texts = {
            "METADATA": (
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSIONS[name]}\n"
                "Summary: provided by celerylite in this process\n"
            ),
            "top_level.txt": f"{name}\n",
        }

    def read_text(self, filename: Any) -> str | None:
        """One of the record's texts; None for those a package may lack (entry points, RECORD …)."""
        return self._texts.get(str(filename))

    def locate_file(self, path: Any) -> Any:
        """Where a file of the package would be: beside celerylite."""
        return Path(__file__).resolve().parents[2] / path


def distributions(context: DistributionFinder.Context) -> Iterator[Distribution]:
    """The records that match what was asked for; all of them when no name was given."""
    wanted = None if context.name is None else re.sub(r"[-_.]+", "-", context.name).lower()
    for name in VERSIONS:
        if wanted is None or wanted == name:
            yield AliasDistribution(name)
