"""Stages: a client of one library and a worker of one, for a whole module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.ledger import Ledger

from .stage import Stage

#: (client, worker, the worker's options, settings)
DIRECTIONS: list[tuple[str, str, tuple[str, ...], dict[str, Any]]] = [
    (OURS, OURS, (), {}),
    (OURS, OURS, ("-P", "threads"), {"task_acks_late": True}),
    (THEIRS, OURS, (), {}),
    (OURS, THEIRS, (), {}),
]


def _name(direction: tuple[str, str, tuple[str, ...], dict[str, Any]]) -> str:
    client, worker, options, _ = direction
    return f"{client}-to-{worker}{options[-1] if options else ''}"


@pytest.fixture(scope="module", params=DIRECTIONS, ids=_name)
def stage(request: pytest.FixtureRequest, new_redis_url: Any, tmp_path_factory: Any) -> Iterator[Stage]:
    """A worker with four slots, so that the parts of a workflow run in any order."""
    client, worker, options, conf = request.param
    directory = tmp_path_factory.mktemp("stage")
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    site.worker("-c", "4", *options, program=worker, conf=conf)
    stage = Stage(site.client(client, **conf), site.ledger, timeout=10.0)
    stage.client, stage.worker, stage.name = client, worker, _name(request.param)
    yield stage
    site.close()
