"""Chains: signatures that are called one after the other, each with what the one before returned."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from celerylite._state import get_current_app
from celerylite.canvas.chords import _chord
from celerylite.canvas.composite import Composite, as_list, eldest_of, following, without_place
from celerylite.canvas.groups import group
from celerylite.canvas.signatures import Signature, maybe_signature
from celerylite.canvas.stamping import with_stamps
from celerylite.utils.functional import maybe_list
from celerylite.utils.objects import getitem_property

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.canvas.dispatch import Dispatch

__all__ = ("_chain", "chain")

#: Options of a chain that concern its end.
_FOR_THE_LAST = ("task_id", "group_id", "group_index", "chord")


@Signature.register_type(name="chain")
class _chain(Composite):  # noqa: N801 (Celery's name)
    """Steps that follow each other. A group that is followed by something is the header of a chord."""

    tasks: Any = getitem_property("kwargs.tasks", "The steps.")

    def __init__(self, *tasks: Any, **options: Any) -> None:
        steps: Any = tasks[0] if len(tasks) == 1 and not isinstance(tasks[0], dict) else tasks
        super().__init__("celery.chain", (), {"tasks": as_list(steps)}, **options)
        self.subtask_type = "chain"

    @classmethod
    def from_dict(cls, d: Any, app: Celery | None = None) -> _chain:
        """The chain that a dict describes."""
        made = _chain(*[maybe_signature(task, app=app) for task in d["kwargs"]["tasks"]], app=app, **d["options"])
        made["args"] = tuple(d.get("args") or ())
        made["kwargs"] = {**d["kwargs"], "tasks": made["kwargs"]["tasks"]}
        made["immutable"] = d.get("immutable", False)
        return made

    # -- combining

    @staticmethod
    def _joined(left: Signature, right: Any) -> Any:
        """`left | right`, for signatures of all kinds."""
        if not isinstance(right, Signature):
            return NotImplemented
        if isinstance(right, group) and not right.tasks and isinstance(left, group | _chain):
            return left  # `task | group() | body` however is a chord without parts, as in Celery
        if isinstance(left, group):
            return _after_group(left, right)
        right = _unrolled(right)
        if isinstance(left, _chord) and not (isinstance(right, _chain | group)):
            joined = left.clone()
            joined.body = joined.body | right
            return joined
        if not isinstance(left, _chain):
            return _chain(left, *_steps_of(right), app=left._app)
        return _after_chain(left, right)

    # -- calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it with these arguments."""
        return self.apply_async(args, kwargs)

    def _emit(self, dispatch: Dispatch, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        args, kwargs, options = self._merged(args, kwargs, options)
        steps = self._prepared()
        if not steps:
            return None
        links, errbacks = maybe_list(options.pop("link", None)), maybe_list(options.pop("link_error", None))
        rest = options.pop("chain", None)
        _link(steps, links, errbacks)
        end = steps[-1].freeze(**_frozen_with(options)) if len(steps) > 1 else None
        if rest:
            steps, end = _normal([*steps, *following(rest, self._app)]), None
        first, *later = steps
        results = _freeze_all(later, end)
        if later:
            options["chain"] = [*reversed(later)]
        return _with_parents(first._emit(dispatch, args, kwargs, options), results)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the steps in this process; returns the result of the last one."""
        from celerylite.canvas.eager import apply_steps  # lazy: few run canvas in their own process

        args, kwargs, options = self._merged(args, kwargs, options)
        steps = self._prepared()
        if not steps:
            return None
        _link(steps, maybe_list(options.get("link")), maybe_list(options.get("link_error")))
        steps[-1].freeze(options.get("task_id"))
        return apply_steps(steps, args, kwargs, without_place(options))

    def _prepared(self) -> list[Signature]:
        """Copies of the steps, as they will run."""
        app = self._app
        return _normal([maybe_signature(task, app=app, clone=True) for task in self.tasks])

    def _parts(self) -> int:
        for task in reversed(self.tasks):
            if not isinstance(task, _chain | group) or task.tasks:
                return task._unfolded()._parts()
        return 0

    def _is_empty(self) -> bool:
        return all(task._is_empty() for task in self.tasks)

    def _ends_in_group(self) -> bool:
        return bool(self.tasks) and self.tasks[-1]._ends_in_group()

    def unchain_tasks(self) -> list[Any]:
        """Copies of the steps, with what the chain says about callbacks and errors."""
        return _steps_of(self)

    # -- freezing

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of all steps; returns the result of the last one."""
        steps = self._prepared()
        if not steps:
            return None
        own_id = self["options"].get("task_id") or _id
        end = steps[-1].freeze(own_id, group_id, chord, root_id, parent_id, group_index)
        result = _with_parents(None, _freeze_all(steps, end))
        self.tasks = steps
        self["options"]["task_id"] = result.id
        return result

    _freeze = freeze

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Mark the calls of all steps, and their callbacks."""
        if visitor is not None:
            headers = with_stamps(headers, visitor.on_chain_start(self, **headers))
        self.stamp_links(visitor, append_stamps, **headers)
        self._stamp_each(self.tasks, visitor, append_stamps, headers)
        if visitor is not None:
            visitor.on_chain_end(self, **headers)
        return self

    # -- as a value

    def _copied_kwargs(self) -> dict[str, Any]:
        tasks = self["kwargs"]["tasks"]
        return {**self["kwargs"], "tasks": [maybe_signature(task, app=self._app, clone=True) for task in tasks]}

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}@{id(self):#x}: empty>"
        return " | ".join(repr(task) for task in self.tasks)

    @property
    def app(self) -> Any:
        """The app of the chain, or of its first step."""
        if self._app is None:
            first = self.tasks[0] if self.tasks else None
            self._app = first.app if isinstance(first, Signature) else get_current_app()
        return self._app


class chain(_chain):  # noqa: N801 (Celery's name)
    """`chain(a.s(), b.s())`, or with an iterable: the same as `a.s() | b.s()`."""

    def __new__(cls, *tasks: Any, **kwargs: Any) -> Any:
        if not kwargs and tasks and (len(tasks) > 1 or not isinstance(tasks[0], dict)):
            steps = as_list(tasks if len(tasks) > 1 else tasks[0])
            if all(type(step) is Signature for step in steps):
                return _chain(*steps)  # nothing to combine; `|` copies all steps at each step
            return reduce(or_, steps, _chain())
        return super().__new__(cls, *tasks, **kwargs)


# -- combining


def _steps_of(sig: Signature) -> list[Any]:
    """The steps of a chain, with the callbacks and errbacks of the chain itself; anything else is one step."""
    if not isinstance(sig, _chain):
        return [sig]
    errbacks = maybe_list(sig["options"].get("link_error")) or []
    steps = []
    for task in sig.tasks:
        step = task.clone()
        for errback in errbacks:
            step.link_error(errback)
        steps.append(step)
    if steps:
        for callback in maybe_list(sig["options"].get("link")) or []:
            _link_end(steps[-1], callback)
    return steps


def _unrolled(sig: Signature) -> Signature:
    """A group of one member is its member."""
    if isinstance(sig, group) and len(sig.tasks) == 1:
        return sig.tasks[0].clone()
    return sig


def _after_group(left: group, right: Signature) -> Any:
    return _chord(left, body=right.clone(), app=left._app)


def _after_chain(left: _chain, right: Signature) -> Any:
    steps, more = _steps_of(left), _steps_of(right)
    if isinstance(right, _chain) and steps and not all(type(step) is Signature for step in (steps[-1], *more)):
        return reduce(or_, more, left)
    if not steps:
        if len(more) == 1 and isinstance(right, group | _chord):
            return right
        return _chain(*more, app=left._app)
    last = steps[-1]
    if isinstance(last, group) and not isinstance(right, group):
        steps[-1] = _after_group(last, right)
        if len(steps) > 1 and isinstance(steps[-2], _chord):
            steps[-2:] = [steps[-2] | steps[-1]]
    elif isinstance(last, _chord) and not isinstance(right, _chord):
        steps[-1] = last.clone()
        steps[-1].body = last.body | right
    else:
        steps += more
    return _chain(*steps, app=left._app)


# -- the steps as they run


def _normal(tasks: Iterable[Any]) -> list[Any]:
    """Steps without chains among them, and without groups before others: those are headers of chords."""
    steps: list[Any] = []
    for task in reversed(_flat(tasks)):
        if steps and isinstance(task, group):
            task = _chord(task, body=steps.pop(0), app=task._app)
        if steps and task._ends_in_group():
            later = _normal([task.body, *steps])
            task.body = later[0] if len(later) == 1 else _chain(*later)
            steps = []
        steps.insert(0, task)
    return steps


def _flat(tasks: Iterable[Any]) -> list[Any]:
    flat: list[Any] = []
    for task in tasks:
        task = task._unfolded()
        if isinstance(task, _chain):
            flat += _flat(_steps_of(task))
        elif isinstance(task, _chord) and isinstance(task.body, _chain) and task.body.tasks:
            # What follows the first step of the body is a step like any other.
            body, *more = _flat(_steps_of(task.body))
            task.body = body
            flat += [task, *more]
        else:
            flat.append(_unrolled(task))
    if len(flat) > 1:
        flat = [task for task in flat if not (isinstance(task, group) and not task.tasks)] or flat[:1]
    return flat


def _frozen_with(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options for the last step, as `freeze` wants them."""
    taken = {key: options.pop(key, None) for key in _FOR_THE_LAST}
    taken["_id"] = taken.pop("task_id")
    return taken


def _link(steps: list[Signature], links: Any, errbacks: Any) -> None:
    for callback in links or ():
        _link_end(steps[-1], callback)
    for errback in errbacks or ():
        for step in steps:
            step.link_error(errback)


def _link_end(last: Signature, callback: Any) -> None:
    """The callback of a chain that ends with a group is called for each member, with its value, as in Celery."""
    if isinstance(last, group):
        last._link_each(callback)
    else:
        last.link(callback)


def _freeze_all(steps: list[Signature], end: Any) -> list[Any]:
    """The results of the steps; `end` is that of the last one, where it has been frozen: each time costs its size."""
    if end is None:
        return [step.freeze() for step in steps]
    return [*(step.freeze() for step in steps[:-1]), end]


def _with_parents(first: Any, results: list[Any]) -> Any:
    """The last result, with those before it as its parents."""
    before = first
    for result in results:
        if before is not None:
            eldest_of(result).parent = before
        before = result
    return before
