"""Events on RabbitMQ, beside a Celery worker there, and on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.app import make_app
from tests.support.ledger import Ledger
from tests.support.listener import Listener
from tests.support.rabbitmq import RabbitServer
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


class WithoutResults(Site):
    """Where results are of no interest."""

    def client(self, lib: str = OURS, **conf: Any) -> Any:
        client = make_app(lib, self.url, "cache+memory://", conf)
        self._clients.append(client)
        return client

    def environment(self, conf: Any = None, signals: str = "", env: Any = None) -> dict[str, str]:
        return super().environment(conf, signals, {"TEST_BACKEND": "cache+memory://", **(env or {})})


def heard(listener: Listener, task_id: str) -> list[str]:
    listener.wait_for(task_id, "task-succeeded")
    listener.wait_for(task_id, "task-sent")
    return sorted(listener.types_of(task_id))


def test_rabbitmq_in_both_directions(rabbit_server: RabbitServer, tmp_path: Path, start_worker: Workers) -> None:
    site = WithoutResults(rabbit_server.new_vhost(), Ledger(tmp_path / "ledger"), start_worker)
    workers = {
        lib: site.worker("-c", "1", "-E", "-n", f"{lib}@here", "-Q", lib, program=lib) for lib in (OURS, THEIRS)
    }
    clients = {lib: site.client(lib, task_send_sent_event=True) for lib in workers}
    listeners = [Listener(clients[lib], lib) for lib in workers]
    for client in clients.values():
        for lib in workers:
            result = client.tasks["t.add"].apply_async((2, 3), queue=lib)
            for listener in listeners:
                assert heard(listener, result.id) == ["task-received", "task-sent", "task-started", "task-succeeded"]
                task = listener.state.tasks[result.id]
                assert (task.worker.hostname, task.result, task.routing_key) == (f"{lib}@here", "5", lib)
    for lib, worker in workers.items():
        for listener in listeners:
            wait_for(lambda: listener.state.workers[f"{lib}@here"].alive, 30, "heartbeats")  # noqa: B023
        assert worker.terminate() == 0
        for listener in listeners:
            wait_for(lambda: not listener.state.workers[f"{lib}@here"].alive, 30, "the goodbye")  # noqa: B023
    for listener in listeners:
        listener.close()
    site.close()


def test_sqlite(tmp_path: Path, start_worker: Workers) -> None:
    site = WithoutResults(f"sqlite:///{tmp_path / 'q.db'}", Ledger(tmp_path / "ledger"), start_worker)
    worker = site.worker("-c", "1", "-E", "-n", "w@here")
    client = site.client(OURS, task_send_sent_event=True)
    listener = Listener(client, OURS)
    wait_for(lambda: "w@here" in listener.state.workers, 30, "the heartbeat that a monitor asks for")
    result = client.tasks["t.add"].delay(2, 3)
    assert heard(listener, result.id) == ["task-received", "task-sent", "task-started", "task-succeeded"]
    assert worker.terminate() == 0
    wait_for(lambda: not listener.state.workers["w@here"].alive, 30, "the goodbye")
    listener.close()
    site.close()


def test_the_worker_speaks_again_after_the_server_was_away(
    make_redis: Callable[..., RedisServer], tmp_path: Path, start_worker: Workers
) -> None:
    server = make_redis(appendonly=True)
    site = WithoutResults(server.url(0), Ledger(tmp_path / "ledger"), start_worker)
    site.worker("-c", "1", "-E", "-n", "w@here", "--heartbeat-interval", "1")
    client = site.client(OURS)
    first = Listener(client, OURS)
    wait_for(lambda: first.state.alive_workers(), 30, "a heartbeat")
    first.close()
    server.kill()
    server.start()
    later = Listener(site.client(OURS), OURS)
    wait_for(lambda: later.state.alive_workers(), 60, "a heartbeat after the restart")
    later.wait_for(client.tasks["t.add"].delay(1, 2).id, "task-succeeded")
    later.close()
    site.close()
