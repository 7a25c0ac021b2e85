"""Revokes that hold: which tasks were revoked stands on the broker too (or in the result store), with an expiry.

A revoke is a broadcast, so only workers that live hear it. Who sends one, and who hears one, writes it down here;
workers read it before they take their first message.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.functional import maybe_list

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers import Broker
    from celerylite.brokers.revoked_book import RevokedBook

logger = logging.getLogger("celery.app.control")

#: What a book's entry about a stamp begins with; the rest is `[header, value]` as JSON.
STAMP = "\0"


def number_from_env(name: str, default: float) -> float:
    """A number in the environment; raises `ImproperlyConfigured` for what is none."""
    value = os.environ.get(name)
    try:
        return float(default if value is None else value)
    except ValueError:
        raise ImproperlyConfigured(f"Invalid value for {name}: a number is expected, not {value!r}") from None


#: How many revoked ids are remembered, and for how many seconds: Celery's environment variables.
REVOKES_MAX = int(number_from_env("CELERY_WORKER_REVOKES_MAX", 50_000))
REVOKE_EXPIRES = number_from_env("CELERY_WORKER_REVOKE_EXPIRES", 10_800)


def book_of(app: Celery, broker: Broker | None = None) -> RevokedBook | None:
    """Where the app's revokes are remembered: on the broker, else in the result store, else nowhere (None).

    `broker` is that of a worker, if one asks.
    """
    broker = broker or app.broker
    book = (broker.outlet or broker).revoked_book()
    if book is None:
        find = getattr(app.backend, "revoked_book", None)
        book = find() if find is not None else None
    return book


def remember(app: Celery, task_ids: str | Iterable[str], broker: Broker | None = None) -> bool:
    """Write down that these tasks are revoked; False where there is no place for it, or it cannot be reached."""
    return _write(app, [str(task_id) for task_id in maybe_list(task_ids) or ()], broker)


def remember_stamps(app: Celery, headers: Mapping[str, Any], broker: Broker | None = None) -> bool:
    """The same for all tasks with one of these stamps: `{header: value, or values}`."""
    pairs = [[header, value] for header, values in headers.items() for value in maybe_list(values) or ()]
    return _write(app, [STAMP + json.dumps(pair, default=str) for pair in pairs], broker)


def _write(app: Celery, entries: list[str], broker: Broker | None) -> bool:
    try:
        book = book_of(app, broker)
        if book is None:
            return False
        book.add(entries, expires=REVOKE_EXPIRES, most=REVOKES_MAX)
    except Exception as exc:  # a border: connections of any make; the workers that live are told all the same
        logger.warning("Revokes could not be kept on the broker: %s", exc, extra={"action": "revokes_not_kept"})
        return False
    return True


def recall(app: Celery, broker: Broker | None = None) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """What was written down: ids and when they were revoked (the oldest first), and stamps; raises connection errors.
    """
    ids: dict[str, float] = {}
    stamps: dict[str, list[Any]] = {}
    book = book_of(app, broker)
    for entry, when in (book.read(REVOKE_EXPIRES) if book is not None else {}).items():
        if not entry.startswith(STAMP):
            ids[entry] = when
            continue
        header, value = json.loads(entry[len(STAMP) :])
        stamps.setdefault(header, []).append(value)
    return ids, stamps
