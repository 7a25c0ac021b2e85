"""Remote control commands under Celery's names: the register, the decorators for a project's own, and all that there
are.
"""

from __future__ import annotations

from celerylite.worker.controlling import (
    add_consumer,
    autoscale,
    cancel_consumer,
    disable_events,
    election,
    enable_events,
    heartbeat,
    nok,
    ok,
    pool_grow,
    pool_restart,
    pool_shrink,
    rate_limit,
    revoke,
    revoke_by_stamped_headers,
    shutdown,
    terminate,
    time_limit,
)
from celerylite.worker.inspecting import (
    active,
    active_queues,
    clock,
    conf,
    hello,
    memdump,
    memsample,
    objgraph,
    ping,
    query_task,
    registered,
    report,
    reserved,
    revoked,
    scheduled,
    stats,
)
from celerylite.worker.panel import Panel, control_command, controller_info_t, inspect_command

__all__ = [
    "Panel", "active", "active_queues", "add_consumer", "autoscale", "cancel_consumer", "clock", "conf",
    "control_command", "controller_info_t", "disable_events", "election", "enable_events", "heartbeat", "hello",
    "inspect_command", "memdump", "memsample", "nok", "objgraph", "ok", "ping", "pool_grow", "pool_restart",
    "pool_shrink", "query_task", "rate_limit", "registered", "report", "reserved", "revoke",
    "revoke_by_stamped_headers", "revoked", "scheduled", "shutdown", "stats", "terminate", "time_limit",
]  # fmt: skip
