"""Stages: a client of one library and a worker of one, for a whole module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.ledger import Ledger

from .stage import Stage

#: (client, worker)
DIRECTIONS = [(OURS, OURS), (THEIRS, OURS), (OURS, THEIRS)]


@pytest.fixture(scope="module", params=DIRECTIONS, ids=lambda pair: f"{pair[0]}-to-{pair[1]}")
def stage(request: pytest.FixtureRequest, new_redis_url: Any, tmp_path_factory: Any) -> Iterator[Stage]:
    """A worker with four slots, so that the parts of a workflow run in any order."""
    client, worker = request.param
    directory = tmp_path_factory.mktemp("stage")
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    site.worker("-c", "4", program=worker)
    stage = Stage(site.client(client), site.ledger, timeout=15.0)
    stage.client, stage.worker = client, worker
    yield stage
    site.close()
