"""A Redis Cluster as its users need it: which node has which slot, connections to nodes, and commands that find theirs.

Nodes say where a slot has gone (MOVED, ASK) and which slots they know of (CLUSTER SLOTS); both are kept here, for a
whole process. Knows nothing of messages.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from celerylite.brokers.redis_cluster_address import ClusterAddress, Node
from celerylite.brokers.redis_cluster_layout import OWN, SLOTS, key_of, slot_of
from celerylite.brokers.redis_link import Link, LinkError, Opened, ReplyError, Silence, is_passing, is_refusal, pack
from celerylite.brokers.redis_lua import Script
from celerylite.brokers.redis_socket import Address, open_session
from celerylite.utils.forks import after_fork

logger = logging.getLogger("celery.brokers.redis")

#: Seconds after which an idle connection is looked at before it is used.
IDLE_CHECK = 1.0
#: Seconds between tries while a slot is on the move.
AGAIN = 0.02
#: Seconds that an attempt to connect may take in vain before it counts as silence.
IN_VAIN = 0.5
#: Where commands without a key go, if they can: to the node of our own notes, whose clock everybody reads.
HOME = slot_of(b"{%b}" % OWN.encode())
#: The cluster is not itself just now, and may look different when it is asked again.
STALE = ("CLUSTERDOWN", "READONLY", "MASTERDOWN")
ASKING = pack(b"ASKING")
MULTI = pack(b"MULTI")


class Moved(LinkError):
    """The slot is at another node, or on its way there."""


class NotACluster(LinkError):
    """The server is no node of a Redis Cluster."""


class ClusterLink(Link):
    """A connection to whichever node has a slot; a slot that has moved counts as a broken connection."""

    #: Told of errors that say something about the cluster.
    heed: Callable[[ReplyError], bool]
    #: Whether errors are handed out like other replies, for somebody who knows what to do with each.
    gathering = False

    def _passing(self, error: ReplyError) -> LinkError | None:
        if self.gathering:
            return None
        if self.heed(error):
            return Moved(str(error))
        return LinkError(str(error)) if is_passing(error) else None


@dataclass(slots=True)
class Errand:
    """Commands that go to one node, in a row; with MULTI at their beginning they are done or refused as one."""

    commands: Sequence[bytes]
    slot: int
    #: Whether another node would do as well.
    keyless: bool = False
    #: Where an ASK has sent us, for this once.
    detour: Node | None = None
    replies: list[Any] = field(default_factory=list)

    @property
    def refusal(self) -> ReplyError | None:
        """The first error in the replies; of a transaction the one that was its cause."""
        return next((reply for reply in self.replies if type(reply) is ReplyError), None)


class Cluster:
    """See the module. Threads each borrow connections; a forked child starts with none."""

    def __init__(self, address: ClusterAddress, scripts: Iterable[Script] = ()) -> None:
        self.address = address
        self._loads = [pack(b"SCRIPT", b"LOAD", script.source) for script in scripts]
        #: The first slot of each known range, its last slot and its node, in order.
        self._starts: list[int] = []
        self._ranges: list[tuple[int, Node]] = []
        #: What has moved since then.
        self._moved: dict[int, Node] = {}
        self._stale = True
        #: Nodes that let us wait in vain, and until when nobody tries them again.
        self._silent: dict[Node, float] = {}
        self._idle: dict[Node, list[tuple[float, ClusterLink]]] = {}
        self._lock = threading.Lock()
        after_fork(self._after_fork)

    def _after_fork(self) -> None:
        """The parent's sockets are not ours: forget them without a word to the server."""
        self._idle = {}
        self._lock = threading.Lock()

    @property
    def timeout(self) -> float:
        """Seconds that a node may be silent."""
        return self.address.timeout

    # -- who has what

    def node_of(self, slot: int) -> Node:
        """The master of a slot, as far as we know; raises `LinkError` where no node tells."""
        if self._stale:
            self.refresh()
        node = self.known(slot)
        if node is None:
            self._stale = True
            raise LinkError(f"{self.address.url}: no node serves slot {slot}")
        return node

    def known(self, slot: int) -> Node | None:
        """The master of a slot, without asking anybody."""
        at = bisect_right(self._starts, slot) - 1
        return self._moved.get(slot) or (self._ranges[at][1] if at >= 0 and self._ranges[at][0] >= slot else None)

    def masters(self) -> list[Node]:
        """All nodes that have slots."""
        if self._stale:
            self.refresh()
        return list(dict.fromkeys([*(node for _, node in self._ranges), *self._moved.values()]))

    def refresh(self, but: Node | None = None) -> None:
        """Ask the nodes which slots they have, `but` the last: it is in trouble."""
        known = list(dict.fromkeys([*(node for _, node in self._ranges), *self._moved.values()]))
        random.shuffle(known)  # whoever is cut off from the others must not be asked again and again
        now = time.monotonic()
        nodes = sorted(
            dict.fromkeys([*known, *self.address.nodes]),
            key=lambda node: node == but or self._silent.get(node, 0.0) > now,
        )
        trouble: Exception | None = None
        for node in nodes:
            try:
                self._learn(self._slots_at(node), node)
                return
            except OSError as exc:
                if trouble is None or isinstance(exc, NotACluster):
                    trouble = exc
        if isinstance(trouble, NotACluster):
            raise trouble
        raise LinkError(f"cannot connect to {self.address.url}: {trouble}") from trouble

    def _slots_at(self, node: Node) -> list[Any]:
        opened, replies = self._session(node, [pack(b"CLUSTER", b"SLOTS")])
        opened[1]()
        if isinstance(replies[0], ReplyError):
            if "cluster support disabled" in str(replies[0]):
                raise NotACluster(f"{node[0]}:{node[1]} is no node of a Redis Cluster: write redis:// for it")
            raise LinkError(str(replies[0]))
        return replies[0]

    def _learn(self, slots: list[Any], asked: Node) -> None:
        found = []
        for first, last, master, *_ in slots:
            host = master[0].decode() if master[0] else ""
            found.append((first, last, (host if host not in ("", "?") else asked[0], master[1])))
        if not found:
            raise LinkError(f"{asked[0]}:{asked[1]} knows of no slots: is the cluster complete?")
        found.sort()
        self._starts, self._ranges = [first for first, _, _ in found], [(last, node) for _, last, node in found]
        self._moved, self._stale = {}, False

    def heed(self, error: ReplyError) -> bool:
        """Learn from an error of a node; whether it was about where a slot is."""
        text = str(error)
        if text.startswith("MOVED "):
            slot, node = _place(text)
            if node[0]:
                self._moved[slot] = node
            self._stale = self._stale or not node[0] or len(self._moved) > SLOTS // 64
            return True
        if text.startswith(STALE):
            self._stale = True
        return text.startswith(("ASK ", "TRYAGAIN"))

    # -- connections

    def link(self, slot: int | None) -> ClusterLink:
        """A connection of one's own that follows a slot, or that goes to any node."""
        link = ClusterLink(self.open_any if slot is None else lambda: self.open_slot(slot), timeout=self.timeout)
        link.heed = self.heed
        return link

    def open_slot(self, slot: int) -> Opened:
        """A connection to the master of a slot; raises `LinkError`."""
        node = self.node_of(slot)
        try:
            return self._open(node)
        except LinkError:
            self.refresh(but=node)
            if self.node_of(slot) == node:
                raise
        return self._open(self.node_of(slot))

    def open_any(self) -> Opened:
        """A connection to any node, for what is published: every node hears it."""
        try:
            return self.open_slot(HOME)
        except LinkError:
            for node in self.masters():
                try:
                    return self._open(node)
                except LinkError:
                    continue
            raise

    def _open(self, node: Node) -> Opened:
        try:
            opened, replies = self._session(node, self._loads)
        except OSError as exc:
            raise LinkError(f"cannot connect to {node[0]}:{node[1]} of {self.address.url}: {exc}") from exc
        for reply in replies:
            # As for a single server: who may only send does without scripts.
            if isinstance(reply, ReplyError) and not is_refusal(reply):
                opened[1]()
                raise LinkError(f"cannot load scripts into {node[0]}:{node[1]}: {reply}")
        return opened

    def _session(self, node: Node, commands: Sequence[bytes]) -> tuple[Opened, list[Any]]:
        """A connection and the first replies. A host that swallows everything is tried half of the time at most."""
        began = time.monotonic()
        if began < self._silent.get(node, 0.0):
            raise LinkError("it did not answer a moment ago")
        try:
            return self._connect(node, commands)
        except OSError:
            now = time.monotonic()
            if now - began > IN_VAIN:
                self._silent[node] = now + (now - began)
            raise

    def _connect(self, node: Node, commands: Sequence[bytes]) -> tuple[Opened, list[Any]]:
        where = self.address
        if where.tls is None:
            address = Address(
                node[0], node[1], username=where.username, password=where.password, client_name=where.client_name,
                connect_timeout=where.connect_timeout, timeout=where.timeout, keepalive=where.keepalive,
                keepalive_options=where.keepalive_options,
            )  # fmt: skip
            return open_session(address, commands)
        return _tls_session(where, node, commands)

    def borrow(self, node: Node) -> ClusterLink:
        """A connection to a node, for this thread."""
        try:
            since, link = self._idle.setdefault(node, []).pop()
        except IndexError:
            link = ClusterLink(lambda: self._open(node), timeout=self.timeout)
            link.heed, link.gathering = self.heed, True
            return link
        if time.monotonic() - since > IDLE_CHECK and link.connected and link.readable(0):
            link.drop()  # nothing was asked, so this is the server's goodbye
        return link

    def give_back(self, node: Node, link: ClusterLink) -> None:
        """Keep a connection on which nothing is under way for the next who needs one."""
        self._idle.setdefault(node, []).append((time.monotonic(), link))

    def close(self) -> None:
        """Close idle connections."""
        idle, self._idle = self._idle, {}
        for links in idle.values():
            for _, link in links:
                link.close()

    # -- commands

    def call(self, commands: Sequence[bytes]) -> list[Any]:
        """Send each command to the node of its first key, in one trip a node, and return the replies in their order.

        With MULTI among them all go to one node, as one. What a node refuses because a slot moves is tried again for as
        long as a node may be silent. Raises `ReplyError` for the first refusal, `LinkError` when a node is away.
        """
        errands = self._errands(commands)
        waiting, deadline = errands, time.monotonic() + self.timeout
        self._run(waiting)
        while waiting := [errand for errand in waiting if self._again(errand)]:
            if time.monotonic() > deadline:
                raise LinkError(f"{self.address.url}: {waiting[0].refusal}")
            if not str(waiting[0].refusal).startswith(("MOVED", "ASK")):
                time.sleep(AGAIN)
            for errand in waiting:
                errand.replies = []
            self._run(waiting)
        for errand in errands:
            if (refusal := errand.refusal) is not None:
                raise LinkError(str(refusal)) if is_passing(refusal) else refusal
        return [reply for errand in errands for reply in errand.replies]

    def call_one(self, command: bytes) -> Any:
        """The reply to one command."""
        return self.call((command,))[0]

    def _errands(self, commands: Sequence[bytes]) -> list[Errand]:
        if MULTI in commands:
            keys = (key_of(command) for command in commands)
            return [Errand(commands, next((slot_of(key) for key in keys if key is not None), HOME))]
        return [
            Errand((command,), HOME, keyless=True) if (key := key_of(command)) is None
            else Errand((command,), slot_of(key)) for command in commands
        ]  # fmt: skip

    def _run(self, errands: Sequence[Errand]) -> None:
        """One trip to every node that has something to do."""
        by_node: dict[Node, list[Errand]] = {}
        for errand in errands:
            by_node.setdefault(errand.detour or self._node_for(errand), []).append(errand)
        trouble: LinkError | None = None
        open_trips: list[tuple[Node, ClusterLink]] = []
        try:
            for node, some in by_node.items():
                link = self.borrow(node)
                open_trips.append((node, link))
                try:
                    _write(link, some)
                except LinkError as exc:
                    trouble = self._gone(node, exc)
            while open_trips:
                node, link = open_trips[-1]
                try:
                    while link.connected and link.unanswered:
                        link.read()
                    if link.connected:
                        self.give_back(node, link)
                except LinkError as exc:
                    trouble = self._gone(node, exc)
                open_trips.pop()
        finally:
            for _, link in open_trips:  # something was raised by a signal: replies may be on their way
                link.close()
        if trouble is not None:
            raise trouble

    def _node_for(self, errand: Errand) -> Node:
        node = self.node_of(errand.slot)
        now = time.monotonic()
        if errand.keyless and self._silent.get(node, 0.0) > now:
            return next((one for one in self.masters() if self._silent.get(one, 0.0) <= now), node)
        return node

    def _gone(self, node: Node, exc: LinkError) -> LinkError:
        self._idle.pop(node, None)
        self._stale = True
        if isinstance(exc, Silence):
            self._silent[node] = time.monotonic() + self.timeout
        return exc

    def _again(self, errand: Errand) -> bool:
        """Whether to try again, having learned where, or that it is a matter of time."""
        refusal, errand.detour = errand.refusal, None
        if refusal is None:
            return False
        text = str(refusal)
        if text.startswith("ASK "):
            errand.detour = _place(text)[1]
            return True
        if text.startswith("NOSCRIPT"):
            self.close()
            return True
        return self.heed(refusal) or text.startswith(("LOADING", *STALE))


def _write(link: ClusterLink, errands: Sequence[Errand]) -> None:
    link.open()
    data = []
    for errand in errands:
        if errand.detour is not None:
            data.append((ASKING, lambda reply: None))
        data += [(command, errand.replies.append) for command in errand.commands]
    link.send_many(data)


def _place(text: str) -> tuple[int, Node]:
    """The slot and node in `MOVED 866 127.0.0.1:7002`."""
    _, slot, where = text.split()[:3]
    host, _, port = where.rpartition(":")
    return int(slot), (host, int(port))


def _tls_session(where: ClusterAddress, node: Node, commands: Sequence[bytes]) -> tuple[Opened, list[Any]]:
    from redis.connection import SSLConnection  # lazy: brings asyncio along
    from redis.exceptions import RedisError, ResponseError

    options: dict[str, Any] = {
        "host": node[0], "port": node[1], "username": where.username, "password": where.password, "protocol": 2,
        "client_name": where.client_name, "socket_timeout": where.timeout,
        "socket_connect_timeout": where.connect_timeout, **(where.tls or {}),
    }  # fmt: skip
    connection: Any = SSLConnection(**options)
    try:
        connection.connect()
        connection.send_packed_command(list(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(connection.read_response(disable_decoding=True))
            except ResponseError as exc:
                replies.append(ReplyError(str(exc)))
    except RedisError as exc:
        connection.disconnect()
        raise LinkError(str(exc)) from exc
    return (connection._sock, connection.disconnect), replies  # redis-py has no public name for the socket
