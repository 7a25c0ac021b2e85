"""`celerylite graph`: pictures in Graphviz' dot language: of the parts of a worker, and of what runs where."""

from __future__ import annotations

import sys
from typing import Any

import click
from click import Context

from celerylite import brokers
from celerylite.bin.base import CeleryCommand
from celerylite.utils.graph import DependencyGraph, GraphFormatter

#: The parts of a worker, each with those that must be there before it.
PARTS = {
    "Main process": (),
    "Control process": ("Main process",),
    "Task processes": ("Main process",),
    "Housekeeping": ("Control process",),
    "Remote control": ("Control process",),
    "Events": ("Control process",),
    "Health": ("Control process",),
    "Consumer": ("Task processes",),
    "Executor": ("Task processes",),
    "Beat": ("Main process",),
}


@click.group()
def graph() -> None:
    """Draw a picture: celerylite graph bootsteps | dot -Tpng -o worker.png"""


@graph.command(cls=CeleryCommand)
@click.pass_context
def bootsteps(ctx: Context) -> None:
    """The parts of a worker, the project's own steps, and which needs which."""
    app = ctx.obj.app
    app.loader.import_default_modules()
    arcs: dict[str, list[str]] = {part: list(needs) for part, needs in PARTS.items()}
    for kind, owner in (("worker", "Main process"), ("consumer", "Control process")):
        for step in sorted(app.steps[kind], key=_name):
            arcs[_name(step)] = [*map(_name, getattr(step, "requires", ())), owner]
    _draw(arcs, "Worker")


def _name(step: Any) -> str:
    """The name of a step, or of one that is required as `module:Class`."""
    if isinstance(step, str):
        return step.rpartition(":")[2].rpartition(".")[2]
    return str(getattr(step, "name", None) or getattr(step, "__name__", step)).rpartition(".")[2]


@graph.command(cls=CeleryCommand)
@click.option("-t", "--timeout", type=float, default=1.0, help="Seconds that workers have to answer.")
@click.pass_context
def workers(ctx: Context, timeout: float) -> None:
    """The workers that answer, their processes, broker and result store."""
    app = ctx.obj.app
    broker = brokers.as_uri(app.connection_for_read())
    replies = app.control.inspect(timeout=timeout).stats() or {}
    arcs: dict[str, list[str]] = {broker: []}
    store = None
    if app.conf.result_backend or app.without_broker:
        store = app.backend.as_uri()
        arcs[store] = []
    for name, stats in sorted(replies.items()):
        arcs[name] = [broker] if store in (None, broker) else [broker, store]
        for pid in stats.get("pool", {}).get("processes", ()):
            arcs[f"{name}: {pid}"] = [name]
    _draw(arcs, broker)


def _draw(arcs: dict[str, list[str]], root: str) -> None:
    drawing = DependencyGraph(formatter=GraphFormatter(root=root))
    for name in (*arcs, *(need for needs in arcs.values() for need in needs)):
        drawing.add_arc(name)
    for name, needs in arcs.items():
        for need in needs:
            drawing.add_edge(name, need)
    drawing.to_dot(sys.stdout)
