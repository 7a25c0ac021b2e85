"""Beats of a test, on a clock that it turns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.beats import Beats


@pytest.fixture
def beats() -> Iterator[Beats]:
    project = Beats()
    yield project
    project.close()
