"""All the ways to name a Redis: password, user, socket, TLS, Sentinel, another database or server for results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from tests.conftest import OURS, Site, Workers
from tests.support.app import make_app
from tests.support.certificates import certificates
from tests.support.ledger import Ledger
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import wait_for


class Place:
    """Worker and client that know only a URL (and settings)."""

    def __init__(self, workers: Workers, directory: Path) -> None:
        self.workers = workers
        self.directory = directory

    def works(self, broker: str, backend: str | None = None, **conf: Any) -> Any:
        """Start a worker, run a task, a retry and a delayed call, stop the worker; returns the client."""
        backend = backend or broker
        site = Site(broker, Ledger(self.directory / "ledger"), self.workers)
        names = {"TEST_BROKER": broker, "TEST_BACKEND": backend}
        worker = site.worker("-c", "1", conf=conf, env=names)
        client = make_app(OURS, broker, backend, conf)
        assert client.tasks["t.add"].delay(1, 2).get(timeout=10) == 3
        assert client.tasks["t.flaky"].delay(1).get(timeout=10)[0] == 1
        assert client.tasks["t.add"].apply_async((1, 1), countdown=0.3).get(timeout=10) == 2
        assert worker.terminate() == 0
        return client


@pytest.fixture
def place(start_worker: Workers, tmp_path: Path) -> Place:
    return Place(start_worker, tmp_path)


def test_password(place: Place, make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis()
    with server.client() as client:
        client.config_set("requirepass", "s3cr#t:/@")
    place.works(server.url().replace("redis://", "redis://:s3cr%23t%3A%2F%40@"))


def test_user_and_password(place: Place, make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "ann", "on", ">pw", "~*", "&*", "+@all")
        client.execute_command("ACL", "SETUSER", "default", "off")
    place.works(server.url().replace("redis://", "redis://ann:pw@"))


def test_unix_socket(place: Place, make_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    make_redis(extra=("--unixsocket", str(path)))
    place.works(f"redis+socket://{path}?virtual_host=2")


def test_results_in_another_database(place: Place, redis_server: RedisServer, new_redis_url: Callable[[], str]) -> None:
    broker, backend = new_redis_url(), new_redis_url()
    client = place.works(broker, backend)
    with redis_server.client(int(backend.rpartition("/")[2])) as store:
        assert list(store.scan_iter("celery-task-meta-*"))
    with redis_server.client(int(broker.rpartition("/")[2])) as queues:
        assert list(queues.scan_iter("celery-task-meta-*")) == []
    client.close()


def test_results_on_another_server(
    place: Place, new_redis_url: Callable[[], str], make_redis: Callable[..., RedisServer]
) -> None:
    server = make_redis()
    place.works(new_redis_url(), server.url(3))
    with server.client(3) as store:
        assert len(list(store.scan_iter("celery-task-meta-*"))) == 3


def test_no_result_backend(site: Site) -> None:
    """Tasks run; only `get` is refused."""
    site.worker("-c", "1", env={"TEST_BACKEND": "disabled://"})
    client = make_app(OURS, site.url, "disabled://")
    result = client.tasks["t.work"].delay()
    site.ledger.wait("finish", result.id)
    with pytest.raises(NotImplementedError, match="No result backend"):
        result.get(timeout=1)


def tls_server(make_redis: Callable[..., RedisServer], directory: Path, clients: str) -> tuple[int, dict[str, str]]:
    """Start a server; its TLS port and the certificates' files. `clients`: whether those need one too (yes, no)."""
    files, port = certificates(directory), free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", files["s.crt"], "--tls-key-file", files["s.key"])
    try:
        make_redis(extra=(*options, "--tls-ca-cert-file", files["ca.crt"], "--tls-auth-clients", clients))
    except AssertionError as exc:
        if "tls" in str(exc).lower():
            pytest.skip("this redis-server was built without TLS")
        raise
    return port, files


@pytest.fixture
def tls_port(make_redis: Callable[..., RedisServer], tmp_path: Path) -> int:
    """The TLS port of a server; the certificates are in the test's directory."""
    return tls_server(make_redis, tmp_path, "no")[0]


@pytest.mark.slow
def test_tls_with_options_in_the_url(place: Place, tls_port: int, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    place.works(f"rediss://127.0.0.1:{tls_port}/0?ssl_cert_reqs=required&ssl_ca_certs={ca}")


@pytest.mark.slow
def test_tls_from_settings(place: Place, tls_port: int, tmp_path: Path) -> None:
    """`broker_use_ssl` and `redis_backend_use_ssl`, as Celery's documentation has them."""
    options = {"ssl_cert_reqs": "required", "ssl_ca_certs": str(tmp_path / "ca.crt")}
    conf = {"broker_use_ssl": options, "redis_backend_use_ssl": {**options, "ssl_cert_reqs": "CERT_REQUIRED"}}
    place.works(f"redis://127.0.0.1:{tls_port}/0", f"rediss://127.0.0.1:{tls_port}/0", **conf)


@pytest.mark.slow
def test_tls_with_our_own_certificate(place: Place, make_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    """The server asks who we are."""
    port, files = tls_server(make_redis, tmp_path, "yes")
    url = f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={files['ca.crt']}"
    with pytest.raises(OperationalError):
        make_app(OURS, url, "disabled://", {"task_publish_retry_policy": {"max_retries": 0}}).send_task("t.add", (1, 1))
    place.works(f"{url}&ssl_certfile={files['s.crt']}&ssl_keyfile={files['s.key']}")


@pytest.mark.slow
def test_tls_without_a_check(place: Place, tls_port: int) -> None:
    place.works(f"rediss://127.0.0.1:{tls_port}/0?ssl_cert_reqs=none")


def test_tls_with_a_certificate_that_nobody_vouches_for(tls_port: int) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_cert_reqs=required"
    client = make_app(OURS, url, "disabled://", {"task_publish_retry_policy": {"max_retries": 0}})
    with pytest.raises(Exception, match="(?i)certificate") as caught:
        client.tasks["t.add"].delay(1, 1)
    assert type(caught.value).__name__ == "OperationalError"


@pytest.fixture
def sentinel(make_redis: Callable[..., RedisServer], tmp_path: Path) -> int:
    """The port of a Sentinel that watches a server called `boss`."""
    master, port = make_redis(), free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nsentinel monitor boss 127.0.0.1 {master.port} 1\ndir {tmp_path}\n")
    watcher = RedisServer(port=port, config=config)
    watcher.start()
    with watcher.client() as client:
        wait_for(lambda: client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "boss"), what="the sentinel")
    yield port  # type: ignore[misc]
    watcher.close()


@pytest.mark.slow
def test_sentinel(place: Place, sentinel: int) -> None:
    options = {"master_name": "boss"}
    place.works(
        f"sentinel://127.0.0.1:{sentinel}/0",
        broker_transport_options=options,
        result_backend_transport_options=options,
    )
