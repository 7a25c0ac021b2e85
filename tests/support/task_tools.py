"""What several of the support tasks need."""

from __future__ import annotations

import os
import time
from typing import Any

REQUEST_FIELDS = (
    "id",
    "args",
    "kwargs",
    "root_id",
    "parent_id",
    "group",
    "group_index",
    "correlation_id",
    "reply_to",
    "origin",
    "delivery_info",
    "eta",
    "expires",
    "retries",
    "timelimit",
    "shadow",
    "ignore_result",
    "is_eager",
    "called_directly",
    "hostname",
    "callbacks",
    "errbacks",
    "chain",
    "chord",
    "utc",
    "taskset",
    "replaced_task_nesting",
    "stamps",
    "stamped_headers",
    "headers",
    "properties",
    "argsrepr",
    "kwargsrepr",
    "lang",
    "task",
    "loglevel",
    "logfile",
)


def request_fields(request: Any) -> dict[str, Any]:
    """What a running task sees of itself."""
    return {name: getattr(request, name, "—") for name in REQUEST_FIELDS}


def wait_for_key(app: Any, key: str, timeout: float = 30.0) -> None:
    """Block until somebody pushes to the Redis list `key`, so that a test decides when a task goes on."""
    import redis  # here, because the client that sends needs none of it

    with redis.Redis.from_url(os.environ["TEST_BROKER"], socket_timeout=timeout + 5) as client:
        if client.blpop([key], timeout=timeout) is None:
            raise AssertionError(f"nobody opened {key}")


def spin(seconds: float) -> None:
    """Be busy in Python, so that a soft time limit can interrupt."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)


class NoLedger:
    """In a client's process nothing runs, so nothing is written."""

    def write(self, name: str, key: str = "", /, **data: Any) -> None:
        raise AssertionError("tasks that write need TEST_LEDGER")

    start = finish = write
