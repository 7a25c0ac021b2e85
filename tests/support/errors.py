"""Exceptions of the project under test, which both sides can import."""

from __future__ import annotations


class Broken(Exception):
    """Carries two arguments."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class Expected(Exception):
    """Listed in the `throws` of a task."""


class Odd(Exception):
    """Does not pass its arguments on to Exception, so it cannot be made again from what is stored."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code}: {detail}")


class Unprintable(Exception):
    """Fails when somebody looks at it."""

    def __str__(self) -> str:
        raise RuntimeError("no str")

    __repr__ = __str__


class StepFailed(Exception):
    """A task of a workflow failed, as it was told to; its argument is the label."""
