"""What a finished task leaves behind, in one transaction where broker and result store are one server, else in order.

In order means: store, start chords, count parts, send, and only then acknowledge. Dying in between repeats some of it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celerylite import followup
from celerylite.brokers.values import Settlement

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.backends.chords import Ended
    from celerylite.brokers import Broker
    from celerylite.brokers.values import Store
    from celerylite.followup import Following
    from celerylite.worker.request import Request

logger = logging.getLogger("celery.worker")


def is_one_server(app: Celery, broker: Broker) -> bool:
    """Whether results can be stored in the broker's transactions."""
    return broker.same_server(app.backend) and app.backend.status_is_plain


def fits(app: Celery, following: Following | None) -> bool:
    """Whether the result store can do its share of what follows in the broker's transaction."""
    if following is None or app.backend.settles_chords:
        return True
    return not (following.chords or following.parts or following.records)


def settlement_of(app: Celery, store: Store | None, following: Following | None) -> Settlement:
    """What one transaction is to do."""
    if following is None:
        return Settlement(store)
    backend: Any = app.backend
    commands = []
    if following.chords or following.parts or following.records:
        commands = backend.settling(following.chords, following.parts, following.records)
    return Settlement(store, following.messages, commands, backend.db, bool(following.parts))


def settle_apart(app: Celery, broker: Broker, following: Following) -> None:
    """Do what follows, step by step; what the task itself returned is stored already."""
    backend = app.backend
    for task_id, record in following.records:
        backend.store(task_id, record)
    more = backend.start_chords(following.chords) if following.chords else []
    ended = backend.count_parts(following.parts) if following.parts else []
    if following.messages or more:
        broker.publish_many([*following.messages, *more])
    for chord in ended:
        finish_chord(app, broker, chord)


def settle_refused(app: Celery, broker: Broker, request: Request, state: str, exc: Exception, store: bool) -> None:
    """A task ends without having run, or without an outcome of its own: record why, and tell the chain and the chord
    that wait for it.
    """
    context, backend = request.context(), app.backend
    if store or (context.chord and backend.reads_parts):
        backend.store(request.id, backend.record(request.id, state, exc, None, request=context))
    if context.chord or context.chain:
        settle_apart(app, broker, followup.part_refused(backend, context, state, exc))


def finish_chord(app: Celery, broker: Broker, ended: Ended) -> None:
    """Send a chord's body, or what its failure sets off."""
    following = followup.finish_chord(app, ended)
    if ended.chord is not None and is_one_server(app, broker):
        for answer in broker.finish_chord(ended.chord, settlement_of(app, None, following)):
            finish_chord(app, broker, app.backend.ended_chord(answer))
        return
    settle_apart(app, broker, following)
    app.backend.finish_chord(ended)


def finish_overdue_chords(app: Celery, broker: Broker) -> None:
    """Finish chords whose last part was counted by a worker that has no time for them, or is gone."""
    while (ended := app.backend.overdue_chord()) is not None:
        logger.warning("Chord %r was left to housekeeping", ended.group_id, extra={"action": "chord_overdue"})
        finish_chord(app, broker, ended)
