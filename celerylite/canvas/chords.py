"""Chords: a group (the header), and a signature (the body) that is called with all its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerylite._state import get_current_app
from celerylite.canvas.composite import Composite, as_list, eldest_of, following, without_place
from celerylite.canvas.dispatch import ChordStart
from celerylite.canvas.groups import group
from celerylite.canvas.signatures import Signature, maybe_signature
from celerylite.canvas.stamping import with_stamps
from celerylite.utils.objects import getitem_property
from celerylite.utils.uuids import uuid

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.canvas.dispatch import Dispatch

__all__ = ("_chord", "chord")

#: Options of a chord that concern what comes after its header.
_FOR_THE_BODY = ("chain", "chord", "group_id", "group_index", "link", "link_error", "task_id")
#: Options that concern the header only.
_FOR_THE_HEADER = (
    "add_to_parent", "connection", "countdown", "eta", "parent_id", "producer", "publisher", "result_cls", "router",
)  # fmt: skip


@Signature.register_type(name="chord")
class _chord(Composite):  # noqa: N801 (Celery's name)
    """`chord(header, body)`, or `chord(header)(body)`: when all of the header have returned, the body is called with
    the list of their results."""

    tasks: Any = getitem_property("kwargs.header", "The header's members.")
    body: Any = getitem_property("kwargs.body", "What is called with the results.")

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Any = None,
        kwargs: Any = None,
        app: Celery | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            task,
            args or (),
            {"kwargs": kwargs or {}, "header": _header(header, app), "body": maybe_signature(body, app=app)},
            app=app,
            **options,
        )
        self.subtask_type = "chord"

    @classmethod
    def from_dict(cls, d: Any, app: Celery | None = None) -> _chord:
        """The chord that a dict describes."""
        rest = dict(d["kwargs"])
        header, body, kwargs = rest.pop("header"), rest.pop("body", None), rest.pop("kwargs", None)
        made = _chord(header, body, args=tuple(d.get("args") or ()), kwargs=kwargs, app=app, **d["options"])
        made["kwargs"].update(rest)
        made["immutable"] = d.get("immutable", False)
        return made

    # -- calling

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send it, with this body."""
        return self.apply_async((), {"body": body} if body else {}, **options)

    def _emit(self, dispatch: Dispatch, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        args, kwargs, options = self._merged(args, kwargs, options)
        body, kwargs = self._given_body(kwargs)
        header = self._header_group()
        group_id = header["options"].get("task_id") or uuid()
        body, result = self._frozen_body(body, group_id, options)
        for key in _FOR_THE_BODY:
            options.pop(key, None)
        size = header._parts()
        if not size:
            self._lead(body, result, self.app.GroupResult(group_id, []))
            body._emit(dispatch, ([],), {}, options)
            return result
        start = ChordStart(group_id, size, None, body, options)  # type: ignore[arg-type]
        dispatch.chords.append(start)
        start.results = header._emit(dispatch, args, kwargs, {**options, "task_id": group_id, "chord": body})
        self._lead(body, result, start.results)
        return result

    def _lead(self, body: Signature, result: Any, header: Any) -> None:
        """The header's result is the parent of the body's; Celery gives it to the last step where that is a chain."""
        (result if body["subtask_type"] == "chain" else eldest_of(result)).parent = header

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run header and body in this process; returns the body's result."""
        from celerylite.canvas.eager import apply_chord  # lazy: few run canvas in their own process

        args, kwargs, options = self._merged(args, kwargs, options)
        body, kwargs = self._given_body(kwargs)
        body, _ = self._frozen_body(body, uuid(), options)
        return apply_chord(self, body, args, kwargs, without_place(options))

    def _given_body(self, kwargs: dict[str, Any]) -> tuple[Signature, dict[str, Any]]:
        """The body, and the keyword arguments of the header's members."""
        kwargs = dict(kwargs)
        body = maybe_signature(kwargs.pop("body", None) or self.body, app=self._app)
        if body is None:
            raise TypeError("a chord needs a body: chord(header)(body), or chord(header, body)")
        return body, {**self["kwargs"].get("kwargs", {}), **kwargs}

    def _header_group(self) -> group:
        header = self.tasks
        return header if isinstance(header, group) else group(header, app=self._app)

    def _frozen_body(self, body: Signature, group_id: str, options: dict[str, Any]) -> tuple[Signature, Any]:
        given = {key: value for key, value in options.items() if key not in _FOR_THE_HEADER}
        place = {key: given.pop(key, None) for key in ("group_id", "group_index", "chord")}
        task_id = given.pop("task_id", None)
        if "chain" in given and body._ends_in_group():
            body = self.TYPES["chain"](body, *following(given.pop("chain"), self._app), app=self._app)
        body = body.clone(**given)
        if not place["group_id"] and not body._ends_in_group():
            place["group_id"] = group_id  # as Celery notes it
        return body, body.freeze(task_id, **place)

    def _parts(self) -> int:
        return self.body._parts()

    def _ends_in_group(self) -> bool:
        return self.body._ends_in_group()

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
        """Fix the ids of the header and the body; returns the body's result."""
        header = self._header_group()
        header_result = header.freeze(parent_id=parent_id, root_id=root_id)
        self.tasks = header
        self["options"]["task_id"] = header_result.id
        if self.body is None:
            return header_result
        self.body = maybe_signature(self.body, app=self._app)
        result = self.body.freeze(_id, group_id, chord, root_id, None, group_index)
        eldest_of(result).parent = header_result
        return result

    _freeze = freeze

    # -- options

    def set_immutable(self, immutable: bool) -> None:
        """Choose whether the header takes further arguments."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Call `callback` with the body's result."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Call `errback` when the chord fails; with `task_allow_error_cb_on_chord_header`, for each part that does."""
        errback = maybe_signature(errback, app=self._app)
        if self.app.conf.task_allow_error_cb_on_chord_header:
            for task in self.tasks:
                task.link_error(errback.clone())
        self.body.link_error(errback)
        return errback

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Mark the calls of header and body, and their callbacks."""
        if visitor is not None:
            headers = with_stamps(headers, visitor.on_chord_header_start(self, **headers))
        self.stamp_links(visitor, append_stamps, **headers)
        tasks = self.tasks
        self._stamp_each(tasks.tasks if isinstance(tasks, group) else tasks, visitor, append_stamps, headers)
        if visitor is not None:
            visitor.on_chord_header_end(self, **headers)
        if self.body is not None:
            if visitor is not None:
                headers = with_stamps(headers, visitor.on_chord_body(self, **headers))
            # Without a visitor, Celery forgets the body.
            self._stamp_each([self.body], visitor, append_stamps, headers)
        return self

    def __length_hint__(self) -> int:
        return self._header_group()._parts()

    # -- as a value

    def _copied_kwargs(self) -> dict[str, Any]:
        own, app = self["kwargs"], self._app
        header = own["header"]
        return {
            **own,
            "header": header.clone()
            if isinstance(header, group)
            else [maybe_signature(task, app=app, clone=True) for task in header],
            "body": maybe_signature(own["body"], app=app, clone=True),
        }

    def __repr__(self) -> str:
        if not self.body:
            return f"<chord without body: {self.tasks!r}>"
        steps = getattr(self.body, "tasks", None) if self.body.get("subtask_type") == "chain" else None
        if not steps:
            return "%" + self.body.reprcall(self.tasks)
        later = "".join(f" | {step!r}" for step in steps[1:])
        return f"%({steps[0].reprcall(self.tasks)}{later})"

    @property
    def app(self) -> Any:
        """The app of the chord, of its body, or of its header."""
        if self._app is None:
            body = self.body
            if isinstance(body, Signature) and (body._app is not None or body._type is not None):
                self._app = body.app
            else:
                first = next((task for task in self.tasks if isinstance(task, Signature)), None)
                self._app = first.app if first is not None else get_current_app()
        return self._app


chord = _chord


def _header(header: Any, app: Celery | None) -> Any:
    header = maybe_signature(header, app=app)
    if isinstance(header, group):
        return header if header["options"].get("task_id") else header.tasks
    if isinstance(header, Signature):
        return [header]
    if isinstance(header, list | tuple) and all(isinstance(task, Signature) for task in header):
        return header
    return as_list(header, app)
