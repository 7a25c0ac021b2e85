"""Would this call be right? Tasks check their arguments when they are called, not when they run.

The errors read like Python's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspect import Signature

__all__ = ("head_from_fun",)


def head_from_fun(fun: Callable[..., Any], bound: bool = False) -> Callable[..., None]:
    """A function that raises TypeError where `fun` could not be called like that, and does nothing else.

    `bound`: the first parameter is filled in by someone else.
    """
    from inspect import signature  # 10 ms; the first check of arguments pays

    wanted = signature(fun)
    if bound:
        wanted = wanted.replace(parameters=list(wanted.parameters.values())[1:])
    name = getattr(fun, "__name__", type(fun).__name__)
    least, most = _positional_range(wanted)

    def head(*args: Any, **kwargs: Any) -> None:
        if not kwargs and least <= len(args) <= most:
            return
        try:
            wanted.bind(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"{name}() {_complaint(wanted, args, kwargs) or exc}") from None

    return head


def _positional_range(wanted: Signature) -> tuple[int, float]:
    """How many positional arguments make a right call all by themselves; (1, 0) where none do."""
    least, most = 0, 0.0
    for parameter in wanted.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = float("inf")
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            return 1, 0
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
    return least, most


def _complaint(wanted: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """What Python would say is wrong with the call."""
    parameters = list(wanted.parameters.values())
    kinds = {p.kind for p in parameters}
    first = parameters[0] if parameters else None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    taken = {p.name for p in positional[: len(args)]}
    for key in kwargs:
        if key in taken and key in named:
            return f"got multiple values for argument {key!r}"
        if key not in named and (first is None or first.VAR_KEYWORD not in kinds):
            return f"got an unexpected keyword argument {key!r}"
    if len(args) > len(positional) and (first is None or first.VAR_POSITIONAL not in kinds):
        return _too_many(positional, len(args))
    missing = [p.name for p in positional[len(args) :] if p.default is p.empty and p.name not in kwargs]
    if missing:
        return _missing("positional", missing)
    missing = [
        p.name
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in kwargs
    ]
    return _missing("keyword-only", missing) if missing else None


def _too_many(positional: list[Any], given: int) -> str:
    least = sum(p.default is p.empty for p in positional)
    takes = str(len(positional)) if least == len(positional) else f"from {least} to {len(positional)}"
    plural = "" if takes == "1" else "s"
    verb = "was" if given == 1 else "were"
    return f"takes {takes} positional argument{plural} but {given} {verb} given"


def _missing(kind: str, names: Iterable[str]) -> str:
    quoted = [repr(name) for name in names]
    if len(quoted) < 3:
        listed = " and ".join(quoted)
    else:
        listed = ", ".join(quoted[:-1]) + f", and {quoted[-1]}"
    plural = "" if len(quoted) == 1 else "s"
    return f"missing {len(quoted)} required {kind} argument{plural}: {listed}"
