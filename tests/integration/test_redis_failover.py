"""When a Redis is gone, the next takes over: failover lists, Sentinel; and brokers that read here and write there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import OURS, Site, Workers
from tests.support.app import make_app
from tests.support.ledger import Ledger
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def site_of(start_worker: Workers, ledger: Ledger) -> Iterator[Callable[..., Site]]:
    """`site_of(url)` → a site there."""
    sites: list[Site] = []

    def make(url: str) -> Site:
        sites.append(Site(url, ledger, start_worker))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.mark.parametrize("strategy", ["round-robin", "shuffle"])
@pytest.mark.parametrize("form", ["text", "list"])
def test_the_next_of_a_list(
    strategy: str, form: str, make_redis: Callable[..., RedisServer], site_of: Callable[..., Site], new_redis_url: Any
) -> None:
    """Client and worker move on when their server dies; results are elsewhere and stay."""
    first, second = make_redis(), make_redis()
    urls = [first.url(), second.url()]
    conf = {"broker_failover_strategy": strategy, "broker_url": urls if form == "list" else ";".join(urls)}
    store = new_redis_url()
    site = site_of(urls[0])
    worker = site.worker("-c", "1", conf=conf, env={"TEST_BACKEND": store})
    client = make_app(OURS, ";".join(urls), store, conf)
    add = client.tasks["t.add"]
    assert add.delay(1, 2).get(timeout=10) == 3
    first.kill()
    assert add.delay(2, 2).get(timeout=20) == 4
    assert add.apply_async((3, 3), countdown=0.2).get(timeout=20) == 6
    assert "Connection to broker lost" in worker.log()
    assert worker.terminate() == 0
    client.close()


def test_a_strategy_of_the_users_own(
    make_redis: Callable[..., RedisServer], site_of: Callable[..., Site], new_redis_url: Any
) -> None:
    gone, alive = f"redis://127.0.0.1:{free_port()}/0", make_redis().url()
    asked: list[list[str]] = []

    def backwards(urls: Any) -> Iterator[str]:
        asked.append(list(urls))
        while True:
            yield from reversed(asked[-1])

    client = make_app(OURS, f"{gone};{alive}", "disabled://", {"broker_failover_strategy": backwards})
    client.tasks["t.add"].delay(1, 2)
    assert client.broker.queue_length("celery") == 1
    assert asked == [[gone, alive]]
    client.close()


def test_read_here_and_write_there(make_redis: Callable[..., RedisServer], site_of: Callable[..., Site]) -> None:
    """A worker takes from `broker_read_url`; what its tasks send, and their retries, go to `broker_write_url`."""
    old, new = make_redis(), make_redis()
    conf = {"broker_read_url": old.url(), "broker_write_url": new.url()}
    site = site_of(old.url())
    draining = site.worker("-c", "1", conf=conf)
    assert site.client().tasks["t.add"].delay(1, 2).get(timeout=10) == 3
    retried = site.client().tasks["t.flaky"].delay(1)
    with new.client() as there, old.client() as here:
        wait_for(lambda: there.llen("celery") or there.zcard("celerylite.delayed"), what="the retry, over there")
        assert not here.llen("celery")
        assert not here.exists("celerylite.delayed")
    site.worker("-c", "1", "-n", "new@%h", conf={"broker_url": new.url()}, env={"TEST_BROKER": new.url()})
    assert retried.get(timeout=10)[0] == 1
    client = make_app(OURS, old.url(), old.url(), conf)
    assert client.tasks["t.add"].delay(4, 4).get(timeout=10) == 8, "the client writes to the new one"
    assert draining.terminate() == 0
    client.close()


class Sentinels:
    """A master, a replica, and three sentinels that watch over them; all with passwords."""

    def __init__(self, make_redis: Callable[..., RedisServer], directory: Path) -> None:
        secret = ("--requirepass", "pw", "--masterauth", "pw", "--repl-diskless-sync-delay", "0")
        self.master = make_redis(extra=secret, password="pw")
        self.replica = make_redis(extra=(*secret, "--replicaof", f"127.0.0.1 {self.master.port}"), password="pw")
        self.directory = directory
        self.ports = [self._watch(make_redis, number) for number in range(3)]
        with self.replica.client() as client:
            wait_for(lambda: client.info("replication")["master_link_status"] == "up", 20, "the replica to follow")
        for port in self.ports:
            with redis.Redis(port=port, password="guard") as sentinel:
                wait_for(partial(self._knows_all, sentinel), 20, "the sentinels to know each other")

    def _watch(self, make_redis: Callable[..., RedisServer], number: int) -> int:
        port, own = free_port(), self.directory / f"sentinel-{number}"
        own.mkdir()
        (own / "conf").write_text(
            f"port {port}\nrequirepass guard\nsentinel sentinel-pass guard\ndir {own}\n"
            f"sentinel monitor boss 127.0.0.1 {self.master.port} 2\nsentinel auth-pass boss pw\n"
            "sentinel down-after-milliseconds boss 1000\nsentinel failover-timeout boss 5000\n"
        )
        make_redis(port=port, config=own / "conf", password="guard")
        return port

    @staticmethod
    def _knows_all(sentinel: redis.Redis) -> bool:
        others = sentinel.execute_command("SENTINEL", "SENTINELS", "boss")
        return len(others) == 2 and len(sentinel.execute_command("SENTINEL", "REPLICAS", "boss")) == 1

    @property
    def url(self) -> str:
        """All of them."""
        return ";".join(f"sentinel://:pw@127.0.0.1:{port}/0" for port in self.ports)


def test_sentinel(make_redis: Callable[..., RedisServer], site_of: Callable[..., Site], tmp_path: Path) -> None:
    """The master dies: tasks keep flowing over the replica, and so do results, what ran, and what waits."""
    sentinels = Sentinels(make_redis, tmp_path)
    options = {"master_name": "boss", "sentinel_kwargs": {"password": "guard"}}
    conf = {"broker_transport_options": options, "result_backend_transport_options": options}
    conf["task_publish_retry_policy"] = {"max_retries": 60, "interval_max": 0.5}
    site = site_of(sentinels.url)
    worker = site.worker("-c", "2", conf=conf)
    client = site.client(**conf)
    add, late = client.tasks["t.add"], client.tasks["t.work_late"]
    assert [add.delay(n, n).get(timeout=10) for n in range(5)] == [0, 2, 4, 6, 8]
    running = late.delay(None, 3.0)
    due = add.apply_async((5, 5), countdown=6)
    site.ledger.wait("start", running.id)
    with sentinels.master.client() as master:
        assert master.wait(1, 5000) == 1  # what was sent so far is on the replica: the rest is up to Redis
    sentinels.master.kill()
    assert add.delay(7, 7).get(timeout=60) == 14
    assert [add.delay(n, n).get(timeout=20) for n in range(5)] == [0, 2, 4, 6, 8]
    assert running.get(timeout=30) == "worked"
    assert due.get(timeout=30) == 10
    with sentinels.replica.client() as promoted:
        assert promoted.info("replication")["role"] == "master"
        assert promoted.exists(f"celery-task-meta-{due.id}")
    assert worker.terminate(30) == 0
