"""The task class of Django projects: calls that wait for the database transaction to be committed."""

from __future__ import annotations

import functools
from typing import Any, ParamSpec, TypeVar

from django.db import transaction

from celerylite.app.task import Task

__all__ = ("DjangoTask",)

P = ParamSpec("P")
R = TypeVar("R")


class DjangoTask(Task[P, R]):
    """A task that can be called when the current transaction is committed, and not at all when it is rolled
    back."""

    abstract = True

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """`delay`, when the transaction is committed."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(self, *args: Any, using: str | None = None, **kwargs: Any) -> None:
        """`apply_async`, when the transaction (of the database `using`) is committed."""
        transaction.on_commit(functools.partial(self.apply_async, *args, **kwargs), using=using)
