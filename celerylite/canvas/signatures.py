"""Signatures: the call of a task as a value that can be passed on, stored and combined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableSequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from celerylite._state import get_current_app
from celerylite.canvas.dispatch import Dispatch
from celerylite.canvas.stamping import with_stamps
from celerylite.utils import uuid
from celerylite.utils.functional import maybe_list
from celerylite.utils.objects import getitem_property

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.message import Message
    from celerylite.result import AsyncResult

__all__ = ("Signature", "maybe_signature", "maybe_subtask", "signature", "subtask")

#: Options that a signature keeps once it has them: its group and its stamps belong to where it was built.
_KEPT_OPTIONS = frozenset(("group_id", "stamped_headers"))


class Signature(dict[str, Any]):
    """The arguments and options of one call of a task.

    `signature(task or name, args, kwargs, options)`; more keywords are options too. `immutable` signatures
    take no arguments from the tasks that they follow.
    """

    #: Kinds of signature by `subtask_type`; `register_type` adds to it.
    TYPES: ClassVar[dict[str, Any]] = {}
    _IMMUTABLE_OPTIONS: ClassVar[frozenset[str]] = _KEPT_OPTIONS

    _app: Celery | None = None
    _type: Any = None

    task: Any = getitem_property("task", "The name of the task.")
    args: Any = getitem_property("args", "Positional arguments.")
    kwargs: Any = getitem_property("kwargs", "Keyword arguments.")
    options: Any = getitem_property("options", "Options of the call, as for `apply_async`.")
    subtask_type: Any = getitem_property("subtask_type", "The kind of signature; None is one task.")
    immutable: Any = getitem_property("immutable", "Whether it refuses further arguments.")
    id: Any = getitem_property("options.task_id", "The id that its call will have, when frozen.")
    parent_id: Any = getitem_property("options.parent_id", "The id of the task that called it.")
    root_id: Any = getitem_property("options.root_id", "The id of the first task of the whole.")

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[type[Signature]], type[Signature]]:
        """Decorator: signatures of this `subtask_type` are made by the class."""

        def register(subclass: type[Signature]) -> type[Signature]:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, d: Any, app: Celery | None = None) -> Signature:
        """The signature that a dict describes, of the class that its kind asks for."""
        kind = d.get("subtask_type")
        if kind:
            target = cls.TYPES[kind]
            if target is not cls:
                return target.from_dict(d, app=app)
        return Signature(d, app=app)

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Celery | None = None,
        **ex: Any,
    ) -> None:
        self._app = app
        if isinstance(task, dict):
            super().__init__(task)
            return
        name = task
        if task is not None and not isinstance(task, str):
            name, self._type = task.name, task
        super().__init__(
            task=name,
            args=tuple(args or ()),
            kwargs=kwargs or {},
            options=dict(options or {}, **ex),
            subtask_type=subtask_type,
            immutable=immutable,
        )

    # -- calling

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Call the task here and now, directly."""
        args, kwargs, _ = self._merge(partial_args, partial_kwargs, None)
        return self.type(*args, **kwargs)

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> AsyncResult[Any]:
        """`apply_async` with arguments only."""
        return self.apply_async(partial_args, partial_kwargs)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run it in this process, and return an EagerResult."""
        args, kwargs, options = self._merge(args, kwargs, options)
        return self.type.apply(args, kwargs, **options)

    def apply_async(
        self, args: Any = None, kwargs: Any = None, route_name: str | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Send it. Arguments stand before those of the signature, options over them."""
        args, kwargs, options = self._merge(args or (), kwargs or {}, options)
        if route_name is not None:
            options["route_name"] = route_name
        return self._apply_async(args, kwargs, **options)

    def collect(self, args: Any = None, kwargs: Any = None, **options: Any) -> Dispatch:
        """What `apply_async` would send, for somebody else to send together with other things.

        Nothing here is changed by it. Whoever sends the messages makes the chords known before them
        (`backend.start_chords`).
        """
        dispatch = Dispatch()
        dispatch.result = self._emit(dispatch, args, kwargs, options)
        return dispatch

    def _emit(self, dispatch: Dispatch, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Add what `apply_async` sends to `dispatch`; returns the result."""
        args, kwargs, options = self._merge(args, kwargs, options)
        return self.app._emit_call(dispatch, self._type or self["task"], args, kwargs, options)

    def as_message(self, args: Any = None, kwargs: Any = None, **options: Any) -> Message:
        """The call of a single task as a message that somebody else sends, together with other things."""
        return self.collect(args, kwargs, **options).messages[0]

    def _merge(
        self, args: Any = None, kwargs: Any = None, options: Any = None, force: bool = False
    ) -> tuple[Any, Any, dict[str, Any]]:
        args, kwargs, options = args or (), kwargs or {}, options or {}
        own = self["options"]
        merged = dict(own)
        merged.update(
            (key, value) for key, value in options.items() if key not in _KEPT_OPTIONS or not own.get(key)
        )
        if self["immutable"] and not force:
            return self["args"], self["kwargs"], merged
        return (
            tuple(args) + tuple(self["args"]) if args else self["args"],
            dict(self["kwargs"], **kwargs) if kwargs else self["kwargs"],
            merged,
        )

    # -- copies and options

    def clone(self, args: Any = None, kwargs: Any = None, **opts: Any) -> Signature:
        """A copy, with more arguments and options."""
        if args or kwargs or opts:
            args, kwargs, opts = self._merge(args or (), kwargs or {}, opts)
        else:
            args, kwargs, opts = self["args"], self["kwargs"], self["options"]
        return self._copied(tuple(args), dict(kwargs), opts)

    partial = clone

    def _copied(self, args: Any, kwargs: dict[str, Any], options: dict[str, Any]) -> Any:
        copied = dict.__new__(type(self))
        dict.update(copied, self)
        copied["args"], copied["kwargs"] = args, kwargs
        # Callbacks must not be shared with the copy, nor theirs.
        copied["options"] = {key: _copy(value) for key, value in options.items()}
        copied._app, copied._type = self._app, self._type
        return copied

    def replace(self, args: Any = None, kwargs: Any = None, options: Any = None) -> Signature:
        """A copy with these in place of its own, where they are given."""
        copied = self.clone()
        for key, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                copied[key] = value
        return copied

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:
        """Set options, here; returns the signature itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self["options"].update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Choose whether it takes further arguments."""
        self["immutable"] = immutable

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> AsyncResult[Any]:
        """Fix the id of the call before it is made; returns the result it will have."""
        options = self["options"]
        task_id = options.get("task_id")
        if not task_id:
            task_id = options["task_id"] = _id or uuid()
        for key, value in (("root_id", root_id), ("parent_id", parent_id)):
            if value:
                options[key] = value
        if "reply_to" not in options and self.app.amqp.answers_by_queue:
            options["reply_to"] = self.app.thread_oid
        if group_id and "group_id" not in options:
            options["group_id"] = group_id
        if chord:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        return self.AsyncResult(task_id)

    _freeze = freeze

    def _parts(self) -> int:
        """How many tasks of it end last: what a chord counts of a member of its header."""
        return 1

    def _is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return False

    def _unfolded(self) -> Signature:
        """What it stands for in a chain or a group."""
        return self

    def _ends_in_group(self) -> bool:
        return False

    # -- combining

    def __or__(self, other: Any) -> Any:
        """`self | other`: `other` is called with the result."""
        # Chains, groups and chords are subclasses of this class, which knows them by their names only.
        return self.TYPES["chain"]._joined(self, other)

    def __ior__(self, other: Any) -> Any:  # a dict's would add the keys of the other
        return self.__or__(other)

    def __invert__(self) -> Any:
        """`~self`: send it and wait for the result."""
        return self.apply_async().get()

    # -- callbacks

    def link(self, callback: Any) -> Any:
        """Call `callback` with the result when the task has succeeded; returns the callback."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Call `errback` when the task has failed; returns the errback."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Signature:
        """As `link_error`, but returns the signature itself."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add a value to an option that is a list, once."""
        items = self._with_list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add values to an option that is a list."""
        self._with_list_option(key).extend(maybe_list(value))

    def _with_list_option(self, key: str) -> MutableSequence[Any]:
        items = self["options"].setdefault(key, [])
        if not isinstance(items, MutableSequence):
            items = self["options"][key] = [items]
        return items

    def flatten_links(self) -> list[Any]:
        """This signature and all callbacks under it."""
        found = [self]
        for link in maybe_list(self["options"].get("link")) or []:
            found.extend(maybe_signature(link, app=self._app).flatten_links())
        return found

    # -- stamps

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Signature:
        """Mark the call and its callbacks with headers that travel along."""
        self.stamp_links(visitor, append_stamps, **headers)
        given = with_stamps(headers, visitor.on_signature(self, **headers) if visitor is not None else None)
        return self.set(**self._stamp_headers(given, append_stamps, self_headers=False))

    def _stamp_headers(
        self,
        visitor_headers: Mapping[str, Any] | None = None,
        append_stamps: bool = False,
        self_headers: bool = True,
        **headers: Any,
    ) -> dict[str, Any]:
        given = {**headers, **(visitor_headers or {})}
        own = self["options"]
        names = list(maybe_list(given.pop("stamped_headers", None)) or given)
        # Newest first; a header that is there already keeps its one place.
        stamped = [*names, *(name for name in own.get("stamped_headers") or () if name not in names)]
        values = dict(given)
        if append_stamps:
            for name in values.keys() & own.keys():
                before = maybe_list(own[name])
                values[name] = [*(v for v in maybe_list(values[name]) if v not in before), *before]
        if self_headers:
            values = {**{name: own[name] for name in stamped if name in own}, **values}
        return {**values, "stamped_headers": stamped}

    def stamp_links(self, visitor: Any, append_stamps: bool = False, **headers: Any) -> None:
        """Mark the callbacks and errbacks."""
        for option, hook in (("link", "on_callback"), ("link_error", "on_errback")):
            linked = maybe_list(self["options"].get(option)) or []
            for position, link in enumerate(linked):
                link = maybe_signature(link, app=self._app)
                given = headers
                if visitor is not None:
                    given = with_stamps(headers, getattr(visitor, hook)(link, **headers))
                link.stamp(visitor, append_stamps, **given)
                linked[position] = link
            if linked:
                self["options"][option] = linked

    # -- as a value

    def election(self) -> Any:
        """Let the workers elect one that runs it."""
        task = self.type
        app = task.app
        task_id = self["options"].get("task_id") or uuid()
        self["options"]["task_id"] = task_id
        app.control.election(task_id, "task", self.clone(task_id=task_id))
        return task.AsyncResult(task_id)

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """The call as Python would write it."""
        args, kwargs, _ = self._merge(args, kwargs, {}, force=True)
        written = [repr(arg) for arg in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
        return f"{self['task']}({', '.join(written)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def items(self) -> Any:
        return super().items()

    @property
    def name(self) -> Any:
        return self["task"]

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        from copy import deepcopy  # only signatures that are copied deeply need it

        memo[id(self)] = self
        return deepcopy(dict(self), memo)

    @property
    def app(self) -> Celery:
        if self._app is None:
            self._app = self._type.app if self._type is not None else get_current_app()
        return self._app

    @cached_property
    def type(self) -> Any:
        """The task itself."""
        return self._type if self._type is not None else self.app.tasks[self["task"]]

    @cached_property
    def AsyncResult(self) -> Any:
        try:
            return self.type.AsyncResult
        except KeyError:  # a task of another project, called by name
            return self.app.AsyncResult

    @cached_property
    def _apply_async(self) -> Any:
        try:
            return self.type.apply_async
        except KeyError:  # as above
            return partial(self.app.send_task, self["task"])


def _copy(value: Any) -> Any:
    if isinstance(value, Signature):
        return value.clone()
    return [item.clone() if isinstance(item, Signature) else item for item in value] if type(value) is list else value


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature:
    """A signature: of a task or its name with arguments, or the one that a dict describes."""
    if isinstance(varies, dict):
        app = kwargs.get("app")
        if isinstance(varies, Signature):
            return varies.clone()
        return Signature.from_dict(varies, app=app)
    return Signature(varies, *args, **kwargs)


def maybe_signature(d: Any, app: Celery | None = None, clone: bool = False) -> Any:
    """`d` as a signature where it describes one; everything else as it is."""
    if isinstance(d, Signature):
        if clone:
            d = d.clone()
    elif isinstance(d, dict):
        d = signature(d, app=app)
    else:
        return d
    if app is not None:
        d._app = app
    return d


#: Older names.
subtask = signature
maybe_subtask = maybe_signature
