"""The two kinds of errbacks: called in the process of the task that failed, or sent as tasks of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celerylite.canvas.signatures import Signature

__all__ = ("called_in_place",)


def called_in_place(errback: Signature) -> bool:
    """Whether an errback is called with (request, exc, traceback); if not, it is sent with the id of what failed.

    Sent are tasks with `self`, unknown ones, and functions that have one argument left open by the signature.
    """
    task = errback.app.tasks.get(errback["task"])
    if task is None or hasattr(task.run, "__self__"):
        return False
    from inspect import Parameter, signature  # 10 ms, for errbacks only

    parameters = signature(task.__header__ or task.run).parameters.values()
    if any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    left = [each for each in parameters if each.kind in kinds and each.name not in errback["kwargs"]]
    return len(left) - len(errback["args"]) > 1
