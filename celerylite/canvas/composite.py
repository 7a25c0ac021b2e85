"""What chain, group and chord have in common: they are made of signatures, and sent as several messages in one trip."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from celerylite.canvas.dispatch import current
from celerylite.canvas.signatures import Signature, maybe_signature

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("Composite", "as_list", "eldest_of", "following", "without_place")


_PLACE = frozenset((
    "add_to_parent", "chain", "chord", "group_id", "group_index", "link", "link_error", "parent_id", "root_id",
    "task_id",
))  # fmt: skip


#: Keys of `kwargs` that are no arguments.
_MEMBERS = frozenset(("body", "header", "kwargs", "tasks"))


class Composite(Signature):
    """A signature that is made of others."""

    def __call__(self, *partial_args: Any, **options: Any) -> Any:
        """Send it."""
        return self.apply_async(partial_args, **options)

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """Send it, in one trip."""
        app = self.app
        if app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        outer = current.get()
        if outer is not None:
            return self._emit(outer, args, kwargs, options)
        producer, connection = options.pop("producer", None), options.pop("connection", None)
        dispatch = self.collect(args, kwargs, **options)
        app._send_dispatch(dispatch, producer, connection)
        return dispatch.result

    def _merged(self, args: Any, kwargs: Any, options: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
        """Arguments for the first tasks, and options; what is None among them was only noted by Celery."""
        own = self["options"]
        merged = {**own, **options, **{key: own[key] for key in self._IMMUTABLE_OPTIONS if own.get(key)}}
        for key in [key for key, value in merged.items() if value is None]:
            del merged[key]
        args, kwargs = tuple(args or ()), kwargs or {}
        own_kwargs = {key: value for key, value in self["kwargs"].items() if key not in _MEMBERS}
        if self["immutable"]:
            return tuple(self["args"]), own_kwargs, merged
        return args + tuple(self["args"]), {**own_kwargs, **kwargs}, merged

    def _stamp_each(self, tasks: Iterable[Any], visitor: Any, append_stamps: bool, headers: dict[str, Any]) -> None:
        for task in tasks:
            # Each has its own dict: what one visitor's method changes is not seen by the next part.
            task.stamp(visitor, append_stamps, **headers)

    def _copied_kwargs(self) -> dict[str, Any]:
        """The `kwargs` of a copy: signatures in it are copied too."""
        raise NotImplementedError

    def clone(self, args: Any = None, kwargs: Any = None, **opts: Any) -> Any:
        """A copy, with more arguments and options."""
        own = self["options"]
        opts = {**own, **opts, **{key: own[key] for key in self._IMMUTABLE_OPTIONS if own.get(key)}}
        args = tuple(args) if args and not self["immutable"] else ()
        return self._copied(args + tuple(self["args"]), {**self._copied_kwargs(), **(kwargs or {})}, opts)

    partial = clone


def as_list(signatures: Iterable[Any], app: Celery | None = None) -> list[Any]:
    """Signatures of an iterable; dicts that describe some become them. TypeError for anything else."""
    if isinstance(signatures, str | bytes | dict):
        raise TypeError(f"expected signatures, not {signatures!r}")
    found = []
    for task in signatures:
        if not isinstance(task, Signature):
            task = maybe_signature(task, app=app)
        if not isinstance(task, Signature):
            raise TypeError(f"expected a signature (as task.s() gives), not {task!r}")
        found.append(task)
    return found


def without_place(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a call without what says where in a canvas it stands: for calls that run at once."""
    return {key: value for key, value in options.items() if key not in _PLACE}


def following(chain: Iterable[Any], app: Celery | None) -> list[Signature]:
    """The steps in a `chain` option, in the order in which they run (it has the next one last)."""
    return [maybe_signature(step, app=app) for step in reversed(list(chain))]


def eldest_of(result: Any) -> Any:
    """The result without a parent that the others of a chain go back to."""
    while result.parent is not None:
        result = result.parent
    return result
