"""Notebooks on Redis: a hash each, changed by scripts; and what publishes with a note in the same script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.base import Notebook
from celerylite.brokers.envelope import encode
from celerylite.brokers.redis_link import pack
from celerylite.brokers.values import Claim

if TYPE_CHECKING:
    from celerylite.brokers.redis import RedisBroker
    from celerylite.message import Message


class RedisNotebook(Notebook):
    """One hash; its version stands under the empty name."""

    def __init__(self, broker: RedisBroker, name: str) -> None:
        self.broker = broker
        self.key = key_of(broker, name)

    def read(self) -> tuple[int, dict[str, bytes]]:
        """Its version and all its notes."""
        flat = call(self.broker, [pack(b"HGETALL", self.key)])[0]
        notes = dict(zip(flat[::2], flat[1::2], strict=True))
        version = int(notes.pop(b"", 0))
        return version, {_text(name): value for name, value in notes.items()}

    def look(self, names: Sequence[str]) -> list[bytes | None]:
        """Some of its notes."""
        return call(self.broker, [pack(b"HMGET", self.key, *map(_bytes, names))])[0] if names else []

    def change(
        self, set: Mapping[str, bytes] | None = None, drop: Iterable[str] = (), version: int | None = None
    ) -> bool:
        """Write and delete notes in one step; with `version` only where it still has that one."""
        written = [part for name, value in (set or {}).items() for part in (_bytes(name), value)]
        guard = b"" if version is None else b"%d" % version
        command = pack(
            b"EVALSHA", scripts.CHANGE_NOTES.sha, b"1", self.key,
            guard, b"%d" % (len(written) // 2), *written, *map(_bytes, drop),
        )  # fmt: skip
        return call(self.broker, [command])[0] == 1

    def version(self) -> int:
        """Another number after each change."""
        return int(call(self.broker, [pack(b"HGET", self.key, b"")])[0] or 0)


def publish_once(broker: RedisBroker, claims: Sequence[Claim]) -> list[bytes | None]:
    """All claims in one trip, each one script."""
    commands: list[bytes] = []
    others: list[list[Message]] = []
    for claim in claims:
        command, fan_out = _claiming(broker, claim)
        commands.append(command)
        others.append(fan_out)
    answers = call(broker, commands)
    # What goes to a fan-out exchange is nobody's list: kombu sends it once the claim is won.
    won = [message for answer, fan_out in zip(answers, others, strict=True) if answer is None for message in fan_out]
    if won:
        broker.publish_many(won)
    return answers


def clock(broker: RedisBroker) -> float:
    """The server's time."""
    seconds, micros = call(broker, [pack(b"TIME")])[0]
    return int(seconds) + int(micros) / 1e6


def _claiming(broker: RedisBroker, claim: Claim) -> tuple[bytes, list[Message]]:
    """The command of a claim, and the messages that kombu has to send."""
    keys = [key_of(broker, claim.book), broker.key(scripts.LEASES), broker.key(scripts.DELAYED)]
    words = [_bytes(claim.field), claim.seen or b"", claim.value]
    fan_out: list[Message] = []
    for message in claim.messages:
        try:
            queues = broker.queues_for(message)
        except LookupError:
            fan_out.append(message)
            continue
        due = b"" if message.due is None else repr(message.due).encode()
        for queue in queues:
            keys.append(broker.list_key(queue, message.properties.get("priority")))
            words += (due, encode(message))
    return pack(b"EVALSHA", scripts.CLAIM_NOTE.sha, b"%d" % len(keys), *keys, *words), fan_out


def call(broker: RedisBroker, commands: Sequence[bytes]) -> list[Any]:
    """The replies; a connection that broke while it was idle is not the caller's worry, so it is tried twice."""
    try:
        return broker._call(commands)
    except broker.connection_errors:
        pass  # everything here may be repeated
    try:
        return broker._call(commands)
    except broker.connection_errors as exc:
        from kombu.exceptions import OperationalError  # lazy: only on the way down

        raise OperationalError(str(exc)) from exc


def key_of(broker: RedisBroker, name: str) -> bytes:
    """The key of a notebook."""
    return broker.key(scripts.NOTEBOOK + name)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
