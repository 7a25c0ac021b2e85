"""Where in a Redis database something stands, without knowing how a worker lays out its keys."""

from __future__ import annotations

import redis


def keys_with(client: redis.Redis, needle: str) -> list[str]:
    """All keys that hold `needle`, in their name or in their value, sorted."""
    word = needle.encode()
    return sorted(key for key, text in dump(client).items() if word in key.encode() or word in text)


def dump(client: redis.Redis) -> dict[str, bytes]:
    """All keys of the database with their values as text."""
    found = {}
    readers = {
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }
    for key in client.scan_iter(count=1000):
        reader = readers.get(client.type(key))
        found[key.decode()] = repr(reader(key)).encode() if reader else b""
    return found


def broker_keys_with(client: redis.Redis, needle: str) -> list[str]:
    """The same without results."""
    return [key for key in keys_with(client, needle) if not key.startswith("celery-task-meta-")]
