"""A private Redis Cluster for the tests: masters, with replicas where wanted, on free ports of this machine."""

from __future__ import annotations

import socket
from typing import Any

from .redis_server import RedisServer, free_port
from .waiting import wait_for

SLOTS = 16384
#: Milliseconds after which a node that is silent counts as failed.
NODE_TIMEOUT = 1500


def _cluster_port() -> int:
    """A free port whose neighbour 10,000 above, the cluster bus, is free too."""
    while True:
        port = free_port()
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
        return port


class RedisCluster:
    """`masters` nodes that share the slots evenly, each with `replicas` of its own.

    With `tls` (options of the server) they also speak TLS, and only that among each other.
    """

    def __init__(
        self, masters: int = 3, replicas: int = 0, package: str = "", password: str | None = None,
        tls: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        extra = (
            "--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT),
            "--cluster-require-full-coverage", "no",
            "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0",
        )  # fmt: skip
        count = masters * (1 + replicas)
        if password:
            extra += ("--requirepass", password, "--masterauth", password)
        self.nodes: list[RedisServer] = []
        #: The port by which a node knows another: the one for TLS, where there is one.
        self._own_port: dict[RedisServer, int] = {}
        for _ in range(count):
            own = _cluster_port()
            options = (*extra, "--tls-port", str(own), "--tls-cluster", "yes", *tls) if tls else extra
            port = free_port() if tls else own
            self.nodes.append(RedisServer(port=port, extra=options, package=package, password=password))
            self._own_port[self.nodes[-1]] = own
        self.masters = self.nodes[:masters]
        self._replicas = replicas

    def start(self) -> RedisCluster:
        """Start all nodes and make them a cluster."""
        for node in self.nodes:
            node.start()
        share = SLOTS // len(self.masters)
        for number, node in enumerate(self.masters):
            last = SLOTS - 1 if node is self.masters[-1] else (number + 1) * share - 1
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        with self.nodes[0].client() as client:
            for node in self.nodes[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", self._own_port[node])
        for node in self.nodes:
            wait_for(lambda node=node: self._knows_all(node), 30, "the nodes to meet")
        for number, node in enumerate(self.nodes[len(self.masters) :]):
            master = self.masters[number % len(self.masters)]
            with node.client() as client:
                client.execute_command("CLUSTER", "REPLICATE", self.id_of(master))
        for node in self.nodes:
            wait_for(lambda node=node: self._is_up(node), 30, "the cluster to be up")
        return self

    def _knows_all(self, node: RedisServer) -> bool:
        with node.client() as client:
            return _info(client)["cluster_known_nodes"] == str(len(self.nodes))

    def _is_up(self, node: RedisServer) -> bool:
        with node.client() as client:
            if _info(client)["cluster_state"] != "ok":
                return False
            info = client.info("replication")
            return info["role"] == "master" or info["master_link_status"] == "up"

    def id_of(self, node: RedisServer) -> str:
        """The node's name in the cluster."""
        with node.client() as client:
            return _text(client.execute_command("CLUSTER", "MYID"))

    def owner(self, key: str) -> RedisServer:
        """The master that has the slot of a key, by what the living nodes say."""
        for node in self.nodes:
            if node.process is None:
                continue
            with node.client() as client:
                slot = client.execute_command("CLUSTER", "KEYSLOT", key)
                for first, last, master, *_ in client.execute_command("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(one for one in self.nodes if one.port == master[1])
        raise AssertionError(f"nobody has the slot of {key}")

    def replica_of(self, master: RedisServer) -> RedisServer:
        """The replica that follows a master."""
        return self.nodes[len(self.masters) + self.masters.index(master)]

    def move_slot(self, key: str, target: RedisServer, before_end: Any = lambda: None) -> None:
        """Move the slot of a key, key by key, as `redis-cli --cluster reshard` does; `before_end` runs in the midst."""
        source = self.owner(key)
        with source.client() as here, target.client() as there:
            slot = here.execute_command("CLUSTER", "KEYSLOT", key)
            source_id, target_id = self.id_of(source), self.id_of(target)
            there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            before_end()
            while keys := here.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                here.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            there.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
            here.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        for node in self.masters:
            if node not in (source, target) and node.process is not None:
                with node.client() as client:
                    client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def flush(self) -> None:
        """Delete all keys."""
        for node in self.masters:
            with node.client() as client:
                client.flushall()

    @property
    def url(self) -> str:
        """The URL for brokers and results."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])
        return f"redis+cluster://{hosts}/"

    @property
    def tls_url(self) -> str:
        """The same with TLS, by one node."""
        return f"rediss+cluster://127.0.0.1:{self._own_port[self.nodes[0]]}/"

    def close(self) -> None:
        """End it and remove its files."""
        for node in self.nodes:
            node.close()


def _info(client: Any) -> dict[str, str]:
    text = _text(client.execute_command("CLUSTER", "INFO"))
    return dict(line.split(":", 1) for line in text.split() if ":" in line)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
