"""The same accidents on RabbitMQ: children, workers and the broker are killed, connections are cut; nothing is lost."""

from __future__ import annotations

import random
import signal
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Queue
from kombu.exceptions import OperationalError

from tests.crash.harness import Lab, kill, lost, outlast, poll
from tests.crash.test_child_killed import assert_worker_is_whole, kill_children_until
from tests.crash.test_redis_killed import Sender, resumes
from tests.crash.test_tree_killed import Siege
from tests.support.certificates import certificates
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitServer
from tests.support.redis_server import RedisServer, free_port

pytestmark = [pytest.mark.crash, pytest.mark.slow]

BOTH = pytest.mark.parametrize("mode", ["early", "late"])


class RabbitLab(Lab):
    """Tasks on RabbitMQ, in a queue of the test's own; results on Redis."""

    rabbit: RabbitServer
    queue: str

    def several_queues(self, **options: Any) -> list[str]:
        """Have workers consume three queues besides one that lives only as long as it is consumed; their names."""
        names = [self.queue, f"{self.queue}-2", f"{self.queue}-3"]
        fleeting = {f"{self.queue}-fleeting": {"auto_delete": True}}
        self.settings["task_queues"] = {**{name: dict(options) for name in names}, **fleeting}
        return names

    def proxy(self, on_chunk: Any = None) -> Proxy:
        return Proxy(("127.0.0.1", self.rabbit.port), on_chunk=on_chunk)

    def through(self, proxy: Proxy) -> str:
        return self.broker_url.replace(str(self.rabbit.port), str(proxy.port))


def _laboratory(
    rabbit: RabbitServer, redis: RedisServer, url: str, directory: Path, rng: random.Random
) -> Iterator[RabbitLab]:
    lab = RabbitLab(redis, url, directory, rng)
    lab.rabbit, lab.broker_url = rabbit, rabbit.url()
    lab.queue = lab.settings["task_default_queue"] = f"crash-{uuid.uuid4().hex[:8]}"
    try:
        yield lab
    finally:
        lab.close()
        print(lab.logs())


@pytest.fixture
def rabbit_lab(
    rabbit_server: RabbitServer, redis_server: RedisServer, redis_url: str, tmp_path: Path, rng: random.Random
) -> Iterator[RabbitLab]:
    yield from _laboratory(rabbit_server, redis_server, redis_url, tmp_path, rng)


@pytest.fixture
def durable_rabbit_lab(
    redis_server: RedisServer, redis_url: str, tmp_path: Path, rng: random.Random
) -> Iterator[RabbitLab]:
    """With a node of its own, to be killed."""
    server = RabbitServer().start()
    yield from _laboratory(server, redis_server, redis_url, tmp_path, rng)
    server.close()


# -- children


def test_early_loses_only_what_runs_and_says_so(rabbit_lab: RabbitLab, rng: random.Random) -> None:
    lab = rabbit_lab.setup("early")
    worker = lab.worker()
    control = worker.control_process()
    ids = lab.send(200, 0.03)

    victims = kill_children_until(lambda: not lab.open_records(ids), worker, rng, 0.3)

    lab.wait_quiet(0.5)
    tally, records = lab.tally(), lab.records(ids)
    assert not lab.open_records(ids)
    assert not tally.doubled()
    assert not {key for key in tally.unfinished(ids) if not lost(records[key])}
    assert sum(map(lost, records.values())) <= len(victims)
    assert_worker_is_whole(worker, control)


def test_late_loses_nothing(rabbit_lab: RabbitLab, rng: random.Random) -> None:
    lab = rabbit_lab.setup("late", worker_delivery_limit=20)
    worker = lab.worker()
    control = worker.control_process()
    ids = lab.send(200, 0.03)

    victims = kill_children_until(lambda: not lab.open_records(ids), worker, rng, 0.3)

    tally, records = lab.tally(), lab.records(ids)
    assert not tally.unfinished(ids)
    assert {record["status"] for record in records.values() if record} == {"SUCCESS"}
    assert sum(times - 1 for times in tally.doubled().values()) <= len(victims)
    assert_worker_is_whole(worker, control)


def test_late_without_reject_fails_what_ran(rabbit_lab: RabbitLab, rng: random.Random) -> None:
    lab = rabbit_lab.setup("late", task_reject_on_worker_lost=False)
    worker = lab.worker()
    ids = lab.send(150, 0.03)

    kill_children_until(lambda: not lab.open_records(ids), worker, rng, 0.4)

    lab.wait_quiet(0.5)
    tally, records = lab.tally(), lab.records(ids)
    assert not lab.open_records(ids)
    assert not tally.doubled()
    assert not {key for key in tally.unfinished(ids) if not lost(records[key])}


def test_what_kills_its_worker_is_set_aside(rabbit_lab: RabbitLab) -> None:
    lab = rabbit_lab.setup("late", worker_delivery_limit=3)
    lab.worker()
    (poison,) = lab.send(1, "killed", task="crash.die")
    others = lab.send(20)
    assert not lab.wait_records([poison, *others], 30)
    assert lost(lab.records([poison])[poison])
    assert len(lab.tally().starts[poison]) == 3
    assert [letter.task_id for letter in lab.app.broker.dead() if letter.task_id == poison] == [poison]


def quorum(**arguments: Any) -> dict[str, Any]:
    return {"queue_arguments": {"x-queue-type": "quorum", **arguments}}


def test_the_two_limits_of_a_quorum_queue(rabbit_lab: RabbitLab) -> None:
    """A lost process counts for ours; the queue's own, which is lower here, only counts what comes back to it."""
    lab = rabbit_lab
    lab.setup("late", worker_delivery_limit=4, task_queues={lab.queue: quorum(**{"x-delivery-limit": 2})})
    lab.worker()
    (poison,) = lab.send(1, "killed", task="crash.die")
    assert not lab.wait_records([poison], 30)
    assert lost(lab.records([poison])[poison])
    assert len(lab.tally().starts[poison]) == 4
    assert [letter.task_id for letter in lab.app.broker.dead() if letter.task_id == poison] == [poison]


def test_a_quorum_queue_counts_lost_workers(rabbit_lab: RabbitLab) -> None:
    """What whole workers have died of is failed and set aside by the next one that gets it."""
    lab = rabbit_lab
    lab.setup("late", worker_delivery_limit=2, task_queues={lab.queue: quorum(**{"x-delivery-limit": 10})})
    (deadly,) = lab.send(1, 60.0)
    for number in range(2):
        worker = lab.worker(f"w{number}", concurrency=1)
        assert poll(lambda number=number: len(lab.tally().starts[deadly]) == number + 1, 20)
        worker.kill_tree()
    lab.worker("last", concurrency=1)
    assert not lab.wait_records([deadly], 20)
    assert lost(lab.records([deadly])[deadly])
    assert len(lab.tally().starts[deadly]) == 2
    assert [letter.task_id for letter in lab.app.broker.dead() if letter.task_id == deadly] == [deadly]


def test_a_quorum_queue_lets_go_by_its_own_limit(rabbit_lab: RabbitLab) -> None:
    """Where that is the lower one, and has somewhere to put it."""
    lab = rabbit_lab
    refused = f"{lab.queue}-refused"
    arguments = {"x-delivery-limit": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": refused}
    lab.setup("late", task_queues={lab.queue: quorum(**arguments)})
    lab.app.broker.declare([Queue(refused, routing_key=refused)])
    (deadly,) = lab.send(1, 60.0)
    for number in range(2):
        worker = lab.worker(f"w{number}", concurrency=1)
        assert poll(lambda number=number: len(lab.tally().starts[deadly]) == number + 1, 20)
        worker.kill_tree()
    assert poll(lambda: lab.app.broker.queue_length(refused) == 1, 20)


# -- the whole worker


@BOTH
def test_workers_killed_while_draining(rabbit_lab: RabbitLab, rng: random.Random, mode: str) -> None:
    lab = rabbit_lab.setup(mode, task_ignore_result=True)
    siege = Siege(lab, rng)
    for _ in range(4):
        siege.round(300)
    siege.finish(30)
    siege.check(mode)


@BOTH
def test_workers_killed_while_taking_one_by_one(rabbit_lab: RabbitLab, rng: random.Random, mode: str) -> None:
    lab = rabbit_lab.setup(mode, task_ignore_result=True)
    siege = Siege(lab, rng)
    for _ in range(3):
        siege.round(30, trickle=True)
    siege.finish(30)
    siege.check(mode)


# -- the server


@BOTH
def test_rabbitmq_killed(durable_rabbit_lab: RabbitLab, mode: str) -> None:
    lab = durable_rabbit_lab.setup(mode)
    worker = lab.worker()
    later = lab.send(10, 0.01, countdown=3.0)
    with Sender(lab) as sender:
        assert lab.wait_more_starts(20, 20)
        lab.rabbit.kill()
        lab.rabbit.start()
        assert resumes(lab, 20), "the worker did not resume"
    sure = [*sender.ids, *later]
    assert worker.returncode is None
    assert not lab.wait_finished(sure, 40)
    assert not lab.wait_records(sure, 10)
    lab.wait_quiet(2.0)
    # What ran when the connection broke is delivered again, if its acknowledgement had not been read.
    extra = sum(times - 1 for times in lab.tally().doubled().values())
    assert extra <= 4 + len(sender.troubled)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_rabbitmq_restarted_under_several_queues(durable_rabbit_lab: RabbitLab, kind: str) -> None:
    lab = durable_rabbit_lab
    queues = lab.several_queues(queue_arguments={"x-queue-type": kind})
    lab.setup("late")
    worker = lab.worker()
    ids = [key for queue in queues for key in lab.send(60, 0.03, queue=queue)]
    ids += lab.send(5, 0.01, queue=queues[1], countdown=3.0)
    assert lab.wait_more_starts(20, 20)
    if kind == "quorum":
        lab.rabbit.stop()  # killed, RabbitMQ 3.10 may not find the leader of a quorum queue that is seconds old
    else:
        lab.rabbit.kill()
    lab.rabbit.start()
    assert not lab.wait_finished(ids, 60)
    assert not lab.wait_records(ids, 10)
    assert worker.returncode is None
    lab.wait_quiet(1.0)
    if kind == "quorum":  # a killed classic one has acknowledgements that it did not write down
        assert sum(times - 1 for times in lab.tally().doubled().values()) <= 4


# -- the network


def test_connections_cut_under_several_queues(rabbit_lab: RabbitLab, rng: random.Random) -> None:
    lab = rabbit_lab
    queues = lab.several_queues()
    lab.setup("early")
    cuts = 0
    with lab.proxy() as proxy:
        worker = lab.worker(broker_url=lab.through(proxy))
        ids = [key for queue in queues for key in lab.send(80, 0.02, queue=queue)]
        while lab.open_records(ids) and cuts < 8:
            assert lab.wait_more_starts(rng.randint(5, 20), 20) or not lab.open_records(ids)
            proxy.reset_all()
            cuts += 1
        assert not lab.wait_records(ids, 30)
    assert not lab.tally().unfinished(ids)
    assert worker.returncode is None
    assert sum(times - 1 for times in lab.tally().doubled().values()) <= cuts * 2


def test_a_network_that_swallows_everything(rabbit_lab: RabbitLab) -> None:
    """Connections stay open and say nothing any more: missing heartbeats tell, and the worker connects anew."""
    lab = rabbit_lab
    lab.several_queues()
    lab.setup("early", broker_heartbeat=2)
    with lab.proxy() as proxy:
        lab.worker(broker_url=lab.through(proxy), concurrency=1)
        (first,) = lab.send(1)
        assert not lab.wait_records([first], 20)
        proxy.black_hole()
        ids = lab.send(10)
        outlast(3.0)
        proxy.end_black_hole(forget=True)
        assert not lab.wait_records(ids, 40)


@BOTH
def test_connections_cut_again_and_again(rabbit_lab: RabbitLab, rng: random.Random, mode: str) -> None:
    lab = rabbit_lab.setup(mode)
    cuts = 0
    with lab.proxy() as proxy:
        # Results go straight to Redis; only the tasks' road is cut.
        worker = lab.worker(broker_url=lab.through(proxy))
        ids = lab.send(250, 0.02)
        while lab.open_records(ids) and cuts < 12:
            assert lab.wait_more_starts(rng.randint(5, 20), 20) or not lab.open_records(ids)
            proxy.reset_all()
            cuts += 1
        assert not lab.wait_records(ids, 30)
    assert not lab.tally().unfinished(ids)
    assert worker.returncode is None
    extra = sum(times - 1 for times in lab.tally().doubled().values())
    assert extra <= cuts * 2, "only what ran when a connection broke may run again"


def test_a_long_task_outlives_many_heartbeats(rabbit_lab: RabbitLab) -> None:
    """Also one that holds the interpreter's lock: the control process sends its heartbeats."""
    lab = rabbit_lab.setup("late", broker_heartbeat=1)
    lab.worker(concurrency=1, worker_lease=2.0)
    for task in ("crash.work", "crash.freeze"):
        ids = lab.send(1, 6.0, task=task)
        assert not lab.wait_finished(ids, 30)
        lab.wait_quiet(1.0)
    assert not lab.tally().doubled()


def test_a_stopped_worker_gives_back(rabbit_lab: RabbitLab) -> None:
    lab = rabbit_lab.setup("early")
    worker = lab.worker()
    ids = lab.send(40, 0.2)
    assert lab.wait_started(4, 20)
    worker.signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert not [pid for pid in worker.tree() if pid]
    lab.worker("w2")
    assert not lab.wait_finished(ids, 30)
    assert not lab.tally().doubled()


def test_quick_ones_do_not_wait_behind_a_long_one(rabbit_lab: RabbitLab) -> None:
    lab = rabbit_lab.setup("early")
    lab.worker()
    warm = lab.send(300)
    assert not lab.wait_finished(warm, 20)
    (long,) = lab.send(1, 8.0)
    quick = lab.send(200)
    assert not lab.wait_finished(quick, 6)
    assert long in lab.tally().unfinished([long])
    assert kill(lab.workers[0].task_processes(), lab.rng) is not None
    assert poll(lambda: not lab.open_tasks([long]), 15)


# -- TLS


@pytest.fixture(scope="module")
def tls_rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RabbitServer, str, str]]:
    """A node that also speaks TLS, its URL there, and the authority that signed its certificate."""
    files, port = certificates(tmp_path_factory.mktemp("tls")), free_port()
    options = {"cacertfile": "ca.crt", "certfile": "s.crt", "keyfile": "s.key"}
    config = "".join(f"ssl_options.{name} = {files[file]}\n" for name, file in options.items())
    server = RabbitServer(f"listeners.ssl.local = 127.0.0.1:{port}\n{config}").start()
    yield server, f"amqps://guest:guest@127.0.0.1:{port}//", files["ca.crt"]
    server.close()


@pytest.fixture
def tls_lab(
    tls_rabbit: tuple[RabbitServer, str, str],
    redis_server: RedisServer, redis_url: str, tmp_path: Path, rng: random.Random,
) -> Iterator[RabbitLab]:  # fmt: skip
    server, url, authority = tls_rabbit
    for lab in _laboratory(server, redis_server, redis_url, tmp_path, rng):
        lab.broker_url = url
        lab.settings["broker_use_ssl"] = {"ca_certs": authority, "cert_reqs": ssl.CERT_REQUIRED}
        yield lab


@BOTH
def test_tls(tls_lab: RabbitLab, mode: str) -> None:
    """Short tasks in batches, delayed ones, long bodies, several queues; a stopped worker gives back."""
    lab = tls_lab
    queues = lab.several_queues()
    lab.setup(mode)
    ids = [key for queue in queues for key in lab.send(100, queue=queue)]
    ids += lab.send(2, countdown=1.2)
    ids += lab.send(2, kwargs={}, headers={"long": "x" * 100_000})
    worker = lab.worker()
    assert not lab.wait_records(ids, 30)
    slow = lab.send(20, 0.2)
    assert lab.wait_started(3, 20)
    worker.signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    lab.worker("w2")
    assert not lab.wait_records(slow, 20)
    assert not lab.tally().doubled()
    assert "connection_lost" not in worker.log() and "Connection to broker lost" not in worker.log()


def test_tls_with_a_stranger(tls_lab: RabbitLab, tmp_path: Path) -> None:
    """A certificate that another authority signed is refused."""
    other = certificates(tmp_path)["ca.crt"]
    tls_lab.settings["broker_use_ssl"]["ca_certs"] = other
    with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        tls_lab.app.tasks["crash.work"].apply_async(retry=False)


def test_tls_and_a_late_task_that_lost_its_process(tls_lab: RabbitLab) -> None:
    """Its connection went with it, so the server gives the message to the next, whatever the settings would have."""
    lab = tls_lab.setup("late", task_reject_on_worker_lost=False)
    worker = lab.worker(concurrency=1)
    (key,) = lab.send(1, 30.0, task="crash.hold")
    assert lab.wait_started(1, 20)
    assert kill(worker.task_processes(), lab.rng) is not None
    assert not lab.wait_records([key], 20)
    assert lab.tally().doubled() == {key: 2}
    records = lab.records([key])
    assert records[key] is not None and records[key]["status"] == "SUCCESS"


def test_tls_and_a_late_task_that_loses_every_process(tls_lab: RabbitLab) -> None:
    """On a quorum queue the server counts, and the worker sets aside what was delivered too often."""
    lab = tls_lab
    lab.setup("late", worker_delivery_limit=3, task_queues={lab.queue: quorum(**{"x-delivery-limit": 10})})
    lab.worker(concurrency=1)
    (poison,) = lab.send(1, "killed", task="crash.die")
    others = lab.send(20)
    assert not lab.wait_records([poison, *others], 30)
    assert lost(lab.records([poison])[poison])
    assert len(lab.tally().starts[poison]) == 3
    assert [letter.task_id for letter in lab.app.broker.dead() if letter.task_id == poison] == [poison]
