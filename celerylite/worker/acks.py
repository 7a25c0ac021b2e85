"""Whether a task that acknowledges late and has failed is acknowledged; early or late stands in its `Plan`."""

from __future__ import annotations

from typing import Any

from celerylite.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded


def acks_failure(task: Any, exc: BaseException) -> bool:
    """Whether a task that acknowledges late and has failed with `exc` is acknowledged all the same."""
    timeout = isinstance(exc, TimeLimitExceeded | SoftTimeLimitExceeded)
    own = getattr(task, "acks_on_timeout" if timeout else "acks_on_failure", None)
    return bool(task.acks_on_failure_or_timeout if own is None else own)
