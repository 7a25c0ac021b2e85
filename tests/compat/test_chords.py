"""Chords of which some parts run on Celery's workers and some on ours, sent by clients of either."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

UNORDERED = {"result_backend_transport_options": {"result_chord_ordered": False}}


class Mixed:
    """A site with a worker of each library on one queue."""

    def __init__(self, site: Site, conf: dict[str, Any]) -> None:
        self.site = site
        self.conf = conf
        for lib in (THEIRS, OURS):
            site.worker("-c", "2", "-n", f"{lib}@%h", program=lib, conf=conf)

    def client(self, lib: str) -> Client:
        return Client(lib, self.site.client(lib, **self.conf))

    def keys_of(self, result: Any) -> dict[str, bytes]:
        """What is left of the chord whose body's result this is."""
        keys = self.site.redis.keys(f"celery-taskset-meta-{result.parent.id}*")
        return {key.decode().rpartition(result.parent.id)[2]: self.site.redis.get(key) for key in keys}


class Client:
    """The canvas of one library."""

    def __init__(self, lib: str, app: Any) -> None:
        self.app = app
        package = importlib.import_module(lib)
        self.chord, self.group, self.chain = package.chord, package.group, package.chain
        self.errors = importlib.import_module(f"{lib}.exceptions")

    def sig(self, name: str, *args: Any) -> Any:
        return self.app.tasks[f"t.{name}"].s(*args)


def _mixed(new_redis_url: Any, directory: Any, conf: dict[str, Any]) -> Iterator[Mixed]:
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    yield Mixed(site, conf)
    site.close()
    # Celery's results say goodbye to the server when they are collected: while it is there.
    site._clients.clear()
    gc.collect()


@pytest.fixture(scope="module")
def mixed(new_redis_url: Any, tmp_path_factory: Any) -> Iterator[Mixed]:
    yield from _mixed(new_redis_url, tmp_path_factory.mktemp("mixed"), {})


@pytest.fixture(scope="module")
def mixed_unordered(new_redis_url: Any, tmp_path_factory: Any) -> Iterator[Mixed]:
    yield from _mixed(new_redis_url, tmp_path_factory.mktemp("unordered"), UNORDERED)


@pytest.fixture(params=[THEIRS, OURS])
def client(request: pytest.FixtureRequest, mixed: Mixed) -> Client:
    return mixed.client(request.param)


def test_workers_of_both_kinds_share_a_header(client: Client) -> None:
    seen: set[str] = set()
    for _ in range(10):  # who gets what is theirs to decide
        parts = client.chord([client.sig("who") for _ in range(40)])(client.sig("same")).get(timeout=20)
        assert len(parts) == 40
        seen |= {part["lib"] for part in parts}
        if len(seen) == 2:
            return
    pytest.fail(f"only {seen} ran parts")


def test_results_come_in_order(client: Client, mixed: Mixed) -> None:
    result = client.chord([client.sig("add", i, 1) for i in range(50)])(client.sig("same"))
    assert result.get(timeout=20) == [i + 1 for i in range(50)]
    assert wait_for(lambda: mixed.keys_of(result) == {".c": b"done"}, what="the chord's keys to go")


@pytest.mark.parametrize("lib", [THEIRS, OURS])
def test_results_in_any_order(mixed_unordered: Mixed, lib: str) -> None:
    client = mixed_unordered.client(lib)
    result = client.chord([client.sig("add", i, 1) for i in range(30)])(client.sig("same"))
    assert sorted(result.get(timeout=20)) == [i + 1 for i in range(30)]


def test_a_part_that_fails(client: Client, mixed: Mixed) -> None:
    body = client.sig("same")
    body.link_error(client.sig("errback"))
    result = client.chord([client.sig("add", 1), client.sig("fail", "ValueError", "no"), client.sig("add", 2)])(body)
    with pytest.raises(Exception, match="no"):
        result.get(timeout=20)
    wait_for(lambda: client.app.AsyncResult(result.id).state == "FAILURE", what="the body's record")
    found = type(client.app.AsyncResult(result.id).result)
    assert found is client.errors.ChordError
    [called] = wait_for(lambda: mixed.site.ledger.events("errback", result.id), what="the errback")
    assert "Dependency" in called.data["exc"] and "ValueError('no')" in called.data["exc"]


def test_a_part_that_retries_is_counted_once(client: Client) -> None:
    header = [client.sig("add", 1), client.sig("flaky", 2), client.sig("add", 3)]
    assert client.chord(header)(client.sig("size")).get(timeout=20) == 3


def test_chains_groups_and_chords_in_a_header(client: Client) -> None:
    header = [
        client.sig("add", 1),
        client.chain(client.sig("add", 1), client.sig("add", 10)),
        client.chord([client.sig("add", 2), client.sig("add", 3)], client.sig("same")),
    ]
    assert client.chord(header)(client.sig("same")).get(timeout=20) == [1, 11, [2, 3]]


def test_a_chain_that_ends_in_a_group_in_a_header(client: Client) -> None:
    end = client.group(client.sig("add", 3), client.sig("add", 4))
    header = [client.sig("add", 1), client.chain(client.sig("add", 1), end)]
    assert client.chord(header)(client.sig("same")).get(timeout=20) == [1, [4, 5]]


def test_a_chord_in_a_chain(client: Client) -> None:
    header = client.group([client.sig("add", i) for i in range(5)])
    flow = client.chain(client.sig("add", 1, 1), header, client.sig("size"), client.sig("add", 100))
    assert flow.apply_async().get(timeout=20) == 105


def test_a_body_that_is_a_chain_and_one_that_is_a_group(client: Client) -> None:
    header = [client.sig("add", i) for i in range(5)]
    assert client.chord(header)(client.sig("size") | client.sig("add", 7)).get(timeout=20) == 12
    both = client.chord(header)(client.group(client.sig("size"), client.sig("same")))
    assert both.get(timeout=20) == [5, [0, 1, 2, 3, 4]]
