"""Workflows that Celery 5.7 is known to get right. Of the others it hangs on some, and mixes up the values of some."""

from __future__ import annotations

from .interpreter import failure, interpret, normal
from .workflow import Chain, Chord, Group, Node, Task


def client_copes(node: Node) -> bool:
    """Whether Celery's client sends it as it was meant: groups directly in groups or headers lose their order, and a
    chord in a header of one gets the errbacks of the outer one.
    """
    members = node.members if isinstance(node, Group) else node.header if isinstance(node, Chord) else ()
    if any(isinstance(member, Group) for member in members):
        return False
    if isinstance(node, Chord) and len(members) == 1 and not isinstance(members[0], Task):
        return False
    return all(map(client_copes, (*node.parts(), *node.links)))


def worker_copes(node: Node) -> bool:
    """Whether Celery's worker brings it to its end: where something fails, only simple things stand around it."""
    if not client_copes(node) or any(_has_chord(task.becomes) for task in _tasks(node) if task.becomes):
        return False
    if not any(part.fails for part in _tasks(node)):
        return True
    if any(part.fails and part.ignore_result for part in _tasks(node)):
        return False
    return all(_simple(part) for part in _roots(node))


def _has_chord(node: Node) -> bool:
    """Whether one stands in it, or comes of it; a task that is replaced by such a thing may hang."""
    node = normal(node)
    return isinstance(node, Chord) or any(map(_has_chord, (*node.parts(), *node.links)))


def _tasks(node: Node) -> list[Task]:
    found = [node] if isinstance(node, Task) else []
    for part in (*node.parts(), *node.links):
        found += _tasks(part)
    return found


def _roots(node: Node) -> list[Node]:
    """The workflow and those that are sent apart from it: callbacks, replacements."""
    found = [node]
    todo = [node]
    while todo:
        part = todo.pop()
        apart = [*part.links, *([part.becomes] if isinstance(part, Task) and part.becomes else [])]
        found += apart
        todo += [*apart, *part.parts()]
    return found


def _simple(node: Node) -> bool:
    """One task, a chain or a group of tasks, or a chord of tasks with a task."""
    node = normal(node)
    if isinstance(node, Task):
        return not node.becomes or not failure(interpret(node).result)
    if isinstance(node, Chain):
        return all(isinstance(step, Task) and _simple(step) for step in node.steps)
    if isinstance(node, Group):
        return all(isinstance(member, Task | Chain) and _simple(member) for member in node.members)
    assert isinstance(node, Chord)
    return isinstance(node.body, Task) and all(isinstance(member, Task) and _simple(member) for member in node.header)
