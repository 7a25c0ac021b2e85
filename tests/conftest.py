"""Fixtures of the whole test-suite: a private Redis and its databases, apps, and real worker processes.

What a test starts is always cleaned up.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.ledger import Ledger
from tests.support.rabbitmq import RabbitServer
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_server import DATABASES, RedisServer
from tests.support.sqs import SqsServer
from tests.support.worker import OURS, THEIRS, WorkerProcess


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "slow: takes more than 3 seconds; left out of the quick suite with -m 'not slow'"
    )


# -- Redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real server on a free port of this machine, for the whole session (one per pytest-xdist process)."""
    server = RedisServer().start()
    yield server
    gc.collect()  # results that nobody waited for say goodbye to the server when they are collected
    server.close()


@pytest.fixture(scope="session")
def new_redis_url(redis_server: RedisServer) -> Callable[[], str]:
    """Gives the URL of an empty database that nobody else uses, for fixtures of any scope."""
    numbers = itertools.cycle(range(1, DATABASES))

    def new() -> str:
        db = next(numbers)
        with redis_server.client(db) as client:
            client.flushdb()
        return redis_server.url(db)

    return new


@pytest.fixture
def redis_url(new_redis_url: Callable[[], str]) -> str:
    """The URL of an empty database of its own."""
    return new_redis_url()


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the database of `redis_url`."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def make_redis() -> Iterator[Callable[..., RedisServer]]:
    """Starts servers of the test's own, which it may kill and start again: `make_redis(appendonly=True)`."""
    servers: list[RedisServer] = []

    def make(**options: Any) -> RedisServer:
        server = RedisServer(**options)
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Three masters for the whole session; tests name their own queues, and leave the nodes alone."""
    cluster = RedisCluster().start()
    yield cluster
    gc.collect()
    cluster.close()


# -- RabbitMQ


@pytest.fixture(scope="session")
def rabbit_server() -> Iterator[RabbitServer]:
    """A real node of this session's own; each test takes an empty virtual host of it (`new_vhost`)."""
    server = RabbitServer().start()
    yield server
    server.close()


# -- SQS


@pytest.fixture(scope="session")
def sqs_server() -> Iterator[SqsServer]:
    """moto's SQS for the whole session; tests name their own queues."""
    server = SqsServer().start()
    yield server
    server.close()


#: What a worker in the test's process sets up (`contrib.testing`), for good, as in Celery.
LOGGERS = (None, "celery", "celery.task", "celery.redirected")


@contextmanager
def put_back() -> Iterator[None]:
    """The current app, the shared tasks and the loggers are afterwards what they were."""
    state: Any = sys.modules.get("celerylite._state")
    if state is not None:
        apps = (state.default_app, state._fallback_app, state._process_app, state._tls.current_app)
        shared = set(state._on_app_finalizers)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(one, one.handlers[:], one.level, one.propagate, one.disabled) for one in loggers]
    # A worker tells its children of its log file there, as Celery's does.
    environment = {name: value for name, value in os.environ.items() if name.startswith("CELERY")}
    yield
    for name in [name for name in os.environ if name.startswith("CELERY") and name not in environment]:
        del os.environ[name]
    os.environ.update(environment)
    if state is not None:
        state.default_app, state._fallback_app, state._process_app, state._tls.current_app = apps
        state._on_app_finalizers.clear()
        state._on_app_finalizers.update(shared)
    for one, handlers, level, propagate, disabled in before:
        for handler in one.handlers[:]:
            if handler not in handlers and not type(handler).__module__.startswith("_pytest"):
                one.removeHandler(handler)
        one.setLevel(level)
        one.propagate, one.disabled = propagate, disabled


@pytest.fixture(autouse=True, scope="module")
def modules_leave_no_trace() -> Iterator[None]:
    """For the next module: what a worker of a module's own fixture has set."""
    with put_back():
        yield


@pytest.fixture(autouse=True)
def tests_leave_no_trace() -> Iterator[None]:
    """For the next test."""
    with put_back():
        yield


@pytest.fixture(autouse=True)
def no_files_stay_open() -> Iterator[None]:
    """Files of SQLite stay open for the process; a test's own are not used any more."""
    yield
    sqlite = sys.modules.get("celerylite.brokers.sqlite_file")
    if sqlite is not None:
        sqlite.close_all()


# -- apps


@pytest.fixture
def app() -> Any:
    """An app that needs no server: results in memory, and a broker URL that nobody connects to."""
    from celerylite import Celery  # here, so that the interop tests can run where only the harness is needed

    return Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)


@pytest.fixture
def redis_app(redis_url: str) -> Any:
    """An app with broker and results on an empty Redis database."""
    from celerylite import Celery

    return Celery("tests", broker=redis_url, backend=redis_url, set_as_current=False)


# -- workers


class Workers:
    """Starts worker processes and ends all of them with the test (or module) that asked for them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[WorkerProcess] = []

    def __call__(
        self,
        app: str | None,
        *args: str,
        program: str = OURS,
        env: dict[str, str] | None = None,
        ready: bool = True,
        loglevel: str | None = "INFO",
        **options: Any,
    ) -> WorkerProcess:
        """Start one; waits until it says "ready." unless `ready=False`. See `WorkerProcess` for the rest."""
        log_file = self.directory / f"worker-{len(self.started)}.log"
        if loglevel and not options.get("argv"):
            args = ("-l", loglevel, *args)
        worker = WorkerProcess(app, *args, program=program, env=env, log_file=log_file, **options)
        self.started.append(worker)
        worker.start()
        return worker.wait_ready() if ready else worker

    def close(self) -> None:
        """SIGKILL to whatever is left of them."""
        for worker in self.started:
            worker.kill_tree()


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Workers]:
    """`start_worker("proj.app", "-c", "2", program="celerylite", env={…})` → a ready `WorkerProcess`."""
    workers = Workers(tmp_path)
    yield workers
    workers.close()


@pytest.fixture(scope="module")
def start_module_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """The same for fixtures that keep a worker for a whole module."""
    workers = Workers(tmp_path_factory.mktemp("workers"))
    yield workers
    workers.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger of this test."""
    return Ledger(tmp_path / "ledger")


class Site:
    """One Redis database, one ledger, workers of either library with the support tasks, and their clients."""

    def __init__(self, url: str, ledger: Ledger, workers: Workers) -> None:
        self.url = url
        self.ledger = ledger
        self.workers = workers
        self._clients: list[Any] = []

    @cached_property
    def redis(self) -> redis.Redis:
        """A client of the database (of a plain redis:// URL)."""
        return redis.Redis.from_url(self.url)

    def client(self, lib: str = OURS, **conf: Any) -> Any:
        """An app of `lib` in this process that sends to this site; its tasks are in `.tasks["t.…"]`."""
        from tests.support.app import make_app  # here, because it needs kombu

        client = make_app(lib, self.url, conf=conf)
        self._clients.append(client)
        return client

    def worker(
        self, *args: str, program: str = OURS, conf: dict[str, Any] | None = None, signals: str = "",
        env: dict[str, str] | None = None, **options: Any,
    ) -> WorkerProcess:  # fmt: skip
        """A ready worker of `program` with the support tasks; `conf` are its settings."""
        environment = self.environment(conf, signals, env)
        return self.workers("tests.support.app", *args, program=program, env=environment, **options)

    def environment(
        self, conf: dict[str, Any] | None = None, signals: str = "", env: dict[str, str] | None = None
    ) -> dict[str, str]:
        """What the support app reads from the environment."""
        names = {"TEST_BROKER": self.url, "TEST_BACKEND": self.url, "TEST_LEDGER": str(self.ledger.directory)}
        return {**names, "TEST_CONF": json.dumps(conf or {}), "TEST_SIGNALS": signals, **(env or {})}

    def open(self, gate: str, count: int = 1) -> None:
        """Let `count` tasks that wait for this gate go on."""
        self.redis.lpush(gate, *["go"] * count)

    def close(self) -> None:
        """End workers and connections."""
        self.workers.close()
        if "redis" in vars(self):
            self.redis.close()
        for client in self._clients:
            client.close()


@pytest.fixture
def site(redis_url: str, ledger: Ledger, start_worker: Workers) -> Iterator[Site]:
    """A fresh site for one test."""
    site = Site(redis_url, ledger, start_worker)
    yield site
    site.close()


@pytest.fixture(scope="module")
def module_site(
    new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory, start_module_worker: Workers
) -> Iterator[Site]:
    """A site for a whole module; its tests share the workers and must not disturb each other."""
    site = Site(new_redis_url(), Ledger(tmp_path_factory.mktemp("ledger")), start_module_worker)
    yield site
    site.close()


__all__ = ["OURS", "THEIRS", "Site", "Workers"]
