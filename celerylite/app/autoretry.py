"""`autoretry_for`: exceptions that lead to a retry by themselves."""

from __future__ import annotations

from functools import wraps
from typing import Any

from celerylite.exceptions import Ignore, Retry

__all__ = ("add_autoretry_behaviour",)


def add_autoretry_behaviour(task: Any, **options: Any) -> None:
    """Wrap the body of a task, when its options or its class ask for it."""

    def option(name: str, default: Any) -> Any:
        return options.get(name, getattr(task, name, default))

    autoretry_for = tuple(option("autoretry_for", ()))
    if not autoretry_for or hasattr(task, "_orig_run"):
        return
    never = (Ignore, Retry)
    dont_autoretry_for = tuple(option("dont_autoretry_for", ()))
    retry_kwargs = option("retry_kwargs", {})
    retry_backoff = float(option("retry_backoff", False))
    retry_backoff_max = int(option("retry_backoff_max", 600))
    retry_jitter = bool(option("retry_jitter", True))
    body = task.run

    @wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return body(*args, **kwargs)
        except never + dont_autoretry_for:
            raise
        except autoretry_for as exc:
            with_options = dict(retry_kwargs)
            if retry_backoff:
                from celerylite.utils.time import get_exponential_backoff_interval  # lazy: 5 ms

                with_options["countdown"] = get_exponential_backoff_interval(
                    factor=int(max(1.0, retry_backoff)),
                    retries=task.request.retries,
                    maximum=retry_backoff_max,
                    full_jitter=retry_jitter,
                )
            again = task.retry(exc=exc, **with_options)
            # Tasks that override `retry` may not pass these on.
            again.exc = exc
            raise again from exc

    task._orig_run, task.run = body, run
