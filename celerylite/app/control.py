"""Remote control, the sending side: requests to workers over kombu's pidbox, as Celery sends them.

The workers' side is in `worker.pidbox` and `worker.control`. kombu is imported with the first request.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.app import revoking
from celerylite.exceptions import DuplicateNodenameWarning, ImproperlyConfigured
from celerylite.utils.functional import maybe_list
from celerylite.utils.objects import cached_property

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("Inspect", "Control", "flatten_reply")

TERM_SIGNAME = "SIGTERM"


def flatten_reply(reply: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`[{worker: answer}, …]` as one dict; warns of workers that answered twice, for two have the same name."""
    nodes: dict[str, Any] = {}
    twice: dict[str, None] = {}
    for item in reply:
        twice.update(dict.fromkeys(name for name in item if name in nodes))
        nodes.update(item)
    if twice:
        names = "node name" if len(twice) == 1 else "node names"
        warnings.warn(
            DuplicateNodenameWarning(
                f"Received multiple replies from {names}: {', '.join(sorted(twice))}. Workers must have different "
                "names: start each with an -n of its own."
            ),
            stacklevel=2,
        )
    return nodes


class Inspect:
    """`app.control.inspect()`: questions to workers, which change nothing there.

    `destination` is a worker's name or a list of them, `pattern` with `matcher` ("glob" or "pcre") what names must
    match; without them all workers are asked. Answers are waited for until `limit` have come (the number of
    destinations, by default) or none has come for `timeout` seconds; `callback` is called with each.

    Each method returns a dict from worker names to their answers, or None if no worker answered. If `destination` is
    one name and not a list, the answer alone is returned.
    """

    app: Celery | None = None

    def __init__(
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float = 1.0,
        callback: Callable[[Any], Any] | None = None,
        connection: Any = None,
        app: Celery | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        self.app = app or self.app
        self.destination: Any = destination
        self.timeout = timeout
        self.callback = callback
        self.connection = connection
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def _prepare(self, reply: list[dict[str, Any]] | None) -> Any:
        if not reply:
            return None
        nodes = flatten_reply(reply)
        if self.destination and not isinstance(self.destination, (list, tuple)):
            return nodes.get(self.destination)
        if self.pattern:
            from kombu import matcher  # lazy: kombu

            match: Any = matcher.match
            return {name: a for name, a in nodes.items() if match(name, self.pattern, self.matcher or "glob")}
        return nodes

    def _request(self, command: str, **arguments: Any) -> Any:
        assert self.app is not None, "Inspect needs an app: use app.control.inspect()"
        return self._prepare(
            self.app.control.broadcast(
                command,
                arguments=arguments,
                destination=self.destination,
                callback=self.callback,
                connection=self.connection,
                limit=self.limit,
                timeout=self.timeout,
                reply=True,
                pattern=self.pattern,
                matcher=self.matcher,
            )
        )

    # -- tasks

    def active(self, safe: bool | None = None) -> Any:
        """The tasks that run, a list of dicts for each worker: id, name, args, kwargs, hostname, time_start, …

        `safe` is accepted as in older releases.
        """
        return self._request("active", safe=safe)

    def scheduled(self, safe: bool | None = None) -> Any:
        """The tasks with an ETA or countdown that workers hold, a list of dicts: eta, priority, request."""
        return self._request("scheduled")

    def reserved(self, safe: bool | None = None) -> Any:
        """The tasks that workers have fetched and not started, a list of dicts as in `active`."""
        return self._request("reserved")

    def query_task(self, *ids: str | Sequence[str]) -> Any:
        """Where tasks are, by their ids (or one list of them): id → [state, request].

        The state is "active", "scheduled", "reserved" or "ready". Workers that do not know a task leave it out.
        """
        wanted = ids[0] if len(ids) == 1 and isinstance(ids[0], (list, tuple)) else ids
        return self._request("query_task", ids=wanted)

    def revoked(self) -> Any:
        """The ids of revoked tasks that workers know, a list."""
        return self._request("revoked")

    def registered(self, *taskinfoitems: str) -> Any:
        """The names of the tasks that workers can run, a list; with attributes of tasks (`rate_limit`, …), their
        values too, where they are set."""
        return self._request("registered", taskinfoitems=taskinfoitems)

    registered_tasks = registered

    # -- workers

    def ping(self, destination: Sequence[str] | None = None) -> Any:
        """`{"ok": "pong"}` of each worker that is alive; `destination` replaces the one of the constructor."""
        if destination:
            self.destination = destination
        return self._request("ping")

    def stats(self) -> Any:
        """What a worker is: broker, clock, pid, pool, prefetch_count, rusage, total (tasks by name), uptime."""
        return self._request("stats")

    def active_queues(self) -> Any:
        """The queues that workers consume from, a list of dicts: name, exchange, routing_key, …"""
        return self._request("active_queues")

    def conf(self, with_defaults: bool = False) -> Any:
        """The settings, with passwords masked; also those that nobody has set, `with_defaults`."""
        return self._request("conf", with_defaults=with_defaults)

    def clock(self) -> Any:
        """The logical clock: `{"clock": 42}`."""
        return self._request("clock")

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """What workers ask each other when they start (mingle); the answer holds revoked ids and the clock."""
        return self._request("hello", from_node=from_node, revoked=revoked)

    def report(self) -> Any:
        """Versions and settings, for bug reports: `{"ok": text}`."""
        return self._request("report")

    def memsample(self) -> Any:
        """Measure the memory of the worker, and tell it."""
        return self._request("memsample")

    def memdump(self, samples: int = 10) -> Any:
        """The last measurements of `memsample`."""
        return self._request("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> Any:
        """Draw what holds objects of a type in memory: `{"filename": path on the worker's machine}`."""
        return self._request("objgraph", num=n, max_depth=max_depth, type=type)


class Control:
    """`app.control`: commands to workers.

    Nothing is waited for, and None returned, unless `reply=True` is given. All methods take `destination`, a list of
    names of workers (all, by default), and the other arguments of `broadcast`.
    """

    def __init__(self, app: Celery | None = None) -> None:
        self.app: Any = app

    @cached_property
    def Mailbox(self) -> Any:
        """The class of the mailbox."""
        from celerylite.app.mailbox import Mailbox  # lazy: it imports kombu

        return Mailbox

    @cached_property
    def mailbox(self) -> Any:
        """kombu's mailbox, with the exchange and the options that Celery's workers listen with."""
        self._check_settings()
        conf = self.app.conf
        return self.Mailbox(
            conf.control_exchange,
            type="fanout",
            clock=self.app.clock,
            accept=conf.accept_content,
            serializer=conf.task_serializer,
            producer_pool=_ProducerPool(self.app),
            queue_ttl=conf.control_queue_ttl,
            queue_expires=conf.control_queue_expires,
            queue_exclusive=conf.control_queue_exclusive,
            queue_durable=conf.control_queue_durable,
            reply_queue_ttl=conf.control_queue_ttl,
            reply_queue_expires=conf.control_queue_expires,
        )

    def _check_settings(self) -> None:
        conf = self.app.conf
        if conf.control_queue_durable and conf.control_queue_exclusive:
            raise ImproperlyConfigured(
                "control_queue_durable and control_queue_exclusive cannot both be True: an exclusive queue is "
                "deleted with its connection. Set control_queue_exclusive to False."
            )

    @cached_property
    def inspect(self) -> Any:
        """`Inspect`, with this app."""
        return self.app.subclass_with_self(Inspect, reverse="control.inspect")

    def broadcast(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        destination: str | Iterable[str] | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> Any:
        """Send a command to all workers, or to those that `destination`, or `pattern` with `matcher`, name.

        With `reply` their answers are waited for and returned as a list of `{worker: answer}`: until `limit` have come
        (the number of destinations, by default) or none has come for `timeout` seconds. `callback` is called with
        each. `extra_kwargs` are more arguments of the command.
        """
        with self.app.connection_or_acquire(connection) as acquired:
            return self.mailbox(acquired)._broadcast(
                command,
                {**(arguments or {}), **extra_kwargs},
                maybe_list(destination),
                reply,
                timeout,
                limit,
                callback,
                channel=channel,
                pattern=pattern,
                matcher=matcher,
            )

    # -- tasks

    def revoke(
        self,
        task_id: str | Sequence[str],
        destination: Any = None,
        terminate: bool = False,
        signal: str = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """Tell workers not to run a task (or a list of them); with `terminate`, to end it if it runs.

        `signal` is the name of the signal that a terminated task's process gets. Kept on the broker too, for workers
        that start later; not so a revoke for some workers (`destination`, `pattern`).
        """
        if not destination and not kwargs.get("pattern"):
            revoking.remember(self.app, task_id)
        arguments = {"task_id": task_id, "terminate": terminate, "signal": signal}
        return self.broadcast("revoke", destination=destination, arguments=arguments, **kwargs)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Any = None,
        terminate: bool = False,
        signal: str = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """The same for all tasks that bear one of the stamps: `{"header": "value"}` or `{"header": [values]}`."""
        if not destination and not kwargs.get("pattern"):
            revoking.remember_stamps(self.app, headers)
        arguments = {"headers": headers, "terminate": terminate, "signal": signal}
        return self.broadcast(
            "revoke_by_stamped_headers", destination=destination, arguments=arguments, **kwargs
        )

    def terminate(
        self, task_id: str | Sequence[str], destination: Any = None, signal: str = TERM_SIGNAME, **kwargs: Any
    ) -> Any:
        """`revoke` with `terminate`."""
        return self.revoke(task_id, destination=destination, terminate=True, signal=signal, **kwargs)

    def rate_limit(
        self, task_name: str, rate_limit: int | float | str, destination: Any = None, **kwargs: Any
    ) -> Any:
        """Let each worker start at most so many of these tasks: a number a second, or "10/s", "100/m", "5/h"; 0 is
        no limit."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", destination=destination, arguments=arguments, **kwargs)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Set the time limits, in seconds, of these tasks; None is no limit. Running ones keep theirs."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments=arguments, destination=destination, **kwargs)

    # -- queues

    def purge(self, connection: Any = None) -> int:
        """Delete all waiting messages from the queues that the app knows; returns how many. There is no undo."""
        queues = self.app.amqp.queues
        if connection is None:
            return int(self.app.broker.purge(sorted(queues)))
        with connection.channel() as channel:
            return sum(queue(channel).purge() or 0 for queue in list(queues.values()))

    discard_all = purge

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Let workers consume from one more queue.

        One that is not in `task_queues` is declared, by default with an exchange and a routing key of the same name;
        `options` are more arguments of `kombu.Queue.from_dict`.
        """
        arguments = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", destination=destination, arguments=arguments, **kwargs)

    def cancel_consumer(self, queue: str, destination: Any = None, **kwargs: Any) -> Any:
        """Let workers no longer consume from a queue."""
        return self.broadcast("cancel_consumer", destination=destination, arguments={"queue": queue}, **kwargs)

    # -- workers

    def ping(self, destination: Any = None, timeout: float = 1.0, **kwargs: Any) -> Any:
        """Ask who is alive: `[{worker: {"ok": "pong"}}, …]`."""
        return self.broadcast(
            "ping", reply=True, arguments={}, destination=destination, timeout=timeout, **kwargs
        )

    def pool_grow(self, n: int = 1, destination: Any = None, **kwargs: Any) -> Any:
        """Let each worker run `n` more tasks at a time."""
        return self.broadcast("pool_grow", arguments={"n": n}, destination=destination, **kwargs)

    def pool_shrink(self, n: int = 1, destination: Any = None, **kwargs: Any) -> Any:
        """Let each worker run `n` tasks less at a time."""
        return self.broadcast("pool_shrink", arguments={"n": n}, destination=destination, **kwargs)

    def pool_restart(
        self,
        modules: Sequence[str] | None = None,
        reload: bool = False,
        reloader: Any = None,
        destination: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Replace the task processes (where `worker_pool_restarts` is set), after importing `modules`, or importing
        them again with `reload`."""
        arguments = {"modules": modules, "reload": reload, "reloader": reloader}
        return self.broadcast("pool_restart", arguments=arguments, destination=destination, **kwargs)

    def autoscale(self, max: int, min: int, destination: Any = None, **kwargs: Any) -> Any:
        """Change the limits of workers that run with `--autoscale`."""
        return self.broadcast(
            "autoscale", arguments={"max": max, "min": min}, destination=destination, **kwargs
        )

    def shutdown(self, destination: Any = None, **kwargs: Any) -> Any:
        """Let workers finish what they run, and end."""
        return self.broadcast("shutdown", arguments={}, destination=destination, **kwargs)

    def enable_events(self, destination: Any = None, **kwargs: Any) -> Any:
        """Let workers send events about tasks."""
        return self.broadcast("enable_events", arguments={}, destination=destination, **kwargs)

    def disable_events(self, destination: Any = None, **kwargs: Any) -> Any:
        """Let workers send no more events."""
        return self.broadcast("disable_events", arguments={}, destination=destination, **kwargs)

    def heartbeat(self, destination: Any = None, **kwargs: Any) -> Any:
        """Let workers send a heartbeat event now."""
        return self.broadcast("heartbeat", arguments={}, destination=destination, **kwargs)

    def election(self, id: str, topic: str, action: Any = None, connection: Any = None) -> None:
        """Let the workers choose one among them, which then does `action` (gossip)."""
        arguments = {"id": id, "topic": topic, "action": action}
        self.broadcast("election", connection=connection, destination=None, arguments=arguments)


class _ProducerPool:
    """The app's pool of producers, whichever it is at the moment: a forked process has one of its own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        """A producer, to be released after use."""
        return self.app.amqp.producer_pool.acquire(*args, **kwargs)
