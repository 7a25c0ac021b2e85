"""Fixtures of the crash suite: a private Redis, a seeded source of chance, and the laboratory around both."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.harness import Lab
from tests.support.redis_server import RedisServer


def pytest_configure(config: pytest.Config) -> None:
    """Known here too, so that this directory can be run alone."""
    config.addinivalue_line("markers", "crash: kills real processes and counts what was lost")


def _serve(*, appendonly: bool) -> Iterator[RedisServer]:
    server = RedisServer(appendonly=appendonly).start()
    yield server
    server.close()


@pytest.fixture
def durable_redis() -> Iterator[RedisServer]:
    """A Redis that writes every command to disk before it answers, to be killed by the test."""
    yield from _serve(appendonly=True)


@pytest.fixture
def result_redis() -> Iterator[RedisServer]:
    """A second, durable Redis, for results only."""
    yield from _serve(appendonly=True)


@pytest.fixture
def rng() -> random.Random:
    """Chance that can be had again: CRASH_SEED=<the number in a failed test's output>."""
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**9))
    print(f"CRASH_SEED={seed}")
    return random.Random(seed)


def _laboratory(server: RedisServer, url: str, directory: Path, rng: random.Random) -> Iterator[Lab]:
    lab = Lab(server, url, directory, rng)
    try:
        yield lab
    finally:
        lab.close()
        print(lab.logs())  # shown by pytest when the test failed


@pytest.fixture
def lab(redis_server: RedisServer, redis_url: str, tmp_path: Path, rng: random.Random) -> Iterator[Lab]:
    """A world in an empty database of the shared Redis."""
    yield from _laboratory(redis_server, redis_url, tmp_path, rng)


@pytest.fixture
def durable_lab(durable_redis: RedisServer, tmp_path: Path, rng: random.Random) -> Iterator[Lab]:
    """A world on a durable Redis of its own."""
    yield from _laboratory(durable_redis, durable_redis.url(), tmp_path, rng)
