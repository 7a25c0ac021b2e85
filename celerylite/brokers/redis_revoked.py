"""Revoked tasks on Redis: one sorted set, of the broker or of the result store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from celerylite.brokers.redis_link import pack
from celerylite.brokers.revoked_book import RevokedBook


class RedisBook(RevokedBook):
    """A sorted set; `call` sends packed commands and returns their replies, `after` is called when it was read."""

    def __init__(
        self, call: Callable[[Sequence[bytes]], list[Any]], key: bytes, after: Callable[[], None] | None = None
    ) -> None:
        self._call = call
        self._key = key
        self._after = after

    def add(self, entries: Iterable[str], *, expires: float, most: int) -> None:
        """Write down, and forget what is too old or too much, in one trip."""
        now = time.time()
        when = b"%.6f" % now
        words = [word for entry in entries for word in (when, entry.encode("utf-8", "surrogateescape"))]
        if not words:
            return
        key = self._key
        self._call([
            pack(b"ZADD", key, *words),
            pack(b"ZREMRANGEBYSCORE", key, b"-inf", b"%.6f" % (now - expires)),
            pack(b"ZREMRANGEBYRANK", key, b"0", b"%d" % -(most + 1)),
            pack(b"EXPIRE", key, b"%d" % (expires + 1)),
        ])

    def read(self, expires: float) -> dict[str, float]:
        """Everything younger than `expires`."""
        since = b"(%.6f" % (time.time() - expires)
        flat = self._call([pack(b"ZRANGEBYSCORE", self._key, since, b"+inf", b"WITHSCORES")])[0]
        if self._after is not None:
            self._after()
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {entry.decode("utf-8", "surrogateescape"): float(when) for entry, when in pairs}
