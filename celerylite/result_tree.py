"""A result in the tree of results: what came before it, and what it led to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from celerylite.exceptions import IncompleteStream
from celerylite.result_base import RecordFields, ResultBase

#: A result as it travels: ((id, parent), children), each again such a tuple.
ResultTuple = tuple[tuple[str, Any], Any]


class ResultTree(RecordFields, ResultBase):
    """See `result.AsyncResult`."""

    id: Any = None

    def as_tuple(self) -> ResultTuple:
        """The result as it travels; `result_from_tuple` reads it."""
        parent = self.parent
        return (self.id, parent.as_tuple() if parent is not None else None), None

    def as_list(self) -> list[str]:
        """The id, followed by those of the parents."""
        ids = [self.id]
        if self.parent is not None:
            ids.extend(self.parent.as_list())
        return ids

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """Wait for the result, then for those of the tasks it called, and so on: (result, value) pairs."""
        for _, result in self.iterdeps(intermediate=intermediate):
            yield result, result.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last result that `collect` gives."""
        value = None
        for _, value in self.collect():  # noqa: B007 (the last one is wanted)
            pass
        return value

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """(parent, result) pairs of this result and all that it led to.

        Raises `IncompleteStream` where one is not ready, unless `intermediate` is set.
        """
        queue: deque[tuple[Any, Any]] = deque([(None, self)])
        while queue:
            parent, node = queue.popleft()
            yield parent, node
            if node.ready():
                queue.extend((node, child) for child in node.children or ())
            elif not intermediate:
                raise IncompleteStream

    def build_graph(self, intermediate: bool = False, formatter: Any = None) -> Any:
        """The tree of results as a graph that can be drawn."""
        from celerylite.utils.graph import DependencyGraph  # few ask for it

        graph = DependencyGraph(formatter=formatter)
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    @property
    def graph(self) -> Any:
        """`build_graph()`."""
        return self.build_graph()
