"""Warnings about what will go away, by hand or on a function or property."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable as _Callable
from typing import Any

from ..exceptions import CDeprecationWarning, CPendingDeprecationWarning

__all__ = ("Callable", "Property", "warn")


def warn(
    description: str | None = None,
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    stacklevel: int = 2,
) -> None:
    """Warn that something goes away in version `removal`, or will be deprecated in version `deprecation`."""
    if deprecation is not None:
        text = f"{description} will be deprecated in version {deprecation} and removed in version v{removal}."
        category: type[Warning] = CPendingDeprecationWarning
    else:
        text = f"{description} is deprecated and will be removed in version {removal}."
        category = CDeprecationWarning
    warnings.warn(f"{text} {alternative or ''}".rstrip(), category, stacklevel=stacklevel + 1)


def Callable(  # noqa: N802 (Celery's name)
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> _Callable[[_Callable[..., Any]], _Callable[..., Any]]:
    """A decorator: warn whenever the function is called."""

    def decorate(fun: _Callable[..., Any]) -> _Callable[..., Any]:
        @functools.wraps(fun)
        def warning(*args: Any, **kwargs: Any) -> Any:
            warn(description or fun.__qualname__, deprecation, removal, alternative, stacklevel=3)
            return fun(*args, **kwargs)

        return warning

    return decorate


def Property(  # noqa: N802 (Celery's name)
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> _Callable[[_Callable[..., Any]], property]:
    """A decorator: a property that warns whenever it is read."""

    def decorate(fun: _Callable[..., Any]) -> property:
        return property(Callable(deprecation, removal, alternative, description)(fun), doc=fun.__doc__)

    return decorate
