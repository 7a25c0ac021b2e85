"""A call as a message: its headers, properties and body in Celery's protocols 2 and 1. A part of `AMQP`."""

from __future__ import annotations

from collections import namedtuple
from datetime import datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celerylite.app.publishing import anonymous_name, checked_arguments, sent_event
from celerylite.utils.saferepr import saferepr

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("Protocols", "task_message")

#: What RabbitMQ takes as a delay; Celery refuses numbers below.
INT_MIN = -2147483648

task_message = namedtuple("task_message", ("headers", "properties", "body", "sent_event"))

#: Types whose `repr` is short, harmless and the same as `saferepr` gives.
_PLAIN = frozenset((int, float, bool, str, type(None)))
#: Below this length nothing is cut off by `saferepr`, whatever maximum a user may sensibly set.
_SHORT = 1000

#: The headers of protocol 2 in their order.
_PLAIN_HEADERS: dict[str, Any] = {
    "lang": "py", "task": None, "id": None, "shadow": None, "eta": None, "expires": None, "group": None,
    "group_index": None, "retries": 0, "timelimit": None, "root_id": None, "parent_id": None, "argsrepr": None,
    "kwargsrepr": "{}", "origin": None, "ignore_result": None, "replaced_task_nesting": 0, "stamped_headers": None,
    "stamps": None,
}  # fmt: skip


class Protocols:
    """The part of `AMQP` that writes calls."""

    #: Longest text of arguments in `argsrepr` and `kwargsrepr`.
    argsrepr_maxsize = 1024
    kwargsrepr_maxsize = 1024

    app: Celery

    @cached_property
    def create_task_message(self) -> Any:
        """The writer of the protocol that `task_protocol` asks for."""
        return {1: self.as_task_v1, 2: self.as_task_v2}[self.app.conf.task_protocol]

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        now: datetime | None = None,
        timezone: tzinfo | None = None,
        origin: str | None = None,
        ignore_result: bool | None = False,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        stamped_headers: list[str] | None = None,
        replaced_task_nesting: int = 0,
        **options: Any,
    ) -> task_message:
        """A call as a message of protocol 2: headers, properties, body."""
        args, kwargs = checked_arguments(args, kwargs)
        if countdown or eta or expires:
            eta, expires = self._times(countdown, eta, expires, now, timezone)
        if not root_id:
            root_id = task_id
        if argsrepr is None:
            argsrepr = self._repr(args, args, self.argsrepr_maxsize)
        if kwargsrepr is None:
            kwargsrepr = self._repr(kwargs, kwargs.values(), self.kwargsrepr_maxsize) if kwargs else "{}"
        headers = {
            "lang": "py",
            "task": name,
            "id": task_id,
            "shadow": shadow,
            "eta": eta,
            "expires": expires,
            "group": group_id,
            "group_index": group_index,
            "retries": retries,
            "timelimit": [time_limit, soft_time_limit],
            "root_id": root_id,
            "parent_id": parent_id,
            "argsrepr": argsrepr,
            "kwargsrepr": kwargsrepr,
            "origin": origin or anonymous_name(),
            "ignore_result": ignore_result,
            "replaced_task_nesting": replaced_task_nesting,
            "stamped_headers": stamped_headers,
            "stamps": {header: options[header] for header in stamped_headers} if stamped_headers else {},
        }
        return task_message(
            headers,
            {"correlation_id": task_id, "reply_to": reply_to or ""},
            (args, kwargs, {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}),
            sent_event(headers) if create_sent_event else None,
        )

    @property
    def writes_plainly(self) -> bool:
        """Whether `as_task_v2` writes the messages, and nobody's own writer, so that `as_plain_task` may too."""
        return getattr(self.create_task_message, "__func__", None) is Protocols.as_task_v2

    def as_plain_task(
        self,
        task_id: str,
        name: str,
        args: Any,
        kwargs: Any,
        reply_to: str,
        ignore_result: bool | None,
        root_id: str | None = None,
        parent_id: str | None = None,
    ) -> task_message:
        """What `as_task_v2` makes of a call without options, in half the time."""
        args, kwargs = checked_arguments(args, kwargs)
        headers = _PLAIN_HEADERS.copy()
        headers["task"] = name
        headers["id"] = task_id
        headers["timelimit"] = [None, None]
        headers["root_id"] = root_id or task_id
        headers["parent_id"] = parent_id
        headers["argsrepr"] = self._repr(args, args, self.argsrepr_maxsize)
        if kwargs:
            headers["kwargsrepr"] = self._repr(kwargs, kwargs.values(), self.kwargsrepr_maxsize)
        headers["origin"] = anonymous_name()
        headers["ignore_result"] = ignore_result
        headers["stamps"] = {}
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        return task_message(headers, {"correlation_id": task_id, "reply_to": reply_to}, (args, kwargs, embed), None)

    def as_task_v1(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        now: datetime | None = None,
        timezone: tzinfo | None = None,
        **compat_kwargs: Any,
    ) -> task_message:
        """A call as a message of protocol 1, for workers older than Celery 4."""
        args, kwargs = checked_arguments(args, kwargs)
        eta, expires = self._times(countdown, eta, expires, now, timezone)
        body = {
            "task": name,
            "id": task_id,
            "args": args,
            "kwargs": kwargs,
            "group": group_id,
            "group_index": group_index,
            "retries": retries,
            "eta": eta,
            "expires": expires,
            "utc": self.app.conf.enable_utc,
            "callbacks": callbacks,
            "errbacks": errbacks,
            "timelimit": (time_limit, soft_time_limit),
            "taskset": group_id,
            "chord": chord,
        }
        sent: Any = None
        if create_sent_event:
            sent = {"uuid": task_id, "name": name, "args": saferepr(args), "kwargs": saferepr(kwargs)}
            sent.update(retries=retries, eta=eta, expires=expires)
        return task_message({}, {"correlation_id": task_id, "reply_to": reply_to or ""}, body, sent)

    def _repr(self, value: Any, items: Any, maxsize: int) -> str:
        if _PLAIN.issuperset(map(type, items)):
            text = repr(value)
            # Quotes and unprintable characters are written in another way by saferepr.
            if len(text) < _SHORT <= maxsize and "\\" not in text and '"' not in text:
                return text
        return saferepr(value, maxsize, self.app.conf.task_repr_maxlevels)

    def _times(
        self, countdown: Any, eta: Any, expires: Any, now: datetime | None, timezone: tzinfo | None
    ) -> tuple[Any, Any]:
        """`eta` and `expires` as they stand in the headers: ISO text, in the app's time zone where we
        computed them."""
        if countdown:
            eta = self._after(countdown, "countdown", now, timezone)
        if isinstance(expires, int | float):
            expires = self._after(expires, "expires", now, timezone)
        if eta is not None and not isinstance(eta, str):
            eta = eta.isoformat()
        if expires is not None and not isinstance(expires, str):
            expires = expires.isoformat()
        return eta, expires

    def _after(self, seconds: Any, what: str, now: datetime | None, timezone: tzinfo | None) -> datetime:
        from celerylite.utils.time import add_seconds_to_datetime, maybe_make_aware  # lazy: 5 ms

        self._verify_seconds(seconds, what)
        start: datetime = now or self.app.now()
        return maybe_make_aware(add_seconds_to_datetime(start, seconds), tz=timezone or self.app.timezone)

    def _verify_seconds(self, s: Any, what: str) -> Any:
        if s < INT_MIN:
            raise ValueError(f"{what} is out of range: {s!r}")
        return s
