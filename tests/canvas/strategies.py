"""Hypothesis strategies for workflows. They shrink towards one plain task."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from .interpreter import end, normal
from .workflow import Chain, Chord, Errback, Group, Node, Task, labelled, size

#: More tasks than this take too long to wait for, and find nothing that fewer do not.
MOST_TASKS = 30

EXAMPLES = int(os.environ.get("CELERYLITE_CANVAS_EXAMPLES", "150"))
SEED = int(os.environ.get("CELERYLITE_CANVAS_SEED", "1"))

errbacks = st.lists(st.builds(Errback, style=st.sampled_from(["new", "old"])), max_size=2).map(tuple)


def play_random(wanted: Callable[[Node], bool], check: Callable[[Node], None]) -> None:
    """Check many random workflows; the first that fails is made as small as possible."""
    print(f"seed {SEED} (CELERYLITE_CANVAS_SEED), {EXAMPLES} workflows (CELERYLITE_CANVAS_EXAMPLES)")

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(workflows().filter(wanted))
    def play(node: Node) -> None:
        check(node)

    play()


def workflows(depth: int = 5, replaces: bool = True) -> st.SearchStrategy[Node]:
    """Workflows of at most `depth` levels, with labels."""
    return nodes(depth, replaces).filter(lambda node: size(node) <= MOST_TASKS).map(labelled)


@cache
def nodes(depth: int, replaces: bool) -> st.SearchStrategy[Node]:
    """Workflows without labels."""
    if depth == 0:
        return tasks(0, replaces)
    inner = nodes(depth - 1, replaces)
    kinds = [tasks(depth, replaces), chains(depth, inner), groups(depth, inner), chords(depth, inner)]
    return st.deferred(lambda: st.one_of(kinds))  # hypothesis would print what stands in it, again and again


@cache
def tasks(depth: int, replaces: bool) -> st.SearchStrategy[Node]:
    """One task; with depth left it may have callbacks, or replace itself."""
    becomes: st.SearchStrategy[Node | None] = st.none()
    if depth and replaces:
        becomes = rarely(None, nodes(min(depth - 1, 2), replaces))
    return st.builds(
        Task,
        fails=rarely(False, st.just(True)),
        immutable=rarely(False, st.just(True)),
        own=rarely((), st.just(("own",))),
        becomes=becomes,
        links=links(depth),
        errbacks=rarely((), errbacks),
    ).map(_one_ending)


def _one_ending(task: Task) -> Task:
    """A task that is replaced does not fail by itself."""
    return Task(**{**vars(task), "fails": False}) if task.becomes else task


def links(depth: int) -> st.SearchStrategy[tuple[Node, ...]]:
    """Callbacks: mostly none."""
    if depth == 0:
        return st.just(())
    return rarely((), st.lists(nodes(min(depth - 1, 1), False), min_size=1, max_size=2).map(tuple))


def chains(depth: int, inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    steps = st.lists(inner.filter(_is_something), min_size=2, max_size=4).map(tuple)
    return st.builds(Chain, steps=steps, links=links(depth), errbacks=rarely((), errbacks)).map(_one_end)


def _one_end(chain: Chain) -> Chain:
    """With callbacks of a chain that ends with a group, Celery does this or that: left to the fixed workflows."""
    return replace(chain, links=()) if isinstance(end(normal(chain)), Group) else chain


def groups(depth: int, inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    members = st.one_of(st.just(()), st.lists(inner.filter(_is_something), min_size=2, max_size=4).map(tuple))
    callbacks = rarely((), st.just((Task(),))) if depth else st.just(())
    return st.builds(Group, members=members, links=callbacks, errbacks=rarely((), errbacks)).map(_nobody_to_link)


def _nobody_to_link(group: Group) -> Group:
    """A group's callbacks are its first member's; only where that is a task do both libraries agree on what happens."""
    return group if group.members and isinstance(group.members[0], Task) else Group(members=group.members)


def chords(depth: int, inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    inner = inner.filter(_is_something)
    header = st.lists(inner, max_size=4).map(tuple)
    return st.builds(Chord, header=header, body=inner, links=links(depth), errbacks=rarely((), errbacks))


def _is_something(node: Node) -> bool:
    """Empty groups within others are left to the fixed workflows, as are groups of one: what they do hangs on how they
    came there.
    """
    return not isinstance(node, Group) or bool(node.members)


def rarely(usual: object, other: st.SearchStrategy) -> st.SearchStrategy:
    """`usual` six times of seven; shrinks to it."""
    return st.integers(0, 6).flatmap(lambda number: other if number == 6 else st.just(usual))
