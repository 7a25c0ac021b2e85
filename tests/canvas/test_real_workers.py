"""Real workers do what the interpreter says: ours, with our clients and Celery's, and Celery's, with ours."""

from __future__ import annotations

import pytest

from tests.conftest import OURS, THEIRS

from .celery_limits import client_copes, worker_copes
from .corpus import CORPUS
from .interpreter import interpret
from .stage import Stage
from .strategies import play_random
from .workflow import Node, write

pytestmark = pytest.mark.slow

def copes(stage: Stage, node: Node) -> bool:
    """Whether Celery's side of the stage, if there is one, is known to get it right."""
    if stage.client == THEIRS != OURS and not client_copes(node):
        return False
    return stage.worker != THEIRS or worker_copes(node)


def check(stage: Stage, node: Node) -> None:
    """Play it, and compare with the interpreter."""
    story = interpret(node)
    differences = stage.play(node, story).differences(story)
    assert not differences, "\n".join([f"{stage.name}: {write(node)}", *differences])


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(stage: Stage, name: str) -> None:
    if not copes(stage, CORPUS[name]):
        pytest.skip("Celery hangs on it, or mixes it up")
    check(stage, CORPUS[name])


@pytest.mark.timeout(600)
def test_random_workflows(stage: Stage) -> None:
    play_random(lambda node: copes(stage, node), lambda node: check(stage, node))


def test_nothing_ran_that_nobody_asked_for(stage: Stage) -> None:
    """The last of the module: what all the workflows before it have run, once more, after their ends."""
    assert stage.surplus() == []
