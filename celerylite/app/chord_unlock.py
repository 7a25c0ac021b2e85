"""The task `celery.chord_unlock`: looks whether a chord's header has ended, where the result store cannot count.

Celery's clients send it too. It is acknowledged late: what it sends goes out together with its acknowledgement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerylite.result import GroupResult, result_from_tuple

if TYPE_CHECKING:
    from celerylite.app.base import Celery


def add_unlock_chord_task(app: Celery) -> Any:
    """Called for every app."""

    @app.task(
        name="celery.chord_unlock", bind=True, shared=False, ignore_result=True, max_retries=None, acks_late=True,
        reject_on_worker_lost=True,
    )  # fmt: skip
    def unlock_chord(
        self: Any,
        group_id: str,
        callback: Any,
        interval: float | None = None,
        propagate: bool = True,
        max_retries: int | None = None,
        result: Any = None,
        **kwargs: Any,
    ) -> None:
        """Send the body, or fail it, or look again in `interval` seconds, `max_retries` times (None: for ever)."""
        from celerylite import followup  # lazy, as below: clients import this module, and these take 5 ms
        from celerylite.backends.chords import Part, looked_up

        request = self.request
        header = GroupResult(group_id, [result_from_tuple(one, app) for one in result], app=app)
        part = Part(group_id, None, request.id, "", None, callback, request.root_id)
        ended = looked_up(app.backend, header, part)
        if ended is None:
            pause = app.conf.result_chord_retry_interval if interval is None else interval
            raise self.retry(countdown=pause, max_retries=max_retries)
        request.send_at_end(followup.finish_chord(app, ended))

    return unlock_chord
