"""Servers that cannot carry tasks, or do not let us, are named with the fix; users with few rights are enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from kombu.exceptions import OperationalError

from celerylite.brokers import redis_access
from celerylite.brokers.redis import RedisBroker
from celerylite.brokers.redis_link import LinkError, ReplyError
from tests.conftest import OURS, Site, Workers
from tests.support.app import make_app
from tests.support.ledger import Ledger
from tests.support.redis_server import RedisServer, free_port

NO_RETRY = {"task_publish_retry_policy": {"max_retries": 0}}
#: As docs/brokers.md gives them.
WORKER_RULE = (
    "resetchannels ~celery* ~_kombu.* ~unacked* ~reply.* ~*.reply.celery.pidbox "
    "&celery-task-meta-* &celery-taskset-meta-* &/0.* &__redis__:invalidate "
    + redis_access.COMMANDS
)
SENDER_RULE = f"~celery {redis_access.SENDING}"


class Guarded:
    """A server with users of its own."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def user(self, name: str, rule: str) -> str:
        """Create a user; returns its URL."""
        with self.server.client() as client:
            client.execute_command("ACL", "SETUSER", name, "reset", "on", ">pw", *rule.split())
        return self.server.url().replace("redis://", f"redis://{name}:pw@")


@pytest.fixture
def guarded(make_redis: Callable[..., RedisServer]) -> Guarded:
    return Guarded(make_redis())


@pytest.fixture
def site_of(start_worker: Workers, ledger: Ledger) -> Iterator[Callable[[str], Site]]:
    """`site_of(url)` → a site there."""
    sites: list[Site] = []

    def make(url: str) -> Site:
        sites.append(Site(url, ledger, start_worker))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.mark.slow
def test_a_user_with_the_rights_of_the_docs(guarded: Guarded, site_of: Callable[[str], Site]) -> None:
    """Early and late, with result, retry, ETA and priority; by a client that may only send."""
    site = site_of(guarded.user("worker", WORKER_RULE))
    worker = site.worker("-c", "1")
    sender = make_app(OURS, guarded.user("sender", SENDER_RULE), "disabled://")
    assert site.client().tasks["t.add"].delay(1, 2).get(timeout=10) == 3
    assert site.client().tasks["t.flaky"].delay(1).get(timeout=10)[0] == 1
    sender.tasks["t.work"].apply_async(task_id="sent")
    sender.tasks["t.work_late"].apply_async(task_id="later", countdown=0.5)
    for key in ("sent", "later"):
        site.ledger.wait("finish", key)
    assert worker.terminate() == 0
    assert "refuses" not in worker.log(), worker.tail()


@pytest.mark.slow
@pytest.mark.parametrize(
    "without,named",
    [
        ("~celery*", "no access to celery, "),
        ("~unacked*", "no access to unacked, unacked_index"),
        ("&celery-task-meta-*", "no access to celery-task-meta-probe"),
        ("+@scripting", "run the 'script"),
    ],
)
def test_a_worker_names_what_is_missing(
    guarded: Guarded, site_of: Callable[[str], Site], without: str, named: str
) -> None:
    """It waits for the permission, and goes on once it is there."""
    rule = " ".join(word for word in WORKER_RULE.split() if word != without)
    site = site_of(guarded.user("ann", rule))
    worker = site.worker("-c", "1", "--without-mingle", ready=False)
    found = worker.wait_log(r"Redis refuses its user 'ann': .*", 20)[0].group()
    assert named in found
    assert "ACL SETUSER ann ~celery* ~celerylite.* ~unacked* ~_kombu.*" in found
    guarded.user("ann", WORKER_RULE)
    worker.wait_ready()
    assert site.client().tasks["t.add"].delay(1, 2).get(timeout=10) == 3


def test_a_client_names_what_is_missing(guarded: Guarded) -> None:
    client = make_app(OURS, guarded.user("ann", "~other* ~_kombu.* +@all"), "disabled://", NO_RETRY)
    with pytest.raises(OperationalError, match=r"user 'ann'.*To send, it needs: ACL SETUSER ann ~celery ~_kombu"):
        client.tasks["t.add"].delay(1, 1)
    client.tasks["t.add"].apply_async((1, 1), queue="other")
    client.close()


def test_a_server_that_is_too_old(make_redis: Callable[..., RedisServer]) -> None:
    """Played by a server from which the newest command that we need was taken."""
    client = make_app(OURS, make_redis(extra=("--rename-command", "BLMOVE", "")).url(), "disabled://")
    broker = client.broker
    with pytest.raises(LinkError, match=r"Redis \d+\.\d+\.\d+ is too old: celerylite needs 6\.2 or later \(BLMOVE\)"):
        redis_access.check(broker, broker.new_link(), ["celery"])
    client.close()


def test_a_node_of_a_cluster(make_redis: Callable[..., RedisServer]) -> None:
    port = free_port()
    client = make_app(OURS, make_redis(port=port, extra=("--cluster-enabled", "yes")).url(), "disabled://")
    broker = client.broker
    assert isinstance(broker, RedisBroker)
    with pytest.raises(LinkError, match=r"a node of a Redis Cluster: write redis\+cluster://"):
        redis_access.check(broker, broker.new_link(), ["celery"])
    moved = redis_access.refused_to_send(ReplyError("MOVED 1 host:1"), broker, [b"celery"])
    assert isinstance(moved, OperationalError)
    assert "a node of a Redis Cluster" in str(moved)
    client.close()
