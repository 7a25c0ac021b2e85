"""A client of one library and a running worker of the other, for the interop tests of both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.ledger import Ledger

CONTENT = ["json", "pickle", "yaml", "msgpack"]
WORKER_CONF = {
    "accept_content": CONTENT,
    "result_accept_content": CONTENT,
    "result_extended": True,
    "task_create_missing_queues": True,
}


class Pair(NamedTuple):
    """A client of one library and a running worker of the other."""

    site: Site
    client: Any
    other: Any  # an app of the worker's library in this process, to read results with
    worker_lib: str

    def task(self, name: str) -> Any:
        return self.client.tasks[f"t.{name}"]

    def wait_idle(self) -> None:
        """Wait until everything sent so far has run: more calls than slots, one after the other."""
        for _ in range(4):
            self.task("add").delay(0, 0).get(timeout=10)

    def record(self, task_id: str) -> dict[str, Any]:
        """The result as it stands in Redis."""
        raw = self.site.redis.get(f"celery-task-meta-{task_id}")
        assert raw is not None, f"no result of {task_id}"
        return json.loads(raw)


@pytest.fixture(scope="module", params=[(THEIRS, OURS), (OURS, THEIRS)], ids=lambda p: f"{p[0]}-to-{p[1]}")
def pair(request: pytest.FixtureRequest, new_redis_url: Any, tmp_path_factory: Any) -> Iterator[Pair]:
    client_lib, worker_lib = request.param
    directory = tmp_path_factory.mktemp("pair")
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    conf = {**WORKER_CONF, "task_track_started": False}
    site.worker("-c", "2", "-n", "w1@%h", "-Q", "celery,other,third", program=worker_lib, conf=conf)
    accept = {"accept_content": CONTENT, "result_accept_content": CONTENT}
    yield Pair(site, site.client(client_lib, **accept), site.client(worker_lib, **accept), worker_lib)
    site.close()
