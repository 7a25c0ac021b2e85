"""The same on RabbitMQ: how fast a program sends, and how fast one task process empties a full queue.

The server is a private one, started for these cases; each measurement has a virtual host of its own. Celery's delay()
does not wait until the server has the message safe, ours does; in bulk the waits are shared.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from cases import drain
from support import CELERY, CELERY_TUNED, REPOSITORY, Bench, Case, Contestant, Figure

if TYPE_CHECKING:
    from tests.support.rabbitmq import RabbitServer

CALLS = {"celery": 3_000, "celerylite": 3_000}
BULK_CALLS = {"celery": 3_000, "celerylite": 20_000}


@cache
def _server() -> RabbitServer:
    sys.path.append(str(REPOSITORY))
    from tests.support.rabbitmq import RabbitServer

    server = RabbitServer().start()
    atexit.register(server.close)
    return server


def _on_rabbitmq(
    measure: Callable[[Bench, Contestant], dict[str, float]],
) -> Callable[[Bench, Contestant], dict[str, float]]:
    def measured(bench: Bench, contestant: Contestant) -> dict[str, float]:
        bench.broker_url = _server().new_vhost()
        try:
            return measure(bench, contestant)
        finally:
            bench.broker_url = None

    return measured


def measure_delay(bench: Bench, contestant: Contestant) -> dict[str, float]:
    return bench.client(contestant, "publish_delay", n=CALLS[contestant.library])


def measure_bulk(bench: Bench, contestant: Contestant) -> dict[str, float]:
    return bench.client(contestant, "publish_bulk", n=BULK_CALLS[contestant.library])


def _unconfirmed(contestant: Contestant, **changes: Any) -> Contestant:
    settings = {**contestant.settings, "broker_transport_options": {"confirm_publish": False}}
    return Contestant(contestant.name, contestant.library, contestant.worker_flags, {**settings, **changes})


OURS = Contestant("celerylite", "celerylite")
OURS_UNCONFIRMED = _unconfirmed(OURS)

CASES = (
    Case(
        "rabbitmq_publish_delay",
        "RabbitMQ: delay() in a loop, not confirmed by the server, as Celery's never is",
        (Figure("per_s", "calls/s", bar=2), Figure("cpu_us", "CPU µs a call", "less")),
        _on_rabbitmq(measure_delay),
        (CELERY, OURS_UNCONFIRMED),
    ),
    Case(
        "rabbitmq_publish_bulk",
        "RabbitMQ: app.send_tasks, confirmed, against Celery's delay() one by one, not confirmed",
        (Figure("per_s", "calls/s", bar=2), Figure("cpu_us", "CPU µs a call", "less")),
        _on_rabbitmq(measure_bulk),
        (CELERY, OURS),
    ),
    Case(
        "rabbitmq_drain_early",
        "RabbitMQ: drain of no-ops by one task process, early ack, ignore_result",
        (
            Figure("per_s", "tasks/s", bar=4),
            Figure("task_process_us", "CPU µs a task, task process", "less"),
            Figure("worker_us", "CPU µs a task, whole worker", "less"),
        ),
        _on_rabbitmq(drain.measure_early),
        (CELERY, CELERY_TUNED, OURS),
    ),
    Case(
        "rabbitmq_drain_late",
        "RabbitMQ: drain of no-ops by one task process, acks_late, ignore_result",
        (
            Figure("per_s", "tasks/s", bar=4),
            Figure("task_process_us", "CPU µs a task, task process", "less"),
            Figure("worker_us", "CPU µs a task, whole worker", "less"),
        ),
        _on_rabbitmq(drain.measure_late),
        (CELERY, CELERY_TUNED, OURS),
    ),
)
