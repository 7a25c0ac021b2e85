"""Real workers on a real Redis Cluster of three nodes: queues in different slots, kills, failover, slots that move."""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celerylite import Celery, chain, chord, group
from celerylite.exceptions import WorkerLostError
from tests.conftest import OURS, Site, Workers
from tests.integration.test_redis_urls import certificates
from tests.support.app import make_app
from tests.support.ledger import Ledger
from tests.support.redis_cluster import RedisCluster
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

#: One on each node: their slots are 3213, 12182 and 8903.
QUEUES = ["celery", "foo", "slow"]
PATIENCE = 40.0
CONF = {"task_queues": QUEUES, "worker_lease": 3, "task_publish_retry_policy": {"max_retries": 80, "interval_max": 0.5}}


@pytest.fixture(scope="module")
def shared(
    redis_cluster: RedisCluster, tmp_path_factory: pytest.TempPathFactory, start_module_worker: Workers
) -> Iterator[Site]:
    """One worker of three queues, one on each node."""
    redis_cluster.flush()
    site = Site(redis_cluster.url, Ledger(tmp_path_factory.mktemp("ledger")), start_module_worker)
    site.worker("-c", "2", conf=CONF)
    yield site
    site.close()


@pytest.fixture
def client(shared: Site) -> Iterator[Any]:
    client = shared.client(**CONF)
    yield client
    client.close()


@pytest.fixture
def own_cluster() -> Iterator[Callable[..., RedisCluster]]:
    """Clusters of the test's own, whose nodes it may kill."""
    made: list[RedisCluster] = []

    def make(**options: Any) -> RedisCluster:
        made.append(RedisCluster(**options))
        return made[-1].start()

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def site_of(start_worker: Workers, ledger: Ledger) -> Iterator[Callable[[RedisCluster], Site]]:
    sites: list[Site] = []

    def make(cluster: RedisCluster) -> Site:
        sites.append(Site(cluster.url, ledger, start_worker))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


# -- what a user does


def test_the_queues_are_on_three_nodes(redis_cluster: RedisCluster) -> None:
    assert len({redis_cluster.owner(queue).port for queue in QUEUES}) == 3


@pytest.mark.parametrize("queue", QUEUES)
def test_tasks_and_results(client: Any, queue: str) -> None:
    add = client.tasks["t.add"]
    results = [add.apply_async((n, 1), queue=queue) for n in range(20)]
    assert [result.get(timeout=PATIENCE) for result in results] == list(range(1, 21))
    assert add.apply_async((1, 1), queue=queue, countdown=0.5).get(timeout=PATIENCE) == 2


def test_many_at_once_to_all_nodes(client: Any) -> None:
    add = client.tasks["t.add"]
    parts = [add.s(n, n).set(queue=QUEUES[n % 3]) for n in range(120)]
    assert group(parts)().get(timeout=PATIENCE) == [2 * n for n in range(120)]


def test_workflows(client: Any) -> None:
    add, size, same = client.tasks["t.add"], client.tasks["t.size"], client.tasks["t.same"]
    header = [add.s(n, n).set(queue=QUEUES[n % 3]) for n in range(6)]
    assert chord(header, same.s().set(queue="slow"))().get(timeout=PATIENCE) == [0, 2, 4, 6, 8, 10]
    steps = chain(add.s(1, 1), add.s(2).set(queue="foo"), group(add.s(1), add.s(2).set(queue="slow")), size.s())
    assert steps.apply_async().get(timeout=PATIENCE) == 2
    failing = chord([add.s(1, 1), client.tasks["t.fail"].s("ValueError")], same.s())()
    with pytest.raises(ValueError):
        failing.get(timeout=PATIENCE)


def test_retries_and_late_ones(client: Any, shared: Site) -> None:
    assert client.tasks["t.flaky"].apply_async((1,), queue="foo").get(timeout=PATIENCE)[0] == 1
    late = client.tasks["t.work_late"].apply_async((None, 0.1), queue="slow")
    assert late.get(timeout=PATIENCE) == "worked"
    assert shared.ledger.count("start", late.id) == 1


def test_a_task_process_is_killed(client: Any, shared: Site) -> None:
    lost = client.tasks["t.die_late"].apply_async(queue="foo")
    with pytest.raises(WorkerLostError):
        lost.get(timeout=PATIENCE)
    again = client.tasks["t.die_late_reject"].apply_async(queue="slow")
    assert again.get(timeout=PATIENCE) == "survived"
    assert shared.ledger.count("start", again.id) == 2


def test_priorities(shared: Site, client: Any) -> None:
    """What is urgent overtakes in its queue."""
    blockers = [client.tasks["t.work"].apply_async((None, 1.0), queue="foo") for _ in range(2)]
    for blocker in blockers:
        shared.ledger.wait("start", blocker.id)
    work = client.tasks["t.work"]
    usual = [work.apply_async(queue="foo", priority=9) for _ in range(4)]
    urgent = work.apply_async(queue="foo", priority=0)
    for result in [*usual, urgent]:
        result.get(timeout=PATIENCE)
    started = [event.key for event in shared.ledger.events("start")]
    order = sorted((started.index(result.id), result is urgent) for result in [*usual, urgent])
    assert any(is_urgent for _, is_urgent in order[:2]), "two processes: at most one of the others was before it"


@pytest.mark.parametrize(
    "strategy,expected",
    [("sorted", "aabbcc"), ("priority", "bbccaa"), ("round_robin", "bcabca")],
)
def test_queues_are_taken_from_in_the_order_asked_for(
    redis_cluster: RedisCluster, strategy: str, expected: str
) -> None:
    prefix = uuid.uuid4().hex
    app: Any = Celery("order", broker=redis_cluster.url, set_as_current=False)
    app.conf.broker_transport_options = {"queue_order_strategy": strategy, "global_keyprefix": prefix}
    for queue in "cabcab":
        app.send_task("t", queue=queue)
    consumer = app.broker.consumer(list("bca"), serial=True, lease=5.0)
    assert consumer.open(lambda: False)
    assert "".join(consumer.fetch(1, 1.0)[0].queue for _ in range(6)) == expected
    consumer.close()
    app.broker.purge("abc")
    app.close()


def test_no_queue_waits_for_another(shared: Site, client: Any) -> None:
    """While one queue is full, the others get their turn."""
    full = [client.tasks["t.work"].apply_async((None, 0.05), queue="celery") for _ in range(60)]
    others = [client.tasks["t.add"].apply_async((1, 1), queue=queue) for queue in ("foo", "slow")]
    for result in others:
        assert result.get(timeout=PATIENCE) == 2
    assert not all(result.ready() for result in full)
    for result in full:
        result.get(timeout=PATIENCE)


def test_the_broker_tells_where_messages_are(client: Any) -> None:
    broker = client.broker
    for _ in range(3):
        client.tasks["t.add"].apply_async((1, 1), queue="nobody", countdown=1000)
    client.tasks["t.add"].apply_async((1, 1), queue="nobody")
    (stats,) = [one for one in broker.queue_stats([]) if one.queue == "nobody"]
    assert (stats.waiting, stats.delayed, stats.held, stats.dead) == (1, 3, 0, 0)
    wait_for(lambda: broker.live_consumers() == 2, PATIENCE, "the leases of processes that were killed to end")
    assert broker.release_delayed() == 3
    assert broker.purge(["nobody"]) == 4


def test_dead_letters(client: Any) -> None:
    client.send_task("nobody.knows.it", queue="foo")
    (letter,) = wait_for(client.broker.dead, PATIENCE, "the message to be set aside")
    assert letter.queue == "foo"
    assert client.broker.retry_dead([letter.id]) == 1
    (letter,) = wait_for(client.broker.dead, PATIENCE, "the message to be set aside again")
    assert client.broker.purge_dead() == 1
    assert client.broker.dead() == []


# -- what goes wrong


def test_a_whole_worker_is_killed(redis_cluster: RedisCluster, site_of: Any) -> None:
    """What it held is back when its leases have run out."""
    site = site_of(redis_cluster)
    conf = {**CONF, "task_queues": ["killed.one", "killed.two"]}
    client = site.client(**conf)
    work = client.tasks["t.work_late"]
    worker = site.worker("-c", "2", conf=conf)
    running = [work.apply_async((None, 2.0), queue=queue) for queue in conf["task_queues"]]
    waiting = [work.apply_async((None, 0.0), queue=queue) for queue in conf["task_queues"]]
    for result in running:
        site.ledger.wait("start", result.id)
    worker.kill_tree()
    site.worker("-c", "2", conf=conf)
    for result in running + waiting:
        assert result.get(timeout=PATIENCE) == "worked"
    assert [site.ledger.count("start", result.id) for result in running] == [2, 2]
    assert [site.ledger.count("start", result.id) for result in waiting] == [1, 1]


def test_a_master_dies(own_cluster: Callable[..., RedisCluster], site_of: Any) -> None:
    """Its replica takes over: nothing that was on it is lost, and the other queues hardly notice."""
    cluster = own_cluster(replicas=1)
    site = site_of(cluster)
    worker = site.worker("-c", "2", conf=CONF)
    client = site.client(**CONF)
    add, late = client.tasks["t.add"], client.tasks["t.work_late"]
    victim = cluster.owner("foo")
    running = late.apply_async((None, 4.0), queue="foo")
    site.ledger.wait("start", running.id)
    due = add.apply_async((5, 5), queue="foo", countdown=6)
    other = add.apply_async((6, 6), queue="slow", countdown=3)
    with victim.client() as master:
        assert master.wait(1, 5000) == 1  # what was sent so far is on the replica: the rest is up to Redis
    victim.kill()
    assert add.apply_async((1, 2), queue="slow").get(timeout=PATIENCE) == 3
    assert other.get(timeout=PATIENCE) == 12
    assert add.apply_async((7, 7), queue="foo").get(timeout=PATIENCE) == 14
    assert running.get(timeout=PATIENCE) == "worked"
    assert due.get(timeout=PATIENCE) == 10
    assert cluster.owner("foo") is cluster.replica_of(victim)
    assert worker.terminate(30) == 0


def test_a_node_is_silent(own_cluster: Callable[..., RedisCluster], site_of: Any) -> None:
    """The queues of the others go on, their leases included; its own go on when it speaks again."""
    cluster = own_cluster()
    site = site_of(cluster)
    worker = site.worker("-c", "2", conf=CONF)
    client = site.client(**CONF)
    victim = cluster.owner("foo")
    long = client.tasks["t.work_late"].apply_async((None, 10.0), queue="slow")
    site.ledger.wait("start", long.id)
    os.kill(victim.pid, signal.SIGSTOP)
    for countdown in (None, 1, 4):
        sent = client.tasks["t.work"].apply_async(queue="celery", countdown=countdown, ignore_result=True)
        site.ledger.wait("finish", sent.id, timeout=PATIENCE)
    site.ledger.wait("finish", long.id, timeout=PATIENCE)
    os.kill(victim.pid, signal.SIGCONT)
    assert long.get(timeout=PATIENCE) == "worked"
    assert site.ledger.count("start", long.id) == 1
    assert client.tasks["t.add"].apply_async((1, 2), queue="foo").get(timeout=PATIENCE) == 3
    assert "hangs" not in worker.log()
    assert worker.terminate(30) == 0


def test_slots_move_while_tasks_run(own_cluster: Callable[..., RedisCluster], site_of: Any) -> None:
    """There and back again; each task runs once."""
    cluster = own_cluster()
    site = site_of(cluster)
    worker = site.worker("-c", "2", conf=CONF)
    client = site.client(**CONF)
    work = client.tasks["t.work_late"]
    home = cluster.owner("foo")
    target = next(node for node in cluster.masters if node is not home)
    results = []

    def send() -> None:
        results.extend(work.apply_async((None, 0.01), queue="foo") for _ in range(20))
        results.append(work.apply_async((None, 0.01), queue="foo", countdown=0.5))

    for there in (target, home, target):
        send()
        cluster.move_slot("foo", there, before_end=lambda: time.sleep(0.3))
        send()
    for result in results:
        assert result.get(timeout=PATIENCE) == "worked"
    assert [site.ledger.count("start", result.id) for result in results] == [1] * len(results)
    assert worker.terminate(30) == 0


def test_a_worker_is_stopped_and_comes_back(redis_cluster: RedisCluster, site_of: Any) -> None:
    """Asleep for longer than its lease: what it held runs elsewhere, and not twice at once."""
    site = site_of(redis_cluster)
    conf = {**CONF, "task_queues": ["asleep"]}
    client = site.client(**conf)
    first = site.worker("-c", "1", "-n", "first@%h", conf=conf)
    blocker = client.tasks["t.work"].apply_async((None, 1.0), queue="asleep")
    site.ledger.wait("start", blocker.id)
    first.signal_group(signal.SIGSTOP)
    waiting = [client.tasks["t.work"].apply_async(queue="asleep") for _ in range(5)]
    site.worker("-c", "1", "-n", "second@%h", conf=conf)
    for result in waiting:
        assert result.get(timeout=PATIENCE) == "worked"
    first.signal_group(signal.SIGCONT)
    assert blocker.get(timeout=PATIENCE) == "worked"
    assert [site.ledger.count("start", result.id) for result in waiting] == [1] * 5
    assert first.terminate(30) == 0


def test_passwords_and_tls(own_cluster: Callable[..., RedisCluster], site_of: Any, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make certificates")
    files = certificates(tmp_path)
    tls = (
        "--tls-cert-file", files["s.crt"], "--tls-key-file", files["s.key"],
        "--tls-ca-cert-file", files["ca.crt"], "--tls-auth-clients", "no",
    )  # fmt: skip
    try:
        cluster = own_cluster(password="pw", tls=tls)
    except AssertionError as exc:
        if "tls" in str(exc).lower():
            pytest.skip("this redis-server was built without TLS")
        raise
    plain = cluster.url.replace("://", "://:pw@")
    secure = cluster.tls_url.replace("://", "://:pw@") + f"?ssl_cert_reqs=required&ssl_ca_certs={files['ca.crt']}"
    site = site_of(cluster)
    worker = site.worker("-c", "1", conf=CONF, env={"TEST_BROKER": secure, "TEST_BACKEND": plain})
    client = make_app(OURS, plain, secure, CONF)
    for queue in QUEUES:
        assert client.tasks["t.add"].apply_async((1, 2), queue=queue).get(timeout=PATIENCE) == 3
    assert ":pw@" not in worker.log()
    client.close()
    wrong = Celery("wrong", broker=cluster.url.replace("://", "://:wrong@"), set_as_current=False)
    with pytest.raises(Exception, match="WRONGPASS"):
        wrong.send_task("t", retry=False)


# -- what is refused, with a sentence


def test_a_single_server_is_no_cluster(redis_url: str) -> None:
    port = redis_url.rpartition(":")[2].partition("/")[0]
    app = Celery("wrong", broker=f"redis+cluster://127.0.0.1:{port}/", set_as_current=False)
    with pytest.raises(Exception, match="is no node of a Redis Cluster: write redis:// for it"):
        app.send_task("t", retry=False)


def test_a_node_is_no_single_server(redis_cluster: RedisCluster) -> None:
    port = redis_cluster.masters[0].port
    app = Celery("wrong", broker=f"redis://127.0.0.1:{port}/", set_as_current=False)
    with pytest.raises(Exception, match=r"write redis\+cluster://"):
        for queue in QUEUES:
            app.send_task("t", retry=False, queue=queue)
