"""How a settlement is told to the scripts that do it in one step (`redis_scripts.SETTLE`, `FINISH_CHORD`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.redis_link import pack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celerylite.brokers.base import EndedChord, Settlement
    from celerylite.brokers.redis import RedisBroker


def settle_arguments(broker: RedisBroker, settlement: Settlement) -> list[bytes]:
    """The commands of a settlement, each as its number of words and the words."""
    store, commands = settlement.store, settlement.commands
    args: list[bytes] = []
    db = store.db if store is not None else settlement.db
    elsewhere = db is not None and db != broker.connector.db and bool(store is not None or commands)
    if elsewhere:
        args += (b"2", b"SELECT", b"%d" % db)  # type: ignore[str-format]
    if store is not None:
        args += (b"4", b"STORE", store.key, b"%d" % store.ttl if store.ttl else b"", store.record)
    if commands:
        args += counted(commands)
    if elsewhere:
        args += (b"2", b"SELECT", b"%d" % broker.connector.db)
    for message in settlement.messages:
        args += counted(broker.commands_for(message))
    return args


def finish_command(broker: RedisBroker, chord: EndedChord, settlement: Settlement) -> bytes:
    """The command that ends a chord."""
    own = broker.connector.db
    db = b"" if settlement.db in (None, own) else b"%d" % settlement.db
    return pack(
        b"EVALSHA", scripts.FINISH_CHORD.sha, b"2", chord.key, chord.book, chord.about, db, b"%d" % own,
        *settle_arguments(broker, settlement),
    )  # fmt: skip


def counted(commands: Iterable[tuple[bytes, ...]]) -> list[bytes]:
    """Commands as the scripts take them."""
    args: list[bytes] = []
    for command in commands:
        args.append(b"%d" % len(command))
        args += command
    return args
