"""Results on a Redis Cluster: each record in the slot of its key, chords in the slots of a few books.

    redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][/]    rediss+cluster://…

Records are published as on a single server; every node passes that on. But nodes may lose what they pass on, so whoever
waits also looks by itself from time to time.
"""

from __future__ import annotations

import time
from binascii import crc_hqx
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from celerylite.backends.chords import Ended, Part
from celerylite.backends.redis import RedisBackend
from celerylite.backends.redis_chords import TAKEN_ON
from celerylite.backends.redis_client import CELERY_SOCKET_TIMEOUT, redis_module
from celerylite.backends.redis_listener import Watch
from celerylite.backends.redis_waiting import Found, Wait
from celerylite.brokers.redis_cluster import Cluster
from celerylite.brokers.redis_cluster_address import parse
from celerylite.brokers.redis_link import LinkError, Opened, ReplyError, pack
from celerylite.brokers.redis_scripts import COUNT_PARTS, DROP_CHORD, OVERDUE_CHORD
from celerylite.brokers.redis_settling import counted
from celerylite.utils.objects import cached_property

__all__ = ("ClusterBackend",)

#: Seconds between looks at records that nobody has told us of.
LOOK = 2.0
#: Books of ended chords: as many slots share the work of counting.
BOOKS = 8
#: What a chord keeps, behind the key of its group.
SUFFIXES = (b".j", b".t", b".s", b".d", b".b", b".c")


class ClusterWait(Wait):
    """A wait that looks by itself now and then."""

    _look_at = 0.0

    def _until(self) -> float | None:
        self._look_at = time.monotonic() + LOOK
        until = super()._until()
        return self._look_at if until is None else min(until, self._look_at)

    def _news(self, watch: Watch) -> Iterator[Found]:
        watch.reread = watch.reread or time.monotonic() >= self._look_at
        yield from super()._news(watch)


class ClusterBackend(RedisBackend):
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        conf = self.app.conf
        timeout = self.connparams.get("socket_timeout")
        options = {
            "client_name": self.connparams.get("client_name"),
            "socket_timeout": None if timeout == CELERY_SOCKET_TIMEOUT else timeout,
            "socket_connect_timeout": self.connparams.get("socket_connect_timeout"),
            "socket_keepalive": self.connparams.get("socket_keepalive"),
        }
        self.address = parse(
            self.url or "", conf.redis_backend_use_ssl, options, conf.get("redis_username"), conf.get("redis_password")
        )
        self.cluster = Cluster(self.address, self.scripts)
        #: Chords that we have taken on and not handed out yet.
        self._overdue: deque[Any] = deque()

    def _params_from_url(self, url: str, defaults: dict[str, Any]) -> dict[str, Any]:
        return {**defaults, "db": 0}

    def as_uri(self, include_password: bool = False) -> str:
        """The URL, by default with the password masked."""
        return self.url or "" if include_password else self.address.url

    # -- connections

    _address = None

    def _calls(self, commands: Iterable[bytes]) -> list[Any]:
        """Send commands, each to its node, and return their replies; raises redis-py's errors."""
        commands = tuple(commands)
        try:
            try:
                return self.cluster.call(commands)
            except LinkError:
                return self.cluster.call(commands)  # it was closed while it was idle, or another node has it by now
        except LinkError as exc:
            raise redis_module().ConnectionError(str(exc)) from exc
        except ReplyError as exc:
            raise redis_module().ResponseError(str(exc)) from exc

    def _open(self) -> Opened:
        return self.cluster.open_any()

    @cached_property
    def client(self) -> Any:
        """redis-py's client for clusters, for whoever wants one."""
        redis, where = redis_module(), self.address
        nodes = [redis.cluster.ClusterNode(host, port) for host, port in where.nodes]
        options = {"username": where.username, "password": where.password, **(where.tls or {})}
        return redis.RedisCluster(startup_nodes=nodes, ssl=where.tls is not None, **options)

    def mget(self, keys: Iterable[Any]) -> list[bytes | None]:
        """The values of keys, in one trip to each node."""
        return self._calls([pack(b"GET", key if isinstance(key, bytes) else str(key).encode()) for key in keys])

    def _records(self, *args: Any) -> Wait:
        return ClusterWait(self, *args)

    # -- chords

    def get_key_for_group(self, group_id: Any, key: Any = "") -> Any:
        """The key of a group, in the slot of its book."""
        return _tag(_book(group_id)) + super().get_key_for_group(group_id, key)

    def _book_of(self, group_id: str) -> bytes:
        return self._nth_book(_book(group_id))

    def _nth_book(self, number: int) -> bytes:
        return _tag(number) + self._ended_chords

    def count_parts(self, parts: Iterable[Part]) -> list[Ended]:
        """Count parts, each where its chord is."""
        commands = []
        for part in parts:
            keys = _keys(self.get_key_for_group(part.group_id), self._book_of(part.group_id))
            words = counted([self._counting(part)])
            commands.append(pack(b"EVALSHA", COUNT_PARTS.sha, b"%d" % len(keys), *keys, *words))
        answers = self._retrying(lambda: self._calls(commands)) if commands else []
        ended = [chord for answer in answers if isinstance(answer, list) for chord in answer[1:]]
        return [self.ended_chord(chord) for chord in ended]

    def finish_chord(self, ended: Ended) -> None:
        """Forget a chord whose body was sent."""
        assert ended.chord is not None
        keys = _keys(ended.chord.key, ended.chord.book)
        command = pack(b"EVALSHA", DROP_CHORD.sha, b"%d" % len(keys), *keys, ended.chord.about)
        self._retrying(lambda: self._call(command))

    def overdue_chord(self) -> Ended | None:
        """A chord that somebody else should have finished by now."""
        books = set(range(BOOKS))
        while books and not self._overdue:
            numbers = sorted(books)
            answers = self._calls([self._overdue_in(number) for number in numbers])
            self._overdue.extend(answer for answer in answers if isinstance(answer, list))
            books = {number for number, answer in zip(numbers, answers, strict=True) if answer == 0}
        return self.ended_chord(self._overdue.popleft()) if self._overdue else None

    def _overdue_in(self, book: int) -> bytes:
        prefix = _tag(book) + self.group_keyprefix
        return pack(b"EVALSHA", OVERDUE_CHORD.sha, b"1", self._nth_book(book), prefix, b"%d" % TAKEN_ON)


def _book(group_id: Any) -> int:
    return crc_hqx(str(group_id).encode("utf-8", "surrogateescape"), 0) % BOOKS


def _tag(book: int) -> bytes:
    return b"{celerylite.%d}" % book


def _keys(group: bytes, book: bytes) -> tuple[bytes, ...]:
    """All that a script about a chord touches: a slot that is on the move must refuse it as a whole."""
    return (group, book, *(group + suffix for suffix in SUFFIXES))
