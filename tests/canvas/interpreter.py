"""The reference interpreter of the canvas: what a workflow has to come to, said without any queue.

Its rules are Celery's documented ones and what its workers were seen to do; where those hang or contradict themselves
the rule says so (docs/canvas.md lists them).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.tasks_canvas import value_of

from .workflow import Chain, Chord, Group, Node, Task


@dataclass(frozen=True)
class Failed:
    """How something failed."""

    labels: frozenset[str]
    """The tasks that may be named as the reason; among parallel ones it is not known which fails first."""
    in_chord: bool | None = False
    """Whether it is told as a ChordError; None: either way."""


@dataclass
class Story:
    """What happens in a workflow."""

    result: Any = None
    """The value of the whole or Failed; lists (in lists) of such for groups."""
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(label, arguments as JSON) of a task → how often it runs."""
    errbacks: Counter[str] = field(default_factory=Counter)
    """Label of an errback → how often it is called."""


def interpret(node: Node) -> Story:
    """The story of a workflow that is called without arguments."""
    story = Story()
    story.result = _Interpreter(story).perform(normal(node), ())
    return story


# -- the canvas as it is meant


def normal(node: Node) -> Node:
    """The same workflow in the form in which it is run.

    Chains within chains are unrolled; a group that something follows is the header of a chord; groups within groups
    (or headers) are one; in a chain, a group of one is that one, and an empty group is nothing.
    """
    node = replace(node, links=tuple(map(normal, node.links)))
    if isinstance(node, Task):
        return replace(node, becomes=node.becomes and _normal_replacement(node.becomes))
    if isinstance(node, Group):
        return _normal_group(node)
    if isinstance(node, Chord):
        return _normal_chord(node)
    assert isinstance(node, Chain)
    return _normal_chain(node)


def _normal_replacement(node: Node) -> Node:
    """Where a task is replaced by what ends with a group, its value is the list of that group's."""
    node = normal(node)
    if isinstance(node, Group):
        return Chord(header=node.members, body=GATHER)
    return _chained([node, GATHER]) if isinstance(end(node), Group) else node


def end(node: Node) -> Node:
    """What comes last."""
    if isinstance(node, Chain):
        return end(node.steps[-1])
    return end(node.body) if isinstance(node, Chord) else node


def _normal_group(node: Group) -> Group:
    """Errbacks of a group are those of each member; its callbacks are the first member's, who tells them nothing."""
    members = [_with(member, errbacks=node.errbacks) for member in _flat(node.members)]
    if members:
        members[0] = _with(members[0], links=tuple(map(_deaf, node.links)))
    return Group(members=tuple(members))


def _normal_chord(node: Chord) -> Chord:
    """Callbacks and errbacks of a chord are the body's."""
    body = _with(normal(node.body), links=node.links, errbacks=node.errbacks)
    return Chord(header=_flat(node.header), body=body)


def _normal_chain(node: Chain) -> Node:
    """Errbacks of a chain are those of each step (of a chord, the body); its callbacks are the last step's."""
    return _linked_end(_with(_chained(list(map(normal, node.steps))), errbacks=node.errbacks), node.links)


def _chained(steps: list[Node]) -> Node:
    """Steps that are normal, one after the other."""
    done: list[Node] = []
    for step in reversed(_without_small_groups(steps)):
        if done and isinstance(step, Group):
            done = [Chord(header=step.members, body=_chained(done))]
        elif done and isinstance(step, Chord):
            done = [Chord(header=step.header, body=_chained([step.body, *done]))]
        else:
            done = [step, *done]
    if not done:
        return Group()
    return Chain(steps=tuple(done)) if len(done) > 1 else done[0]


def _without_small_groups(steps: list[Node]) -> list[Node]:
    """The steps of all chains among them; a group of one is that one, an empty group is nothing."""
    found: list[Node] = []
    for step in steps:
        if isinstance(step, Chain):
            found += _without_small_groups(list(step.steps))
        elif isinstance(step, Group) and len(step.members) < 2:
            found += _without_small_groups(list(step.members))
        else:
            found.append(step)
    return found


def _with(node: Node, links: tuple[Node, ...] = (), errbacks: tuple[Any, ...] = ()) -> Node:
    """The node with more callbacks, which go to where its kind keeps them."""
    if not links and not errbacks:
        return node
    if isinstance(node, Chord):
        return replace(node, body=_with(node.body, links, errbacks))
    if isinstance(node, Group):
        return _normal_group(replace(node, links=links, errbacks=errbacks))
    if isinstance(node, Chain):
        steps = [_with(step, errbacks=errbacks) for step in node.steps]
        steps[-1] = _linked_end(steps[-1], links)
        return Chain(steps=tuple(steps))
    return replace(node, links=(*node.links, *links), errbacks=(*node.errbacks, *errbacks))


def _linked_end(node: Node, links: tuple[Node, ...]) -> Node:
    """Callbacks of a chain: if it ends with a group, each member calls them with its own value."""
    if isinstance(node, Group):
        return Group(members=tuple(_linked_end(member, links) for member in node.members))
    return _with(node, links)


def _deaf(node: Node) -> Node:
    """The same, taking no arguments."""
    if isinstance(node, Task):
        return replace(node, immutable=True)
    if isinstance(node, Chain):
        return Chain(steps=(_deaf(node.steps[0]), *node.steps[1:]))
    if isinstance(node, Group):
        return Group(members=tuple(map(_deaf, node.members)))
    assert isinstance(node, Chord)
    return Chord(header=tuple(map(_deaf, node.header)), body=node.body)


def _flat(members: tuple[Node, ...]) -> tuple[Node, ...]:
    found: list[Node] = []
    for member in map(normal, members):
        found += member.members if isinstance(member, Group) else [member]
    return tuple(found)


# -- what it comes to


#: The task that makes the values of a group the value of the task which was replaced by it; it notes nothing.
GATHER = Task(label="gather")


class _Interpreter:
    def __init__(self, story: Story) -> None:
        self.story = story

    def perform(self, node: Node, args: tuple[Any, ...]) -> Any:
        """The value of `node` (which is normal) called with `args`, or Failed."""
        if isinstance(node, Task):
            return self._task(node, args)
        if isinstance(node, Chain):
            return self._chain(node, args)
        if isinstance(node, Group):
            return [self.perform(member, args) for member in node.members]
        assert isinstance(node, Chord)
        return self._chord(node, args)

    def _task(self, node: Task, args: tuple[Any, ...]) -> Any:
        if node == GATHER:
            return args[0]
        given = node.own if node.immutable else (*args, *node.own)
        self.story.runs[node.label, json.dumps(given)] += 1
        if node.becomes:
            result = self.perform(node.becomes, ())
        else:
            result = Failed(frozenset([node.label])) if node.fails else value_of(node.label, given)
        failed = failure(result)
        if failed:
            self.story.errbacks.update(errback.label for errback in node.errbacks)
            return result
        for link in node.links:
            self.perform(link, (result,))
        return result

    def _chain(self, node: Chain, args: tuple[Any, ...]) -> Any:
        result: Any = None
        for number, step in enumerate(node.steps):
            result = self.perform(step, args if number == 0 else (result,))
            failed = failure(result)
            if failed and number < len(node.steps) - 1:
                # What comes after it fails for the same reason, so that nobody waits for it in vain.
                return shape(node.steps[-1], failed)
        return result

    def _chord(self, node: Chord, args: tuple[Any, ...]) -> Any:
        results = [self.perform(member, args) for member in node.header]
        failed = failure(results)
        if not failed:
            return self.perform(node.body, (results,))
        failed = replace(failed, in_chord=True)
        self._blame(node.body)
        return shape(node.body, failed)

    def _blame(self, body: Node) -> None:
        """Call the errbacks of a body that will not run."""
        if isinstance(body, Task):
            self.story.errbacks.update(errback.label for errback in body.errbacks)
        elif isinstance(body, Chain):
            self._blame(body.steps[0])
        elif isinstance(body, Group):
            for member in body.members:
                self._blame(member)
        elif isinstance(body, Chord):
            self._blame(body.body)


def failure(result: Any) -> Failed | None:
    """All that failed in a result, as one."""
    if isinstance(result, Failed):
        return result
    if not isinstance(result, list):
        return None
    failures = [found for found in map(failure, result) if found]
    if not failures:
        return None
    labels = frozenset().union(*(failed.labels for failed in failures))
    told = {failed.in_chord for failed in failures}
    return Failed(labels, told.pop() if len(told) == 1 else None)


def shape(node: Node, failed: Failed) -> Any:
    """The result of something that cannot run any more: groups have a failure in each place."""
    if isinstance(node, Chain):
        return shape(node.steps[-1], failed)
    if isinstance(node, Group):
        # Celery stores the header's own exception in the members of a body that is a group.
        failed = replace(failed, in_chord=None if failed.in_chord else False)
        return [shape(member, failed) for member in node.members]
    if isinstance(node, Chord):
        return shape(node.body, failed)
    return failed
