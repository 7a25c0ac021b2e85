"""The remote control commands that only look: `celerylite inspect …`. Answers have the keys and words of Celery's."""

from __future__ import annotations

import logging
import resource
import tempfile
from typing import Any

from celerylite.utils.clock import uptime
from celerylite.utils.functional import maybe_list
from celerylite.utils.saferepr import safe_repr
from celerylite.utils.serialization import jsonify, strtobool
from celerylite.worker import looking
from celerylite.worker.panel import inspect_command

logger = logging.getLogger("celery.worker.control")

#: What `registered` says of a task unless it is asked for other things.
DEFAULT_TASK_INFO_ITEMS = ("exchange", "routing_key", "rate_limit")
#: The names of the pools in `stats`, by the `-P` that chooses them.
POOLS = {
    "prefork": "celery.concurrency.prefork:TaskPool",
    "threads": "celery.concurrency.thread:TaskPool",
    "solo": "celery.concurrency.solo:TaskPool",
    "gevent": "celery.concurrency.gevent:TaskPool",
}


@inspect_command(default_timeout=0.2)
def ping(state: Any, **kwargs: Any) -> dict[str, str]:
    """Ask workers whether they are there."""
    return {"ok": "pong"}


@inspect_command()
def clock(state: Any, **kwargs: Any) -> dict[str, int]:
    """Show the logical clock."""
    return {"clock": state.app.clock.value}


@inspect_command()
def report(state: Any) -> dict[str, str]:
    """Show versions and settings, for bug reports."""
    return {"ok": state.app.bugreport()}


@inspect_command(
    alias="dump_conf", signature="[include_defaults=False]", args=[("with_defaults", strtobool)]
)  # fmt: skip
def conf(state: Any, with_defaults: bool = False, **kwargs: Any) -> Any:
    """Show the settings, with passwords masked."""
    return jsonify(
        state.app.conf.table(with_defaults=with_defaults), keyfilter=_is_setting, unknown_type_filter=safe_repr
    )


def _is_setting(key: Any) -> bool:
    return isinstance(key, str) and not key.startswith("__")


@inspect_command(variadic="ids", signature="[id1 [id2 [... [idN]]]]")
def query_task(state: Any, ids: Any, **kwargs: Any) -> dict[str, list[Any]]:
    """Look for tasks by their ids among those that run or wait."""
    return looking.find(state.node, set(maybe_list(ids) or ()))


@inspect_command(alias="dump_schedule")
def scheduled(state: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """List tasks that are not due yet (ETA, countdown, retry)."""
    return looking.scheduled(state.node)


@inspect_command(alias="dump_reserved")
def reserved(state: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """List tasks that were received and have not started."""
    return looking.reserved(state.node)


@inspect_command(alias="dump_active")
def active(state: Any, safe: bool = False, **kwargs: Any) -> list[dict[str, Any]]:
    """List tasks that run."""
    return looking.active(state.node, safe)


@inspect_command(alias="dump_revoked")
def revoked(state: Any, **kwargs: Any) -> list[str]:
    """List the ids of revoked tasks."""
    return list(state.node.directives.revoked)


@inspect_command(alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [... [attrN]]]]")
def registered(state: Any, taskinfoitems: Any = None, builtins: bool = False, **kwargs: Any) -> list[str]:
    """List the tasks that the worker knows, with some of their attributes."""
    tasks = state.app.tasks
    attributes = maybe_list(taskinfoitems) or DEFAULT_TASK_INFO_ITEMS
    names = (name for name in tasks if builtins or not name.startswith("celery."))
    return [_with_attributes(tasks[name], attributes) for name in sorted(names)]


def _with_attributes(task: Any, attributes: Any) -> str:
    found = ((name, getattr(task, name, None)) for name in attributes)
    words = [f"{name}={value}" for name, value in found if value is not None]
    return f"{task.name} [{' '.join(words)}]" if words else str(task.name)


@inspect_command()
def active_queues(state: Any) -> list[dict[str, Any]]:
    """List the queues that the worker consumes."""
    queues = state.app.amqp.queues
    return [dict(queues[name].as_dict(recurse=True)) for name in state.node.directives.queues]


# -- statistics


@inspect_command()
def stats(state: Any, **kwargs: Any) -> dict[str, Any]:
    """Show counts, pool, broker and resources of the worker."""
    node, options = state.node, state.node.options
    return {
        "total": node.board.tally.totals(node.board.used()),
        "pid": node.pid,
        "clock": str(state.app.clock),
        "uptime": int(uptime() - node.started),
        "pool": _pool(node),
        **_autoscaler(node),
        "broker": _broker(state.app),
        "prefetch_count": options.concurrency * (options.prefetch or options.fetch_max),
        "rusage": _rusage(),
    }


def _pool(node: Any) -> dict[str, Any]:
    options = node.options
    info = {"implementation": POOLS.get(options.pool, options.pool), "max-concurrency": node.board.size()}
    if options.pool == "threads":
        return {**info, "threads": node.board.size()}
    pids = node.pids()
    prefork = options.pool == "prefork"
    info.update({
        "processes": pids,
        "max-tasks-per-child": options.max_tasks_per_child or "N/A",
        "put-guarded-by-semaphore": not prefork,
        "timeouts": [options.soft_time_limit or 0, options.time_limit or 0],
    })
    if prefork:
        info["writes"] = _writes(node)
    return info


def _writes(node: Any) -> dict[str, Any]:
    """How many tasks each process has finished, in the words of Celery, whose parent writes tasks to its children."""
    slots = (node.board.read(slot) for slot in range(node.board.used()))
    done = [slot.done for slot in slots if slot.pid > 0]
    total = sum(done)
    parts = [f"{(count / total if total else 0):.2f}" for count in done]
    return {
        "total": total,
        "avg": f"{(1 / len(done) if total and done else 0):.2f}",
        "all": ", ".join(parts),
        "raw": ", ".join(map(str, done)),
        "strategy": "fair",
        "inqueues": {"total": len(done), "active": 0},
    }


def _autoscaler(node: Any) -> dict[str, Any]:
    if node.autoscaler is None:
        return {}
    return {"autoscaler": node.autoscaler.info()}


def _broker(app: Any) -> dict[str, Any]:
    """kombu's view of the connection, without anybody's password."""
    from kombu.utils.url import maybe_sanitize_url  # lazy: kombu, for a rare question

    connection = app.connection_for_read(heartbeat=app.conf.broker_heartbeat)
    info = _plain_redis(connection) if connection.transport_cls == "redis" else dict(connection.info())
    info["alternates"] = [maybe_sanitize_url(url) for url in info.get("alternates") or ()]
    info.pop("password", None)
    return jsonify(info, unknown_type_filter=safe_repr)


def _plain_redis(connection: Any) -> dict[str, Any]:
    """What `connection.info()` says, which imports redis-py and asyncio: 15 MB in a worker that a monitor asks."""
    strategy = connection.failover_strategy
    return {
        "hostname": connection.hostname or "localhost",
        "userid": connection.userid,
        "virtual_host": connection.virtual_host or "/",
        "port": connection.port or 6379,
        "insist": connection.insist,
        "ssl": connection.ssl,
        "transport": "redis",
        "connect_timeout": connection.connect_timeout,
        "transport_options": connection.transport_options,
        "login_method": connection.login_method,
        "uri_prefix": connection.uri_prefix,
        "heartbeat": connection.heartbeat,
        "failover_strategy": strategy if isinstance(strategy, str) else "round-robin",
        "alternates": connection.alt,
        "credential_provider": connection.credential_provider,
    }


def _rusage() -> dict[str, Any]:
    """The resources of the process that answers."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    names = (
        "utime", "stime", "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap", "inblock", "oublock",
        "msgsnd", "msgrcv", "nsignals", "nvcsw", "nivcsw",
    )  # fmt: skip
    return {name: getattr(used, f"ru_{name}") for name in names}


# -- memory


@inspect_command()
def memsample(state: Any, **kwargs: Any) -> str | None:
    """Measure the memory of the worker's processes."""
    from celerylite.utils.debug import sample_mem  # lazy, as below: hardly anybody asks

    return sample_mem(_processes(state.node))


@inspect_command(args=[("samples", int)], signature="[n_samples=10]")
def memdump(state: Any, samples: int = 10, **kwargs: Any) -> str:
    """Show what `memsample` has measured so far."""
    import io

    from celerylite.utils.debug import memdump as dump

    out = io.StringIO()
    dump(int(samples), file=out, pids=_processes(state.node))
    return out.getvalue()


def _processes(node: Any) -> list[int]:
    import os

    return sorted({node.pid, os.getpid(), *node.pids()})


@inspect_command(
    default_timeout=60.0,
    args=[("type", str), ("num", int), ("max_depth", int)],
    signature="[object_type=Request] [num=200 [max_depth=10]]",
)  # fmt: skip
def objgraph(state: Any, num: int = 200, max_depth: int = 10, type: str = "Request") -> dict[str, str]:
    """Draw what keeps objects of a type alive in the control process (needs the package objgraph)."""
    try:
        import objgraph as _objgraph  # type: ignore[import-untyped]  # lazy: an optional package
    except ImportError:
        raise ImportError("Requires the objgraph library") from None
    logger.info("Dumping graph for type %r", type)
    with tempfile.NamedTemporaryFile(prefix="cobjg", suffix=".png", delete=False) as file:
        objects = _objgraph.by_type(type)[: int(num)]
        _objgraph.show_backrefs(
            objects, max_depth=int(max_depth), highlight=lambda one: one in objects, filename=file.name
        )
        return {"filename": file.name}


# -- other workers


@inspect_command(visible=False)
def hello(state: Any, from_node: str, revoked: Any = None, **kwargs: Any) -> dict[str, Any] | None:
    """A worker has started: take over what it knows to be revoked, and tell what we know."""
    node = state.node
    if from_node == state.hostname:
        return None
    logger.info("sync with %s", from_node)
    ids = [task_id for task_id in revoked or () if isinstance(task_id, str)]
    if ids:
        node.post("revoke", ids=ids)
    return {"revoked": list(node.directives.revoked), "clock": state.app.clock.forward()}
