"""`task_annotations`: attributes of tasks that are set from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from celerylite.utils.imports import instantiate

if TYPE_CHECKING:
    from celerylite.app.task import Task

__all__ = ("MapAnnotation", "prepare", "resolve_all")


class MapAnnotation(dict[str, Any]):
    """Annotations given as a dict: task name, or `*` for every task, → attributes."""

    def annotate(self, task: Any) -> dict[str, Any] | None:
        """What is set on this one task."""
        return dict(self[task.name]) if task.name in self else None

    def annotate_any(self) -> dict[str, Any] | None:
        """What is set on every task."""
        return dict(self["*"]) if "*" in self else None


def prepare(annotations: Any) -> list[Any]:
    """The setting as a list of objects with `annotate` and `annotate_any`; dotted paths are imported."""
    if not annotations:
        return []
    given: Iterable[Any] = annotations if isinstance(annotations, list | tuple) else (annotations,)
    return [_expand(one) for one in given]


def _expand(annotation: Any) -> Any:
    if isinstance(annotation, Mapping):
        return MapAnnotation(annotation)
    return instantiate(annotation) if isinstance(annotation, str) else annotation


def resolve_all(anno: Iterable[Any], task: Any) -> Iterator[dict[str, Any]]:
    """The annotations for `task`: those for every task first, its own after them, so that they win."""
    sources = list(anno)
    asked: tuple[Callable[[Any], Any], ...] = (lambda a: a.annotate_any(), lambda a: a.annotate(task))
    for ask in asked:
        found = next((got for got in map(ask, sources) if got), None)
        if found:
            yield found


def annotate(task: type[Task[..., Any]], annotations: Iterable[Any]) -> None:
    """Set the annotations on a task class; a name with `@` in front wraps the method of that name."""
    for attributes in resolve_all(annotations, task):
        for name, value in attributes.items():
            if name.startswith("@"):
                task.add_around(name[1:], value)
            else:
                setattr(task, name, value)
