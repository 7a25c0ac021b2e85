"""The fixed workflows in this process, with a worker in a thread and eagerly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celerylite.contrib.testing.worker import start_worker
from tests.support.app import make_app
from tests.support.ledger import Ledger

from .corpus import CORPUS
from .interpreter import interpret
from .stage import Stage
from .strategies import play_random
from .workflow import Node, write


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("ledger")
    app = make_app("celerylite", "memory://canvas", "cache+memory://", ledger=str(directory))
    with start_worker(app, concurrency=2, pool="threads", perform_ping_check=False):
        yield Stage(app, Ledger(directory), timeout=10.0)
    app.close()


@pytest.fixture(scope="module")
def eager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("ledger")
    app = make_app("celerylite", "memory://eager", "cache+memory://", {"task_always_eager": True}, str(directory))
    yield Stage(app, Ledger(directory), timeout=10.0)
    app.close()


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("way", ["threaded", "eager"])
def test_corpus(request: pytest.FixtureRequest, way: str, name: str) -> None:
    stage: Stage = request.getfixturevalue(way)
    check(stage, CORPUS[name])


def check(stage: Stage, node: Node) -> None:
    story = interpret(node)
    differences = stage.play(node, story).differences(story)
    assert not differences, "\n".join([write(node), *differences])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["threaded", "eager"])
def test_random_workflows(request: pytest.FixtureRequest, way: str) -> None:
    stage: Stage = request.getfixturevalue(way)
    play_random(lambda node: True, lambda node: check(stage, node))


def test_nothing_ran_that_nobody_asked_for(threaded: Stage, eager: Stage) -> None:
    assert threaded.surplus() == eager.surplus() == []
