"""Remote control, the sending side: requests to workers over kombu's pidbox, as Celery sends them.

Only `revoke` and the broadcast under it are here; the other commands, and the worker's side, have their own issue.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from celerylite.app import revoking
from celerylite.utils.functional import maybe_list
from celerylite.utils.objects import cached_property

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("Control",)

TERM_SIGNAME = "SIGTERM"


class Control:
    """`app.control`."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    @cached_property
    def mailbox(self) -> Any:
        """kombu's mailbox, with the exchange and the options that Celery's workers listen with."""
        from kombu.pidbox import Mailbox  # lazy: only who controls workers needs it

        conf = self.app.conf
        return Mailbox(
            conf.control_exchange,
            type="fanout",
            accept=conf.accept_content,
            serializer=conf.task_serializer,
            producer_pool=self.app.amqp.producer_pool,
            queue_ttl=conf.control_queue_ttl,
            reply_queue_ttl=conf.control_queue_ttl,
            queue_expires=conf.control_queue_expires,
            reply_queue_expires=conf.control_queue_expires,
        )

    def broadcast(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        destination: str | Iterable[str] | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Any = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra: Any,
    ) -> Any:
        """Send a command to all workers, or to those that `destination` or `pattern` name.

        With `reply` their answers are waited for, up to `timeout` seconds, and returned as a list of `{worker:
        answer}`.
        """
        with self.app.connection_or_acquire(connection) as acquired:
            return self.mailbox(acquired)._broadcast(
                command,
                {**(arguments or {}), **extra},
                maybe_list(destination),
                reply,
                timeout,
                limit,
                callback,
                channel=channel,
                pattern=pattern,
                matcher=matcher,
            )

    def revoke(
        self,
        task_id: Any,
        destination: Any = None,
        terminate: bool = False,
        signal: str = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """Tell workers not to run a task (or a list of them); with `terminate`, to end it if it runs.

        It is kept on the broker too, for workers that start later; not so a revoke for some workers (`destination`).
        """
        if destination is None:
            revoking.remember(self.app, task_id)
        arguments = {"task_id": task_id, "terminate": terminate, "signal": signal}
        return self.broadcast("revoke", arguments, destination=destination, **kwargs)
