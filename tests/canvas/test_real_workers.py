"""Real workers do what the interpreter says: ours, with our clients and Celery's, and Celery's, with ours."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.conftest import OURS, THEIRS

from .celery_limits import client_copes, worker_copes
from .corpus import CORPUS
from .interpreter import interpret
from .stage import Stage
from .strategies import workflows
from .workflow import Node, write

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("CELERYLITE_CANVAS_EXAMPLES", "150"))
SEED = int(os.environ.get("CELERYLITE_CANVAS_SEED", "1"))


def copes(stage: Stage, node: Node) -> bool:
    """Whether Celery's side of the stage, if there is one, is known to get it right."""
    if stage.client == THEIRS != OURS and not client_copes(node):
        return False
    return stage.worker != THEIRS or worker_copes(node)


def check(stage: Stage, node: Node) -> None:
    """Play it, and compare with the interpreter."""
    story = interpret(node)
    differences = stage.play(node, story).differences(story)
    assert not differences, "\n".join([f"{stage.client} to {stage.worker}: {write(node)}", *differences])


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(stage: Stage, name: str) -> None:
    if not copes(stage, CORPUS[name]):
        pytest.skip("Celery hangs on it, or mixes it up")
    check(stage, CORPUS[name])


@pytest.mark.timeout(600)
def test_random_workflows(stage: Stage) -> None:
    print(f"seed {SEED}; another one: CELERYLITE_CANVAS_SEED")

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(workflows(depth=5).filter(lambda node: copes(stage, node)))
    def play(node: Node) -> None:
        check(stage, node)

    play()


def test_nothing_ran_that_nobody_asked_for(stage: Stage) -> None:
    """The last of the module: what all the workflows before it have run, once more, after their ends."""
    assert stage.surplus() == []
