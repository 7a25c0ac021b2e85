"""Retrying and replacing a task that runs. A part of the `Task` class."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from celerylite import canvas
from celerylite.exceptions import ImproperlyConfigured, MaxRetriesExceededError, Reject, Retry
from celerylite.utils.functional import maybe_list

if TYPE_CHECKING:
    from datetime import datetime

    from celerylite.canvas import Signature
    from celerylite.context import Context

__all__ = ("Retrying",)


class Retrying:
    """The part of `Task` that sends the running call again, or another in its place."""

    #: How often it may be retried; None is for ever.
    max_retries: int | None = 3
    #: Seconds before a retry, where the call does not say.
    default_retry_delay: float = 3 * 60
    MaxRetriesExceededError = MaxRetriesExceededError

    def retry(
        self: Any,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Send the running task again, under the same id, and leave this execution by raising `Retry`.

        `exc` is raised instead when the task was called directly or has been retried often enough.
        """
        request = self.request
        limit = self.max_retries if max_retries is None else max_retries
        if request.called_directly:
            _raise_current(exc or Retry("Task can be retried", None))
        if not eta and countdown is None:
            countdown = self.default_retry_delay
        eager = request.is_eager
        sig = self.signature_from_request(
            request, args, kwargs, countdown=countdown, eta=eta, retries=request.retries + 1, **options
        )
        if limit is not None and request.retries >= limit:
            if exc is not None:
                _raise_current(exc)
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{sig.args} kwargs:{sig.kwargs}",
                task_args=sig.args,
                task_kwargs=sig.kwargs,
            )
        again = Retry(exc=exc, when=eta or countdown, is_eager=eager, sig=sig)
        if not eager:
            self._send_again(sig, request, at_once=not throw)
        if throw:
            raise again
        return again

    def _send_again(self: Any, sig: Signature, request: Context, at_once: bool) -> None:
        """Sent together with the acknowledgement of this execution: a crash in between would lose or double it."""
        try:
            if at_once:
                sig.apply_async()
            else:
                request.send_at_end(sig.as_message())
        except Exception as exc:  # a border: what cannot be sent again must not be acknowledged
            raise Reject(exc, requeue=False) from exc

    def signature_from_request(
        self: Any,
        request: Context | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: str | None = None,
        **extra_options: Any,
    ) -> Signature:
        """The running call as a signature: the same id, group, callbacks, limits and queue."""
        request = self.request if request is None else request
        args = request.args if args is None else args
        kwargs = request.kwargs if kwargs is None else kwargs
        options = {**request.as_execution_options(), "ignore_result": request.ignore_result, **extra_options}
        info = request.delivery_info or {}
        if info.get("priority") is not None:
            options.setdefault("priority", info["priority"])
        if queue:
            options["queue"] = queue
        elif info.get("is_eager"):
            options["is_eager"] = True
        elif info.get("exchange"):
            options.setdefault("exchange", info["exchange"])
            options.setdefault("routing_key", info.get("routing_key"))
        elif info.get("routing_key"):
            # The empty exchange: the routing key is the name of the queue.
            options.setdefault("queue", info["routing_key"])
        return self.signature(args, kwargs, **options)

    subtask_from_request = signature_from_request

    def replace(self: Any, sig: Signature) -> Any:
        """Let `sig` run in the place of this task: its end has this task's id, callbacks and place in the canvas.

        Leaves the task by raising `Ignore`. A group gives the list of its results. ImproperlyConfigured for what
        cannot stand here: an empty chain, a signature that belongs to a chord already.
        """
        request = self.request
        if not isinstance(sig, canvas.Signature):
            raise ImproperlyConfigured(f"A task can only be replaced by a signature, not {sig!r}")
        if sig.options.get("chord"):
            raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
        if isinstance(sig, canvas._chain) and not sig.tasks:
            raise ImproperlyConfigured("Cannot replace with an empty chain")
        sig = sig.clone()
        gather = self._get_app().tasks["celery.accumulate"].s(index=0)
        if isinstance(sig, canvas.group):  # not a chain: there, a group of one is its member
            sig = canvas._chord(sig, gather, app=self._get_app())
        elif sig._ends_in_group():
            sig = canvas._chain(sig, gather, app=self._get_app())
        if not request.is_eager:  # an eager task follows itself up, with what the signature returns
            _take_over(sig, request)
        sig.freeze(request.id)
        return self.on_replace(sig)

    def add_to_chord(self: Any, sig: Signature, lazy: bool = False) -> Any:
        """Make `sig` one more part of the chord whose part this task is, and send it (unless `lazy`).

        Only some result stores can do that. ValueError where the task is no part of a chord.
        """
        request = self.request
        if not request.chord:
            raise ValueError("Current task is not member of any chord")
        sig.set(
            group_id=request.group, group_index=request.group_index, chord=request.chord, root_id=request.root_id
        )
        result = sig.freeze()
        self.backend.add_to_chord(request.group, result)
        return sig if lazy else sig.delay()


def _take_over(sig: Signature, request: Context) -> None:
    """Give a signature what a running task has been given."""
    for callback in maybe_list(request.callbacks) or []:
        sig.link(callback)
    for errback in maybe_list(request.errbacks) or []:
        sig.link_error(errback)
    stamps = request.stamps or {}
    if request.stamped_headers:
        sig.options.setdefault("stamped_headers", request.stamped_headers)
        for header in request.stamped_headers:
            sig.options.setdefault(header, stamps.get(header))
    place = {"chain": request.chain, "chord": request.chord, "group_id": request.group, "root_id": request.root_id}
    if request.group:
        place["group_index"] = request.group_index
    sig.set(
        replaced_task_nesting=request.replaced_task_nesting + 1,
        **{key: value for key, value in place.items() if value is not None},
    )


def _raise_current(exc: BaseException) -> None:
    """Raise `exc`: as it is where it is being handled, else from the exception that is."""
    current = sys.exc_info()[1]
    if current is None or current is exc:
        raise exc
    raise exc from current
