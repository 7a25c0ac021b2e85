"""One task over many arguments: `map`, `starmap` and `chunks`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from celerylite.canvas.groups import group
from celerylite.canvas.signatures import Signature, maybe_signature

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.canvas.dispatch import Dispatch

__all__ = ("_basemap", "chunks", "xmap", "xstarmap")


class _basemap(Signature):
    _task_name = "celery.map"

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        super().__init__(self._task_name, (), {"task": task, "it": _items(it)}, immutable=True, **options)

    @classmethod
    def from_dict(cls, d: Any, app: Celery | None = None) -> Signature:
        """The signature that a dict describes."""
        kwargs = d["kwargs"]
        made = cls(*cls._unpacked(kwargs, app), app=app, **d["options"])
        made["immutable"] = d.get("immutable", True)
        return made

    @classmethod
    def _unpacked(cls, kwargs: dict[str, Any], app: Celery | None) -> tuple[Any, ...]:
        return maybe_signature(kwargs["task"], app=app), kwargs["it"]


@Signature.register_type()
class xmap(_basemap):  # noqa: N801 (Celery's name)
    """`[task(x) for x in it]`, in one task."""

    _task_name = "celery.map"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(x) for x in {self.kwargs['it']!r}]"


@Signature.register_type()
class xstarmap(_basemap):  # noqa: N801 (Celery's name)
    """`[task(*x) for x in it]`, in one task."""

    _task_name = "celery.starmap"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(*x) for x in {self.kwargs['it']!r}]"


@Signature.register_type()
class chunks(Signature):  # noqa: N801 (Celery's name)
    """A `starmap` in several tasks, of `n` argument lists each."""

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        super().__init__("celery.chunks", (), {"task": task, "it": _items(it), "n": n}, immutable=True, **options)

    @classmethod
    def from_dict(cls, d: Any, app: Celery | None = None) -> chunks:
        """The chunks that a dict describes."""
        kwargs = d["kwargs"]
        made = cls(maybe_signature(kwargs["task"], app=app), kwargs["it"], kwargs["n"], app=app, **d["options"])
        made["immutable"] = d.get("immutable", True)
        return made

    def __call__(self, **options: Any) -> Any:
        """Send it."""
        return self.apply_async(**options)

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """Send it, as a group."""
        return self._unfolded().apply_async(args, kwargs, **options)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run it in this process, as a group."""
        return self._unfolded().apply(args, kwargs, **options)

    def _emit(self, dispatch: Dispatch, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        return self._unfolded()._emit(dispatch, args, kwargs, options)

    def _unfolded(self) -> group:
        return self.group().set(**self["options"])  # type: ignore[return-value]

    def group(self) -> group:
        """The chunks as a group of `starmap` signatures."""
        task, app = self.kwargs["task"], self._app
        parts = _parts_of(self.kwargs["it"], self.kwargs["n"])
        return group([xstarmap(task, part, app=app) for part in parts], app=app)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Celery | None = None) -> Any:
        """Send chunks at once; what the task `celery.chunks` does."""
        return cls(task, it, n, app=app)()


def _items(it: Iterable[Any]) -> Any:
    return it if isinstance(it, list | tuple) else list(it)


def _parts_of(it: Iterable[Any], n: int) -> Iterator[list[Any]]:
    items = iter(it)
    while part := list(islice(items, n)):
        yield part
