"""The dependency graph."""

from __future__ import annotations

import io

import pytest

from celerylite.utils.graph import CycleError, DependencyGraph


def test_a_graph() -> None:
    graph = DependencyGraph([("a", ["b"]), ("b", ["c"]), ("c", [])])
    assert graph.topsort() == ["c", "b", "a"]
    assert (len(graph), "a" in graph, graph["a"], graph.valency_of("a")) == (3, True, ["b"], 2)
    assert graph.edges() == ["a", "b"] and list(graph) == ["a", "b", "c"]
    assert repr(graph).splitlines()[:3] == ["a(2)", "     b(1)", "          c(0)"]


def test_a_circle() -> None:
    with pytest.raises(CycleError):
        DependencyGraph([("a", ["b"]), ("b", ["a"])]).topsort()


def test_the_picture() -> None:
    picture = io.StringIO()
    DependencyGraph([("a", ["b"]), ("b", [])]).to_dot(picture)
    assert '"a" -> "b"' in picture.getvalue() and picture.getvalue().startswith("digraph dependencies {")
