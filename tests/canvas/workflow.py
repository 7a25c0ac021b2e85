"""Workflows as plain values, apart from any task queue: what the reference interpreter reads and what either
library's canvas is built from.

Every task and errback has a label, which it writes into the ledger when it runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any


@dataclass(frozen=True)
class Errback:
    """What is called when something fails."""

    style: str = "new"
    """new: called in the worker with (request, exc, traceback); old: sent as a task, with the id of what failed."""
    label: str = ""


@dataclass(frozen=True)
class Node:
    """What all kinds have in common."""

    links: tuple[Node, ...] = ()
    """Called with the result; what becomes of them does not matter to the whole."""
    errbacks: tuple[Errback, ...] = ()
    """Called when it fails."""

    def parts(self) -> tuple[Node, ...]:
        """What it is made of, without callbacks."""
        return ()


@dataclass(frozen=True)
class Task(Node):
    """One task. It returns a text made of its label and its arguments."""

    fails: bool = False
    """Whether it raises StepFailed instead."""
    immutable: bool = False
    """Whether it refuses the value of what it follows."""
    own: tuple[Any, ...] = ()
    """Arguments of the signature itself; they stand behind what is handed on."""
    becomes: Node | None = None
    """What it replaces itself by."""
    ignore_result: bool = False
    """Whether its result is not stored."""
    label: str = ""

    def parts(self) -> tuple[Node, ...]:
        return (self.becomes,) if self.becomes else ()


@dataclass(frozen=True)
class Chain(Node):
    """One after the other, each with the value of the one before."""

    steps: tuple[Node, ...] = ()

    def parts(self) -> tuple[Node, ...]:
        return self.steps


@dataclass(frozen=True)
class Group(Node):
    """All at once."""

    members: tuple[Node, ...] = ()

    def parts(self) -> tuple[Node, ...]:
        return self.members


@dataclass(frozen=True)
class Chord(Node):
    """All of the header at once, then the body with the list of their values."""

    header: tuple[Node, ...] = ()
    body: Node = Task()

    def parts(self) -> tuple[Node, ...]:
        return (*self.header, self.body)


def labelled(node: Node) -> Node:
    """The same with a label of its own for each task and errback, in reading order."""
    numbers = count(1)
    return _labelled(node, numbers)


def _labelled(node: Node, numbers: Iterator[int]) -> Node:
    changes: dict[str, Any] = {}
    if isinstance(node, Task):
        changes["label"] = f"{'f' if node.fails else 'r' if node.becomes else 't'}{next(numbers)}"
        changes["becomes"] = _labelled(node.becomes, numbers) if node.becomes else None
    elif isinstance(node, Chain):
        changes["steps"] = tuple(_labelled(step, numbers) for step in node.steps)
    elif isinstance(node, Group):
        changes["members"] = tuple(_labelled(member, numbers) for member in node.members)
    elif isinstance(node, Chord):
        changes["header"] = tuple(_labelled(member, numbers) for member in node.header)
        changes["body"] = _labelled(node.body, numbers)
    changes["links"] = tuple(_labelled(link, numbers) for link in node.links)
    changes["errbacks"] = tuple(replace(errback, label=f"e{next(numbers)}") for errback in node.errbacks)
    return replace(node, **changes)


def depth(node: Node) -> int:
    """How many levels of canvas; a task alone has none."""
    below = [depth(part) for part in (*node.parts(), *node.links)]
    return max(below, default=-1) + 1


def size(node: Node) -> int:
    """How many tasks there are in it, with callbacks."""
    return isinstance(node, Task) + sum(map(size, (*node.parts(), *node.links)))


def write(node: Node) -> str:
    """Short, for failure messages: `t1 | [t2, f3!e4] | t5`."""
    tail = "".join(f"->{write(link)}" for link in node.links) + "".join(f"!{e.label}:{e.style}" for e in node.errbacks)
    if isinstance(node, Task):
        inside = f"{node.label}{'i' if node.immutable else ''}{'~' if node.ignore_result else ''}"
        inside += f"({', '.join(map(str, node.own))})" if node.own else ""
        inside += f"=>{write(node.becomes)}" if node.becomes else ""
    elif isinstance(node, Chain):
        inside = f"({' | '.join(map(write, node.steps))})"
    elif isinstance(node, Group):
        inside = f"[{', '.join(map(write, node.members))}]"
    elif isinstance(node, Chord):
        inside = f"<{', '.join(map(write, node.header))} // {write(node.body)}>"
    else:
        raise TypeError(node)
    return inside + tail


# -- as a canvas


class Builder:
    """Builds the canvas of a workflow with the library of `app`; `run` marks its entries in the ledger."""

    def __init__(self, app: Any, run: str) -> None:
        self.app = app
        self.run = run
        self.lib = importlib.import_module(type(app).__module__.split(".")[0])

    def build(self, node: Node) -> Any:
        """The signature."""
        signature = self._bare(node)
        for link in node.links:
            signature.link(self.build(link))
        for errback in node.errbacks:
            signature.link_error(self._errback(errback))
        return signature

    def _bare(self, node: Node) -> Any:
        if isinstance(node, Task):
            return self._task(node)
        if isinstance(node, Chain):
            return self.lib.chain(*[self.build(step) for step in node.steps])
        if isinstance(node, Group):
            return self.lib.group([self.build(member) for member in node.members], app=self.app)
        if isinstance(node, Chord):
            return self.lib.chord([self.build(member) for member in node.header], self.build(node.body), app=self.app)
        raise TypeError(node)

    def _task(self, node: Task) -> Any:
        kwargs: dict[str, Any] = {"run": self.run, "label": node.label}
        name = "w.fail" if node.fails else "w.step"
        if node.becomes:
            name, kwargs["becomes"] = "w.replace", self.build(node.becomes)
        options = {"ignore_result": True} if node.ignore_result else {}
        task = self.app.tasks[name]
        return task.signature(node.own, kwargs, immutable=node.immutable, **options)

    def _errback(self, errback: Errback) -> Any:
        task = self.app.tasks[f"w.errback_{errback.style}"]
        return task.s(run=self.run, label=errback.label)
