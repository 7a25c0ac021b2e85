"""The remote control commands that change something in the worker: `celerylite control …`.

They only pass on what is wanted: to all processes of the worker as a directive, or to its parent as a question. Answers
have the keys and words of Celery's.
"""

from __future__ import annotations

import logging
import signal as _signals
from typing import Any

from celerylite.exceptions import WorkerShutdown
from celerylite.utils.functional import maybe_list
from celerylite.utils.time import rate
from celerylite.worker import revoked
from celerylite.worker.election import hold
from celerylite.worker.node import Refused
from celerylite.worker.panel import control_command

logger = logging.getLogger("celery.worker.control")

TERM_SIGNAME = "SIGTERM"
#: With autoscale on, the size of the pool is its own affair.
AUTOSCALED = "{} is not supported with autoscale. Adjust autoscale range instead."


def ok(value: Any) -> dict[str, Any]:
    """The answer of a command that was carried out."""
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    """The answer of a command that was not."""
    return {"error": value}


# -- tasks


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(
    state: Any, task_id: Any, terminate: bool = False, signal: str | None = None, **kwargs: Any
) -> dict[str, Any]:
    """Revoke tasks by their ids: those that have not started will not run."""
    ids = {str(one) for one in maybe_list(task_id) or () if one is not None}
    number = _signal_number(signal) if terminate else None
    running = {request.id for request in _running(state.node)}
    revoked.revoke(state.node, sorted(ids), running, keep=not state.addressed)
    if number is not None:
        return _terminate(state.node, sorted(ids), number)
    return ok(f"tasks {ids} flagged as revoked")


@control_command(variadic="headers", signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]")
def revoke_by_stamped_headers(
    state: Any, headers: Any, terminate: bool = False, signal: str | None = None, **kwargs: Any
) -> dict[str, Any]:
    """Revoke tasks that carry one of these stamps."""
    stamps = {str(name): list(maybe_list(values) or ()) for name, values in _mapping(headers).items()}
    number = _signal_number(signal) if terminate else None
    revoked.revoke_stamps(state.node, stamps, keep=not state.addressed)
    if number is None:
        return ok(f"headers {headers} flagged as revoked, but not terminated")
    ids = [request.id for request in _running(state.node) if _stamped(request, stamps)]
    if not ids:
        return ok(f"headers {headers} were not terminated")
    return _terminate(state.node, ids, number)


@control_command(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]")
def terminate(state: Any, signal: str, task_id: Any, **kwargs: Any) -> dict[str, Any]:
    """Revoke tasks by their ids and end those that run."""
    return revoke(state, task_id, terminate=True, signal=signal)


def _mapping(headers: Any) -> dict[str, Any]:
    """Stamps as a dict; the command line sends a list of `key=value`."""
    if isinstance(headers, dict):
        return headers
    found: dict[str, Any] = {}
    for entry in maybe_list(headers) or ():
        name, _, value = str(entry).partition("=")
        found.setdefault(name, []).append(value)
    return found


def _signal_number(name: str | None) -> int:
    """A signal's number by its name, with or without SIG, or its number; AttributeError for one that is unknown."""
    name = str(name or TERM_SIGNAME).upper()
    if name.isdigit():
        return int(_signals.Signals(int(name)))
    return int(getattr(_signals, name if name.startswith("SIG") else f"SIG{name}"))


def _running(node: Any) -> list[Any]:
    requests = (node.read_request(running) for running in node.running())
    return [request for request in requests if request is not None]


def _stamped(request: Any, stamps: dict[str, list[Any]]) -> bool:
    given = request.headers.get("stamps") or {}
    return any(
        str(value) in map(str, wanted)
        for name, wanted in stamps.items()
        for value in maybe_list(given.get(name)) or ()
    )  # fmt: skip


def _terminate(node: Any, ids: list[str], number: int) -> dict[str, Any]:
    """Have the parent end those of the tasks that run; the answer says which."""
    running = {request.id for request in _running(node)}
    ids = [task_id for task_id in ids if task_id in running]
    try:
        ended = node.ask_parent("terminate", id=ids, signal=number) if ids else []
    except Refused as exc:
        return nok(str(exc))
    for task_id in ended:
        logger.info("Terminating %s (%s)", task_id, number, extra={"action": "terminate"})
    return ok(f"terminate: {', '.join(ended) if ended else 'tasks unknown'}")


@control_command(
    args=[("task_name", str), ("rate_limit", str)], signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>"
)
def rate_limit(state: Any, task_name: str, rate_limit: Any, **kwargs: Any) -> dict[str, Any]:
    """Limit how often a task may start, for each worker."""
    try:
        rate(rate_limit)
    except ValueError as exc:
        return nok(f"Invalid rate limit string: {exc!r}")
    task = state.app.tasks.get(task_name)
    if task is None:
        logger.error("Rate limit attempt for unknown task %s", task_name, extra={"action": "unknown_task"})
        return nok("unknown task")
    task.rate_limit = rate_limit
    state.node.post("rate_limit", task=task_name, limit=rate_limit)
    if not rate_limit:
        logger.info("Rate limits disabled for tasks of type %s", task_name)
        return ok("rate limit disabled successfully")
    logger.info("New rate limit for tasks of type %s: %s.", task_name, rate_limit)
    return ok("new rate limit set successfully")


@control_command(
    args=[("task_name", str), ("soft", float), ("hard", float)], signature="<task_name> <soft_secs> [hard_secs]"
)
def time_limit(
    state: Any, task_name: str | None = None, hard: Any = None, soft: Any = None, **kwargs: Any
) -> dict[str, Any]:
    """Limit how long a task may run; for those that start from now on."""
    task = state.app.tasks.get(task_name)
    if task is None:
        logger.error("Change time limit attempt for unknown task %s", task_name, extra={"action": "unknown_task"})
        return nok("unknown task")
    soft, hard = (None if value is None else float(value) for value in (soft, hard))
    task.soft_time_limit, task.time_limit = soft, hard
    state.node.post("time_limit", task=task_name, soft=soft, hard=hard)
    logger.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


# -- events


@control_command()
def enable_events(state: Any) -> dict[str, Any]:
    """Send events about tasks."""
    return _events(state, True, "enabled")


@control_command()
def disable_events(state: Any) -> dict[str, Any]:
    """Send no events about tasks any more."""
    return _events(state, False, "disabled")


def _events(state: Any, on: bool, word: str) -> dict[str, Any]:
    if state.node.directives.events == on:
        return ok(f"task events already {word}")
    state.node.post("events", on=on)
    logger.info("Events of group {task} %s by remote.", word, extra={"action": "events"})
    return ok(f"task events {word}")


@control_command()
def heartbeat(state: Any) -> None:
    """Send an event heartbeat now."""
    logger.debug("Heartbeat requested by remote.")
    if state.node.news is not None:
        state.node.news.beat()


@control_command(visible=True)
def election(state: Any, id: str, topic: str, action: Any = None, **kwargs: Any) -> None:
    """Hold election: one of the workers sends the task `action` (topic "task")."""
    if state.node.options.gossip:
        hold(state.node, str(id), topic, action)


# -- the pool


@control_command(args=[("n", int)], signature="[N=1]")
def pool_grow(state: Any, n: int = 1, **kwargs: Any) -> dict[str, Any]:
    """Add processes (or threads) to the pool."""
    if state.node.directives.autoscale is not None:
        return nok(AUTOSCALED.format("pool_grow"))
    _ask(state, "pool_grow", n=int(n))
    return ok("pool will grow")


@control_command(args=[("n", int)], signature="[N=1]")
def pool_shrink(state: Any, n: int = 1, **kwargs: Any) -> dict[str, Any]:
    """Take processes (or threads) from the pool; tasks that run are finished first."""
    if state.node.directives.autoscale is not None:
        return nok(AUTOSCALED.format("pool_shrink"))
    _ask(state, "pool_shrink", n=int(n))
    return ok("pool will shrink")


@control_command()
def pool_restart(
    state: Any, modules: Any = None, reload: bool = False, reloader: Any = None, **kwargs: Any
) -> dict[str, Any]:
    """Replace the processes of the pool (only with the setting worker_pool_restarts)."""
    if not state.app.conf.worker_pool_restarts:
        raise ValueError("Pool restarts not enabled")
    try:
        state.node.pool_restart(None if modules is None else list(modules), bool(reload))
    except Refused as exc:
        raise ValueError(str(exc)) from exc
    return ok("reload started")


@control_command(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(state: Any, max: int | None = None, min: int | None = None) -> dict[str, Any]:
    """Change the limits of autoscale."""
    current = state.node.directives.autoscale
    if current is None or state.node.autoscaler is None:
        raise ValueError("Autoscale not enabled")
    most = current[0] if max is None else int(max)
    fewest = current[1] if min is None else int(min)
    state.node.post("autoscale", max=most, min=fewest)
    return ok(f"autoscale now max={most} min={fewest}")


def _ask(state: Any, kind: str, **fields: Any) -> Any:
    """Ask the parent; what it refuses is a ValueError, as Celery's workers answer it."""
    try:
        return state.node.ask_parent(kind, **fields)
    except Refused as exc:
        raise ValueError(str(exc)) from exc


@control_command()
def shutdown(state: Any, msg: str = "Got shutdown from remote", **kwargs: Any) -> None:
    """Shut down the worker when its running tasks have ended."""
    logger.warning("%s", msg, extra={"action": "shutdown"})
    raise WorkerShutdown(msg)


# -- queues


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(
    state: Any,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Consume one more queue."""
    state.node.add_consumer(queue, exchange, exchange_type, routing_key, **options)
    return ok(f"add consumer {queue}")


@control_command(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: Any, queue: str, **_: Any) -> dict[str, Any]:
    """Consume a queue no more."""
    state.node.cancel_consumer(queue)
    return ok(f"no longer consuming from {queue}")
