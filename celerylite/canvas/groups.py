"""Groups: signatures that are called together, and give a `GroupResult`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from celerylite._state import get_current_app, get_current_worker_task
from celerylite.canvas.composite import Composite, as_list, following, without_place
from celerylite.canvas.signatures import Signature, maybe_signature
from celerylite.canvas.stamping import with_stamps
from celerylite.utils.functional import maybe_list
from celerylite.utils.objects import getitem_property
from celerylite.utils.uuids import uuid

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.canvas.dispatch import Dispatch
    from celerylite.result_set import GroupResult

__all__ = ("group",)


@Signature.register_type()
class group(Composite):  # noqa: N801 (Celery's name)
    """`group(a.s(), b.s())`, or with an iterable: all members are called at once, with the same arguments.

    A group in a group is part of it. Where something follows a group, it is the header of a chord.
    """

    tasks: Any = getitem_property("kwargs.tasks", "The members.")

    def __init__(self, *tasks: Any, **options: Any) -> None:
        members: Any = tasks
        if len(tasks) == 1:
            members = tasks[0]
            if isinstance(members, group):
                members = members.tasks
            if isinstance(members, Signature):
                members = [members.clone()]
        if not isinstance(members, list | tuple) or not all(isinstance(task, Signature) for task in members):
            members = as_list(members)
        elif members is not tasks:
            members = members[:]  # the caller's list stays the caller's
        super().__init__("celery.group", (), {"tasks": members}, **options)
        self.subtask_type = "group"

    @classmethod
    def from_dict(cls, d: Any, app: Celery | None = None) -> group:
        """The group that a dict describes."""
        tasks = d["kwargs"]["tasks"]
        made = cls([maybe_signature(task, app=app) for task in tasks], app=app, **d["options"])
        made["args"] = tuple(d.get("args") or ())
        made["kwargs"] = {**d["kwargs"], "tasks": tuple(made.tasks) if isinstance(tasks, tuple) else made.tasks}
        made["immutable"] = d.get("immutable", False)
        return made

    def __len__(self) -> int:
        return len(self.tasks)

    # -- calling

    def _emit(self, dispatch: Dispatch, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        if options.get("link"):
            raise TypeError("Cannot add link to group: use a chord")
        if options.get("link_error"):
            raise TypeError("Cannot add link to group: do that on individual tasks")
        if self["options"].get("link") or self["options"].get("link_error"):
            return self._handed_down()._emit(dispatch, args, kwargs, options)
        args, kwargs, options = self._merged(args, kwargs, options)
        rest = options.pop("chain", None)
        if rest:
            # Celery gives each member what follows, so that it runs as often as there are members.
            header = group([*self.tasks], app=self._app, task_id=options.pop("task_id", None))
            return self.TYPES["chain"](header, *following(rest, self._app))._emit(dispatch, args, kwargs, options)
        group_id = options.pop("task_id", None) or uuid()
        add_to_parent = options.pop("add_to_parent", True)
        result = self._emit_members(dispatch, group_id, args, kwargs, options)
        parent = get_current_worker_task() if add_to_parent else None
        if parent is not None:
            parent.add_trail(result)
        return result

    def _handed_down(self) -> group:
        """A copy whose members have the callbacks that stand in the group's options; Celery writes them there."""
        copied = self.clone()
        callbacks, errbacks = (maybe_list(copied["options"].pop(key, None)) for key in ("link", "link_error"))
        for callback in callbacks or ():
            copied._link_each(callback)
        for errback in errbacks or ():
            copied.link_error(errback)
        return copied

    def _link_each(self, callback: Any) -> None:
        """Call `callback` for each member, with its value."""
        for member in self.tasks:
            if isinstance(member, group):
                member._link_each(callback)
            else:
                member.link(callback)

    def _emit_members(
        self, dispatch: Dispatch, group_id: str, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> GroupResult:
        index = options.pop("group_index", None) or 0
        outer = options.pop("group_id", None)
        # As the end of a chain in a chord's header, the members are parts of that chord.
        options["group_id"] = outer or group_id
        options["add_to_parent"] = False
        results = []
        for member, member_args, member_kwargs in self._flat(args, kwargs):
            own = member["options"].get("group_index") if outer else None
            result = member._emit(
                dispatch, member_args, member_kwargs, {**options, "group_index": index if own is None else own}
            )
            index += 1 if type(member) is Signature else member._parts()
            results.append(result)
        return self.app.GroupResult(group_id, results)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the members in this process; returns a `GroupResult`."""
        from celerylite.canvas.eager import apply_group  # lazy: few run canvas in their own process

        args, kwargs, options = self._merged(args, kwargs, options)
        group_id = options.pop("task_id", None) or uuid()
        return apply_group(self, group_id, args, kwargs, without_place(options))

    def _flat(self, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Iterator[tuple[Signature, Any, Any]]:
        """The members with the arguments they are to be given; those of groups among them in their place."""
        app = self._app
        for task in self.tasks:
            member = (task if isinstance(task, Signature) else maybe_signature(task, app=app))._unfolded()
            if isinstance(member, group):
                more_args, more_kwargs, _ = member._merged(args, kwargs, {})
                yield from member._flat(more_args, more_kwargs)
            elif type(member) is Signature or not member._is_empty():
                yield member, args, kwargs

    def _parts(self) -> int:
        return sum(1 if type(member) is Signature else member._parts() for member, _, _ in self._flat())

    def _is_empty(self) -> bool:
        return all(task._is_empty() for task in self.tasks)

    def _ends_in_group(self) -> bool:
        return True

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
        """Fix the ids of the group and of its members; returns the `GroupResult` it will have."""
        options = self["options"]
        own_id = options.get("task_id") or _id or uuid()
        options["task_id"] = own_id
        ids = {"root_id": root_id, "parent_id": parent_id, "group_id": group_id}
        # The chord stands here once: a copy in each member would make nested chords grow beyond measure.
        given = {**ids, "chord": chord, "group_index": group_index if group_id else None}
        options.update((key, value) for key, value in given.items() if value is not None)
        members, results, index = [], [], group_index or 0
        for member, args, kwargs in self._flat():
            member = member.clone(args, kwargs)  # one signature may be in a group more than once
            results.append(member.freeze(group_index=index, **ids))
            members.append(member)
            index += member._parts()
        self.tasks = members
        return self.app.GroupResult(own_id, results)

    _freeze = freeze

    # -- options

    def set_immutable(self, immutable: bool) -> None:
        """Choose whether the members take further arguments."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Call `callback` with the result of the first member; a chord's body gets all of them."""
        return self.tasks[0].link(maybe_signature(callback, app=self._app, clone=True).set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Call `errback` for each member that fails."""
        errback = maybe_signature(errback)
        for task in self.tasks:
            task.link_error(errback.clone())
        return errback

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Mark the calls of all members, and their callbacks."""
        if visitor is not None:
            headers = with_stamps(headers, visitor.on_group_start(self, **headers))
        self.stamp_links(visitor, append_stamps, **headers)
        self._stamp_each(self.tasks, visitor, append_stamps, headers)
        if visitor is not None:
            visitor.on_group_end(self, **headers)
        return self

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Give each member a countdown of its own: `start` seconds, and `step` more for each, up to `stop`."""
        for position, task in enumerate(self.tasks):
            seconds = start + position * step
            task.set(countdown=seconds if stop is None else min(seconds, stop))
        return self

    # -- as a value

    def _copied_kwargs(self) -> dict[str, Any]:
        tasks = self["kwargs"]["tasks"]
        copies = [maybe_signature(task, app=self._app, clone=True) for task in tasks]
        return {**self["kwargs"], "tasks": tuple(copies) if isinstance(tasks, tuple) else copies}

    def __repr__(self) -> str:
        return f"group({self.tasks!r})" if self.tasks else "group(<empty>)"

    @property
    def app(self) -> Any:
        """The app of the group, or of its first member."""
        if self._app is None:
            first = next((task for task in self.tasks if isinstance(task, Signature)), None)
            self._app = first.app if first is not None else get_current_app()
        return self._app
