"""A small graph of what depends on what, and its picture in the DOT language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TextIO

__all__ = ("DOT", "CycleError", "DependencyGraph", "GraphFormatter")


class DOT:
    """How lines of the DOT language are written."""

    HEAD = "{IN}{type} {id} {{\n{INp}graph [{attrs}]"
    ATTR = "{name}={value}"
    NODE = '{INp}"{0}" [{attrs}]'
    EDGE = '{INp}"{0}" {dir} "{1}" [{attrs}]'
    ATTRSEP = ", "
    DIRS = {"graph": "--", "digraph": "->"}
    TAIL = "{IN}}}"


class CycleError(Exception):
    """The graph goes round in a circle."""


class DependencyGraph:
    """Nodes, each with the nodes that it leads to."""

    def __init__(self, it: Iterable[tuple[Any, Iterable[Any]]] | None = None, formatter: Any = None) -> None:
        self.formatter = formatter or GraphFormatter()
        self.adjacent: dict[Any, list[Any]] = {}
        if it is not None:
            self.update(it)

    def add_arc(self, obj: Any) -> None:
        """Add a node."""
        self.adjacent.setdefault(obj, [])

    def add_edge(self, A: Any, B: Any) -> None:  # noqa: N803 (Celery's names)
        """Let `A`, which is a node, lead to `B`."""
        self[A].append(B)

    def connect(self, graph: DependencyGraph) -> None:
        """Add the nodes of another graph."""
        self.adjacent.update(graph.adjacent)

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add nodes with what they lead to."""
        pairs = [(node, list(leads_to)) for node, leads_to in it]
        for node, _ in pairs:
            self.add_arc(node)
        for node, leads_to in pairs:
            for other in leads_to:
                self.add_edge(node, other)

    def topsort(self) -> list[Any]:
        """The nodes, each one after those that it leads to; raises `CycleError`."""
        from graphlib import CycleError as Circle  # few graphs are sorted
        from graphlib import TopologicalSorter

        try:
            return list(TopologicalSorter(self.adjacent).static_order())
        except Circle as exc:
            raise CycleError(*exc.args) from exc

    def valency_of(self, obj: Any) -> int:
        """How many nodes can be reached from a node, by every way."""
        return sum(1 + self.valency_of(other) for other in self.adjacent.get(obj, ()))

    def edges(self) -> list[Any]:
        """The nodes that lead to others."""
        return [node for node, leads_to in self.adjacent.items() if leads_to]

    def to_dot(self, fh: TextIO, formatter: Any = None) -> None:
        """Write the graph in the DOT language."""
        draw = formatter or self.formatter
        seen: set[str] = set()

        def line(text: str) -> None:
            fh.write(text + "\n")

        line(draw.head())
        for node, leads_to in self.adjacent.items():
            if draw.label(node) not in seen:
                seen.add(draw.label(node))
                line(draw.node(node) if leads_to else draw.terminal_node(node))
            for other in leads_to:
                line(draw.edge(node, other))
        line(draw.tail())

    def format(self, obj: Any) -> Any:
        """The name of a node."""
        return self.formatter.label(obj)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, obj: Any) -> bool:
        return obj in self.adjacent

    def items(self) -> Any:
        """(node, what it leads to) pairs."""
        return self.adjacent.items()

    iteritems = items

    def __repr__(self) -> str:
        return "\n".join(self.repr_node(node) for node in self)

    def repr_node(self, obj: Any, level: int = 1, fmt: str = "{0}({1})") -> str:
        """A node and all that it leads to, indented."""
        lines = [fmt.format(obj, self.valency_of(obj))]
        for other in self.adjacent.get(obj, ()):
            lines.append(" " * 5 * level + self.repr_node(other, level + 1, fmt))
        return "\n".join(lines)


class GraphFormatter:
    """Draws nodes and edges; a subclass has other names and colours."""

    scheme: dict[str, Any] = {"shape": "box", "arrowhead": "vee", "style": "filled"}
    edge_scheme: dict[str, Any] = {"color": "gray40", "arrowsize": 0.7}
    node_scheme: dict[str, Any] = {"fillcolor": "lightblue"}
    term_scheme: dict[str, Any] = {"fillcolor": "lightyellow"}
    graph_scheme: dict[str, Any] = {"bgcolor": "white"}

    def __init__(
        self,
        root: Any = None,
        type: str | None = None,  # noqa: A002 (Celery's names, here and in the next line)
        id: str | None = None,  # noqa: A002
        indent: int = 0,
        inw: str = " " * 4,
        **scheme: Any,
    ) -> None:
        self.id = id or "dependencies"
        self.root = root
        self.type = type or "digraph"
        self.direction = DOT.DIRS[self.type]
        self.IN = inw * indent
        self.INp = self.IN + inw
        self.scheme = {**self.scheme, **scheme}
        self.graph_scheme = {**self.graph_scheme, "root": self.label(root)} if root else self.graph_scheme

    def attr(self, name: str, value: Any) -> str:
        """One attribute."""
        return DOT.ATTR.format(name=name, value=f'"{value}"')

    def attrs(self, d: dict[str, Any] | None, scheme: dict[str, Any] | None = None) -> str:
        """Attributes, over those of the scheme."""
        chosen = {**self.scheme, **(scheme or {}), **(d or {})}
        return DOT.ATTRSEP.join(self.attr(name, value) for name, value in chosen.items())

    def head(self, **attrs: Any) -> str:
        """The first line."""
        return self.FMT(DOT.HEAD, id=self.id, type=self.type, attrs=self.attrs(attrs, self.graph_scheme))

    def tail(self) -> str:
        """The last line."""
        return self.FMT(DOT.TAIL)

    def label(self, obj: Any) -> Any:
        """The name of a node."""
        return obj

    def node(self, obj: Any, **attrs: Any) -> str:
        """A node that leads to others."""
        return self.draw_node(obj, self.node_scheme, attrs)

    def terminal_node(self, obj: Any, **attrs: Any) -> str:
        """A node that does not."""
        return self.draw_node(obj, self.term_scheme, attrs)

    def edge(self, a: Any, b: Any, **attrs: Any) -> str:
        """An arrow."""
        return self.draw_edge(a, b, self.edge_scheme, attrs)

    def draw_edge(self, a: Any, b: Any, scheme: Any = None, attrs: Any = None) -> str:
        """The line of an arrow."""
        drawn = self.attrs(attrs, scheme)
        return self.FMT(DOT.EDGE, self.label(a), self.label(b), dir=self.direction, attrs=drawn)

    def draw_node(self, obj: Any, scheme: Any = None, attrs: Any = None) -> str:
        """The line of a node."""
        return self.FMT(DOT.NODE, self.label(obj), attrs=self.attrs(attrs, scheme))

    def FMT(self, fmt: str, *args: Any, **kwargs: Any) -> str:  # noqa: N802 (Celery's name)
        """Fill in a line."""
        return fmt.format(*args, IN=self.IN, INp=self.INp, **kwargs)
