"""Canvas that is run here and now (`apply`, `task_always_eager`), with the outcome that workers would give it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celerylite import states
from celerylite.canvas.errbacks import called_in_place
from celerylite.canvas.signatures import Signature, maybe_signature
from celerylite.context import Context
from celerylite.exceptions import ChordError
from celerylite.result import EagerResult
from celerylite.result_set import ResultSet
from celerylite.utils.functional import maybe_list

if TYPE_CHECKING:
    from celerylite.canvas.chords import _chord
    from celerylite.canvas.groups import group

__all__ = ("apply_chord", "apply_group", "apply_steps")


def apply_group(members: group, group_id: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Run the members one after the other."""
    called = members._flat(args, kwargs)
    return members.app.GroupResult(group_id, [member.apply(*given, **options) for member, *given in called])


def apply_steps(steps: list[Any], args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Run the steps of a chain; one that fails makes all that follow fail."""
    first, *later = steps
    result = first.apply(args, kwargs, **options)
    for position, step in enumerate(later):
        before, state = result, result.state
        if state in states.PROPAGATE_STATES:
            return _failed(later[position:], before, before.result)
        if state != states.SUCCESS:  # ignored or rejected: nothing follows
            return before
        result = step.apply((before.result,))
        _eldest(result).parent = before
    return result


def apply_chord(sig: _chord, body: Signature, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Run the header, then the body with its results; where a part has failed, the body fails."""
    header = sig._header_group().apply(args, kwargs, **options)
    parts = list(_parts(header.results))
    error = next((part for part in parts if part.state in states.PROPAGATE_STATES), None)
    if error is not None:
        result = _fail(body, ChordError(f"Dependency {error.id} raised {error.result!r}"), call_errbacks=True)
    else:
        result = body.apply((_values(header.results),))
    _eldest(result).parent = header
    return result


def _parts(results: Iterable[Any]) -> Iterator[Any]:
    for result in results:
        if isinstance(result, ResultSet):
            yield from _parts(result.results)
        else:
            yield result


def _values(results: Iterable[Any]) -> list[Any]:
    """Of each part its value: a list where the part ends with a group."""
    return [_values(result.results) if isinstance(result, ResultSet) else result.result for result in results]


def _eldest(result: Any) -> Any:
    while result.parent is not None:
        result = result.parent
    return result


def _failed(steps: Iterable[Signature], before: Any, exc: Any) -> Any:
    for step in steps:
        result = _fail(step, exc, call_errbacks=False)
        _eldest(result).parent = before
        before = result
    return before


def _fail(sig: Signature, exc: Any, *, call_errbacks: bool) -> Any:
    """The result of a signature that is not run because what came before has failed."""
    kind = sig.get("subtask_type")
    if kind == "chain":
        first, *later = sig._prepared()  # type: ignore[attr-defined]
        for errback in maybe_list(sig["options"].get("link_error")) or ():
            first.link_error(errback)
        result = _fail(first, exc, call_errbacks=call_errbacks)
        return _failed(later, result, exc)
    if kind == "group":
        results = [_fail(member, exc, call_errbacks=call_errbacks) for member, _, _ in sig._flat()]  # type: ignore[attr-defined]
        return sig.app.GroupResult(sig.freeze().id, results)
    if kind == "chord":
        return _fail(maybe_signature(sig.body, app=sig._app), exc, call_errbacks=call_errbacks)  # type: ignore[attr-defined]
    task_id = sig.freeze().id
    if call_errbacks:
        for errback in maybe_list(sig["options"].get("link_error")) or ():
            _call_errback(maybe_signature(errback, app=sig.app), sig, exc)
    return EagerResult(task_id, exc, states.FAILURE, name=sig["task"])


def _call_errback(errback: Signature, sig: Signature, exc: Any) -> None:
    if called_in_place(errback):
        request = Context(id=sig.id, task=sig["task"], args=sig["args"], kwargs=sig["kwargs"], is_eager=True)
        errback(request, exc, None)
    else:
        errback.apply((sig.id,))
