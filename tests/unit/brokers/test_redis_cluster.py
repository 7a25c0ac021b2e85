"""Addresses, layouts and slots of a Redis Cluster, and how a broker follows what its nodes say."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from celerylite import Celery, backends, transports
from celerylite.backends.redis_cluster import ClusterBackend
from celerylite.brokers.redis_cluster import Cluster, Moved
from celerylite.brokers.redis_cluster_address import parse
from celerylite.brokers.redis_cluster_broker import ClusterBroker
from celerylite.brokers.redis_cluster_layout import ClusterLayout, key_of, slot_of
from celerylite.brokers.redis_link import LinkError, ReplyError, pack
from celerylite.exceptions import ImproperlyConfigured


def test_addresses() -> None:
    address = parse("redis+cluster://bob:p%40ss@a:7000,b,[::1]:7002/")
    assert address.nodes == (("a", 7000), ("b", 6379), ("::1", 7002))
    assert (address.username, address.password, address.tls) == ("bob", "p@ss", None)
    assert address.url == "redis+cluster://bob:**@a:7000,b:6379,[::1]:7002/"
    assert parse("rediscluster://").nodes == (("127.0.0.1", 6379),)
    assert parse("rediscluster://a;rediscluster://b,a").nodes == (("a", 6379), ("b", 6379))
    assert parse("redis+cluster://a", username="x", password="y").password == "y"


def test_tls() -> None:
    address = parse("rediss+cluster://a/?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem")
    assert address.tls == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}
    assert address.url == "rediss+cluster://a:6379/"
    assert parse("redis+cluster://a", tls={"ssl_cert_reqs": "none"}).tls == {"ssl_cert_reqs": ssl.CERT_NONE}
    with pytest.raises(ImproperlyConfigured, match="required, optional or none"):
        parse("rediss+cluster://a/?ssl_cert_reqs=perhaps")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rediscluster://u:secret@a/3", r"'redis\+cluster://a/3' names a database"),
        ("redisscluster://u:secret@a:b/", r"'rediss\+cluster://a:b/': the port 'b'"),
    ],
)
def test_what_is_no_address(url: str, words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words) as caught:
        parse(url)
    assert "secret" not in str(caught.value)


def test_slots() -> None:
    """By the examples of Redis' documentation."""
    assert slot_of(b"123456789") == 0x31C3
    assert slot_of(b"{user1000}.following") == slot_of(b"{user1000}.followers") == slot_of(b"user1000")
    assert slot_of(b"foo{}{bar}") == 8363
    assert slot_of(b"foo{{bar}}zap") == slot_of(b"{bar")
    assert slot_of(b"foo{bar}{zap}") == slot_of(b"bar")


@pytest.mark.parametrize("queue", ["celery", "a}b", "{x", "ü", "with space", "celerylite"])
@pytest.mark.parametrize("prefix", ["", "proj:", "{all}"])
def test_a_queue_is_one_slot(queue: str, prefix: str) -> None:
    layout = ClusterLayout.from_options({"global_keyprefix": prefix})
    own = layout.of(queue)
    keys = [*own.list_keys(queue), own.key("celerylite.held.x"), own.key("celerylite.delayed"), own.key("")]
    assert len({slot_of(key) for key in keys}) == 1
    assert [layout.list_key(queue, priority) for priority in (0, 3, 6, 9)] == own.list_keys(queue)
    assert [layout.queue_of(key) for key in own.list_keys(queue)] == [queue] * 4
    assert slot_of(layout.key("celerylite.outbox")) == slot_of(layout.key("celerylite.notebook.beat"))


def test_names() -> None:
    layout = ClusterLayout.from_options({"global_keyprefix": "p."})
    assert layout.list_key("q", 6) == b"p.{q}q\x06\x166"
    assert layout.key("celerylite.queues") == b"p.{celerylite}.queues"
    assert layout.key("_kombu.binding.x") == b"p._kombu.binding.x"
    assert layout.topic("ex", "key", 0) == layout.of("q").topic("ex", "key", 0) == b"p./0.ex/key"
    mine = ClusterLayout(private=frozenset(["all"]), owner="w1@host")
    assert mine.queue_of(mine.list_key("all", 9)) == "all"
    for name in ("", "}x"):
        with pytest.raises(ImproperlyConfigured, match="cannot be called"):
            layout.of(name)


def test_the_key_of_a_command() -> None:
    assert key_of(pack(b"LPUSH", b"a\r\nb", b"x")) == b"a\r\nb"
    assert key_of(pack(b"EVALSHA", b"sha", b"2", b"k1", b"k2", b"arg")) == b"k1"
    assert key_of(pack(b"EVALSHA", b"sha", b"0", b"arg")) is None
    assert key_of(pack(b"PUBLISH", b"channel", b"x")) is None
    assert key_of(pack(b"MULTI")) is None


class Known(Cluster):
    """Two nodes, of which nobody has to be asked."""

    asked = 0

    def refresh(self, but: Any = None) -> None:
        self.asked += 1
        self._learn([[0, 8000, [b"a", 1, b"id"]], [8001, 16000, [b"", 2, b"id"]]], ("seed", 0))


def test_who_has_a_slot() -> None:
    cluster = Known(parse("redis+cluster://seed"))
    assert cluster.node_of(0) == cluster.node_of(8000) == ("a", 1)
    assert cluster.node_of(8001) == ("seed", 2), "a node that does not say its name is where we asked"
    assert cluster.masters() == [("a", 1), ("seed", 2)]
    with pytest.raises(LinkError, match="no node serves slot 16001"):
        cluster.node_of(16001)


def test_a_slot_moves() -> None:
    cluster = Known(parse("redis+cluster://seed"))
    link = cluster.link(5)
    assert cluster.node_of(5) == ("a", 1)
    assert isinstance(link._passing(ReplyError("MOVED 5 c:3")), Moved)
    assert (cluster.node_of(5), cluster.node_of(6), cluster.asked) == (("c", 3), ("a", 1), 1)
    assert isinstance(link._passing(ReplyError("ASK 6 c:3")), Moved)
    assert cluster.node_of(6) == ("a", 1), "that was for once"
    assert isinstance(link._passing(ReplyError("CLUSTERDOWN Hash slot not served")), LinkError)
    cluster.node_of(6)
    assert cluster.asked == 2
    assert link._passing(ReplyError("WRONGTYPE")) is None


@pytest.mark.parametrize("scheme", ["redis+cluster", "rediss+cluster"])
def test_by_url(scheme: str) -> None:
    url = f"{scheme}://:secret@127.0.0.1:1,127.0.0.1:2/"
    app = Celery("cluster", broker=url, backend=url, set_as_current=False)
    assert isinstance(app.broker, ClusterBroker)
    assert isinstance(app.backend, ClusterBackend)
    assert backends.by_url(url) == (ClusterBackend, url)
    assert not app.broker.same_server(app.backend)
    shown = f"{scheme}://:**@127.0.0.1:1,127.0.0.1:2/"
    assert app.connection().as_uri() == app.backend.as_uri() == app.broker.connector.uri == shown
    assert app.backend.as_uri(include_password=True) == url
    assert app.connection().as_uri(include_password=True) == url


def test_other_urls_are_left_alone() -> None:
    assert transports.for_kombu("redis://a;amqp://b") == "redis://a;amqp://b"
    assert transports.for_kombu(None) is None
    assert transports.for_kombu(["redis+cluster://a", "x"]) == ["rediscluster://a", "x"]
    assert transports.for_kombu("redis+cluster://a;rediss+cluster://b") == "rediscluster://a;redisscluster://b"
