"""Tasks with `pydantic=True`: arguments become models before the task runs, the returned model becomes a
dict.

Imported only for such tasks; pydantic is an optional dependency.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celerylite.exceptions import ImproperlyConfigured

try:
    from pydantic import BaseModel
except ImportError as exc:
    raise ImproperlyConfigured(
        "pydantic=True needs the package pydantic: pip install celerylite[pydantic]"
    ) from exc

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("dumper", "wrapper")


class Models:
    """The models among the parameters and the return value of one function, and how they are read and
    written."""

    def __init__(
        self,
        app: Celery,
        fun: Callable[..., Any],
        name: str,
        strict: bool,
        context: dict[str, Any] | None,
        dump_kwargs: dict[str, Any] | None,
    ) -> None:
        hints = typing.get_type_hints(fun)
        self.signature = inspect.signature(fun)
        self.returned = _model(hints.pop("return", None))
        self.parameters = {key: model for key, hint in hints.items() if (model := _model(hint)) is not None}
        self.strict = strict
        self.context = {**(context or {}), "celery_app": app, "celery_task_name": name}
        self.dump_kwargs = {"mode": "json", **(dump_kwargs or {})}

    def read(self, bound: inspect.BoundArguments) -> None:
        """Turn arguments into the models that their parameters ask for; None stays."""
        for name, value in bound.arguments.items():
            model = self.parameters.get(name)
            if model is not None and value is not None:
                bound.arguments[name] = self._validated(model, value)

    def _validated(self, model: type[BaseModel], value: Any) -> BaseModel:
        return model.model_validate(value, strict=self.strict or None, context=self.context)

    def written(self, value: Any) -> Any:
        """The returned model as a dict, where it is the one that was promised."""
        if self.returned is not None and isinstance(value, self.returned):
            return value.model_dump(**self.dump_kwargs)
        return value

    def sent(self, name: str, value: Any) -> Any:
        """A model as it is sent: dumped, if the task will get an equal model back; else as it is."""
        model = self.parameters.get(name)
        if model is None or not isinstance(value, BaseModel) or hasattr(value, "__json__"):
            return value
        try:
            dumped = value.model_dump(**self.dump_kwargs)
            return dumped if self._validated(model, dumped) == value else value
        except Exception:  # user code in validators; the serializer then says what it thinks of the model
            return value


def _model(hint: Any) -> type[BaseModel] | None:
    """The model that a type hint means: the model itself, or Optional of it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        some = [one for one in typing.get_args(hint) if one is not type(None)]
        if len(some) != 1 or len(some) == len(typing.get_args(hint)):
            return None
        hint = some[0]
    return hint if inspect.isclass(hint) and issubclass(hint, BaseModel) else None


def wrapper(
    app: Celery,
    fun: Callable[..., Any],
    name: str,
    strict: bool = False,
    context: dict[str, Any] | None = None,
    dump_kwargs: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """The function, with models read from what arrives and written to what is returned."""
    models = Models(app, fun, name, strict, context, dump_kwargs)

    @functools.wraps(fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        bound = models.signature.bind(*args, **kwargs)
        models.read(bound)
        return models.written(fun(*bound.args, **bound.kwargs))

    return run


def dumper(
    app: Celery,
    fun: Callable[..., Any],
    name: str,
    bind: bool,
    strict: bool = False,
    context: dict[str, Any] | None = None,
    dump_kwargs: dict[str, Any] | None = None,
) -> Callable[..., tuple[Any, Any]]:
    """What turns the models of a call into what is sent."""
    models = Models(app, fun, name, strict, context, dump_kwargs)

    def dump(args: Any, kwargs: Any, options: dict[str, Any]) -> tuple[Any, Any]:
        if options.get("serializer") == "pickle" or not _has_models(args, kwargs):
            return args, kwargs
        names = list(models.signature.parameters)[1 if bind else 0 :]
        named = dict(zip(names, args or (), strict=False))
        sent = [
            models.sent(names[i], value) if i < len(named) else value for i, value in enumerate(args or ())
        ]
        return list(sent) if isinstance(args, list) else tuple(sent), {
            key: models.sent(key, value) for key, value in (kwargs or {}).items()
        }

    return dump


def _has_models(args: Any, kwargs: Any) -> bool:
    return any(isinstance(value, BaseModel) for value in (*(args or ()), *(kwargs or {}).values()))
