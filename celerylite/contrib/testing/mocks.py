"""Stand-ins for received messages and for context managers, for the tests of projects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock, Mock

from celerylite.message import dumps

if TYPE_CHECKING:
    from celerylite import Celery, Signature

__all__ = ("ContextMock", "TaskMessage", "TaskMessage1", "task_message_from_sig")


def ContextMock(*args: Any, **kwargs: Any) -> MagicMock:
    """A mock for `with` statements; errors raised in the block go on, as they would without it."""
    mock = MagicMock(*args, **kwargs)
    mock.__enter__.return_value = kwargs.get("return_value", mock)
    mock.__exit__.return_value = None
    return mock


def TaskMessage(
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **options: Any,
) -> Mock:
    """A received message in protocol 2; `options` become headers."""
    from celerylite import uuid  # lazy, as the package is

    id = id or uuid()
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain}
    message = _message(f"TaskMessage-{id}", (tuple(args), kwargs or {}, embed))
    message.headers = {"id": id, "task": name, "shadow": shadow, **options}
    return message


def TaskMessage1(
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    **options: Any,
) -> Mock:
    """A received message in protocol 1; `options` become fields of its body."""
    from celerylite import uuid

    id = id or uuid()
    body = {
        "task": name,
        "id": id,
        "args": tuple(args),
        "kwargs": kwargs or {},
        "callbacks": callbacks,
        "errbacks": errbacks,
    }
    message = _message(f"TaskMessage-{id}", {**body, **options})
    message.headers = {}
    return message


def task_message_from_sig(
    app: Celery, sig: Signature, utc: bool = True, TaskMessage: Callable[..., Mock] = TaskMessage
) -> Mock:
    """The message that calling `sig` would send."""
    sig = sig.clone()
    sig.freeze()
    options = dict(sig.options)
    countdown = options.pop("countdown", None)
    if countdown is not None:
        options["eta"] = _after(app, countdown).isoformat()
    expires = options.get("expires")
    if isinstance(expires, (int, float)):
        options["expires"] = _after(app, expires).isoformat()
    return TaskMessage(
        sig.task,
        id=options.pop("task_id"),
        args=sig.args,
        kwargs=sig.kwargs,
        callbacks=[dict(s) for s in options.pop("link", None) or ()],
        errbacks=[dict(s) for s in options.pop("link_error", None) or ()],
        utc=utc,
        **{"eta": None, "expires": None, **options},
    )


def _after(app: Celery, seconds: float) -> Any:
    from datetime import timedelta

    return app.now() + timedelta(seconds=seconds)


def _message(name: str, payload: Any) -> Mock:
    content_type, content_encoding, body, _ = dumps(payload)
    message = Mock(name=name)
    message.content_type, message.content_encoding = content_type, content_encoding
    message.body, message.payload = body, payload
    return message
