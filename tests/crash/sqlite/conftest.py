"""The crash suite on SQLite: the laboratory around a file. The tests are those of the suite itself, and some more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.harness import Lab


@pytest.fixture
def lab(tmp_path: Path, rng: random.Random) -> Iterator[Lab]:
    """A world on a file of its own, which holds messages and results."""
    lab = Lab(None, f"sqlite:///{tmp_path}/celerylite.db", tmp_path, rng)
    try:
        yield lab
    finally:
        lab.close()
        print(lab.logs())  # shown by pytest when the test failed
