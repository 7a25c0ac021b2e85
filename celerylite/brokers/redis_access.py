"""Whether a Redis server can carry tasks: is it new enough, and may our user do there what a worker does?

Asked once a connection, so that what is missing is named before a task is taken, not felt in the middle of a script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.redis_link import Link, LinkError, ReplyError, is_refusal, pack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celerylite.brokers.redis import RedisBroker

#: The oldest release that can, and a command that came with it.
OLDEST, NEW_COMMAND = "6.2", b"BLMOVE"

CLUSTER = "a node of a Redis Cluster: write redis+cluster:// (rediss+cluster:// with TLS) instead of redis://"
#: What a user needs who only sends; `~celerylite.*` is for delayed messages.
SENDING = "~_kombu.* ~celerylite.* +@write +@scripting +@connection +time +zcount"
#: The commands that a worker's user needs; keys and channels depend on the project.
COMMANDS = "+@read +@write +@connection +@transaction +@scripting +@pubsub +time +info +command"


def check(broker: RedisBroker, link: Link, queues: Iterable[str]) -> None:
    """Raise `LinkError`, naming what is missing, where a worker of these queues could not work."""
    info = _info(link)
    if info.get("cluster_enabled") == "1" and not broker.clustered:
        raise LinkError(f"{broker.connector.uri}: {CLUSTER}")
    if _lacks(link, NEW_COMMAND):
        release = f"Redis {info.get('redis_version', '?')}"
        raise LinkError(f"{release} is too old: celerylite needs {OLDEST} or later ({NEW_COMMAND.decode()})")
    if broker.connector.username:
        _check_user(broker, link, list(queues))


def explain(error: ReplyError, broker: RedisBroker, queues: Iterable[str]) -> str:
    """What a refused permission means, and the rule that would give it."""
    user = broker.connector.username or "default"
    rule = " ".join((*_patterns(broker, queues), COMMANDS))
    return f"Redis refuses its user {user!r}: {error}. A worker needs: ACL SETUSER {user} {rule}"


def refused_to_send(error: ReplyError, broker: RedisBroker, keys: Iterable[bytes]) -> Exception:
    """The error to raise for a message that could not be sent to these lists; others than we know stay as they are."""
    from kombu.exceptions import OperationalError

    if str(error).startswith(("MOVED ", "CROSSSLOT ")):
        return OperationalError(f"{broker.connector.uri}: {CLUSTER}")
    if not is_refusal(error):
        return error
    user = broker.connector.username or "default"
    lists = " ".join(f"~{key.decode('unicode_escape', 'replace')}" for key in keys)
    rule = f"ACL SETUSER {user} {lists} {SENDING}"
    return OperationalError(f"Redis refuses its user {user!r}: {error}. To send, it needs: {rule}")


def _lacks(link: Link, command: bytes) -> bool:
    try:
        return link.call(pack(b"COMMAND", b"INFO", command)) == [None]
    except ReplyError:
        return False  # our user may not ask


def _info(link: Link) -> dict[str, str]:
    """What the server says of itself, as far as our user may ask."""
    try:
        text = link.call(pack(b"INFO")).decode("utf-8", "replace")
    except ReplyError:
        return {}
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def _check_user(broker: RedisBroker, link: Link, queues: list[str]) -> None:
    """Try, without harm, what the scripts will do: a refusal in the middle of one would leave half of it done."""
    layout = broker.layout
    keys = [key for queue in queues for key in layout.list_keys(queue)]
    keys += [layout.key(name) for name in (layout.unacked_key, layout.unacked_index_key, *scripts.KEYS)]
    channels = [prefix + b"probe" for prefix in broker.results]
    try:
        link.call(pack(b"SCRIPT", b"LOAD", scripts.PROBE.source))
        command = pack(b"EVALSHA", scripts.PROBE.sha, b"0", b"%d" % len(keys), *keys, *channels)
        refused = link.call(command)
    except ReplyError as exc:
        if not is_refusal(exc):
            raise
        raise LinkError(explain(exc, broker, queues)) from exc
    if refused:
        what = ", ".join(name.decode("unicode_escape", "replace") for name in refused)
        raise LinkError(explain(ReplyError(f"no access to {what}"), broker, queues))


def _patterns(broker: RedisBroker, queues: Iterable[str]) -> list[str]:
    """The keys and channels, as `ACL SETUSER` takes them."""
    layout = broker.layout
    names = [*queues, "celerylite.", layout.unacked_key, "_kombu."]
    keys = [f"~{layout.global_keyprefix}{name}*" for name in dict.fromkeys(names)]
    results = [prefix.decode() for prefix in broker.results]
    channels = [f"&{layout.global_keyprefix}/{broker.connector.db}.*", "&__redis__:invalidate"]
    return keys + [f"~{prefix}*" for prefix in results] + channels + [f"&{prefix}*" for prefix in results]
