"""Results in the memory of this process (`cache+memory://`), for tests.

Every app of the process shares them. Memcached is not supported.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from celerylite.backends.base import KeyValueStoreBackend
from celerylite.exceptions import ImproperlyConfigured

UNKNOWN_BACKEND = "The cache backend {0!r} is unknown,\nPlease use one of the following backends instead: {1}"

#: The oldest value goes when there are more.
MEMORY_LIMIT = 5000


class DummyClient:
    """A memcached that lives in this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: key → (value, when it expires on the monotonic clock or None)
        self.cache: OrderedDict[Any, tuple[Any, float | None]] = OrderedDict()
        self.changed = threading.Condition()

    def get(self, key: Any, *args: Any, **kwargs: Any) -> Any:
        """The value, or None."""
        value, expires = self.cache.get(key, (None, None))
        if expires is not None and expires <= time.monotonic():
            self.cache.pop(key, None)
            return None
        return value

    def get_multi(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The values that there are."""
        values = {key: self.get(key) for key in keys}
        return {key: value for key, value in values.items() if value is not None}

    def set(self, key: Any, value: Any, expires: float | None = None, **kwargs: Any) -> None:
        """Store a value, for so many seconds or (0, None) for ever."""
        with self.changed:
            self.cache[key] = value, time.monotonic() + expires if expires else None
            self.cache.move_to_end(key)
            while len(self.cache) > MEMORY_LIMIT:
                self.cache.popitem(last=False)
            self.changed.notify_all()

    def delete(self, key: Any, *args: Any, **kwargs: Any) -> None:
        """Forget a value."""
        with self.changed:
            self.cache.pop(key, None)

    def incr(self, key: Any, delta: int = 1) -> int:
        """Count up a value that is there; KeyError else."""
        with self.changed:
            value, expires = self.cache[key]
            value = int(value) + delta
            self.cache[key] = value, expires
            return value

    def touch(self, key: Any, expire: float) -> None:
        """Have a value expire after so many seconds."""
        with self.changed:
            if key in self.cache:
                self.cache[key] = self.cache[key][0], time.monotonic() + expire if expire else None

    def wait(self, seconds: float) -> None:
        """Come back when something was stored, at the latest after so many seconds."""
        with self.changed:
            self.changed.wait(seconds)


_memory = DummyClient()

backends: dict[str, Any] = {"memory": lambda: _memory}


class CacheBackend(KeyValueStoreBackend):
    """Results in a cache."""

    servers: Any = None
    supports_autoexpire = True
    supports_native_join = True
    implements_incr = True

    def __init__(
        self,
        app: Any,
        expires: Any = None,
        backend: str | None = None,
        options: Any = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(app, url=url, **kwargs)
        self.url = url
        self.options = {**(app.conf.cache_backend_options or {}), **(options or {})}
        where = url or backend or app.conf.cache_backend or ""
        self.backend: str
        self.backend, _, servers = where.partition("://")
        self.servers = servers.rstrip("/").split(";")
        self.expires = self.prepare_expires(expires, type=int)
        if self.backend not in backends:
            raise ImproperlyConfigured(UNKNOWN_BACKEND.format(self.backend, ", ".join(backends)))
        self.client = backends[self.backend]()

    def get(self, key: Any) -> Any:
        """The value of a key, or None."""
        return self.client.get(key)

    def mget(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The values that there are."""
        return self.client.get_multi(keys)

    def set(self, key: Any, value: Any) -> None:
        """Store a value for `result_expires` seconds."""
        self.client.set(key, value, self.expires)

    def delete(self, key: Any) -> None:
        """Delete a key."""
        self.client.delete(key)

    def incr(self, key: Any) -> int:
        """Count up atomically."""
        return self.client.incr(key)

    def _open_count(self, key: Any, value: int) -> None:
        self.client.set(key, value, self.expires)

    def expire(self, key: Any, value: int) -> None:
        """Have a key deleted after so many seconds."""
        self.client.touch(key, value)

    def _pause(self, seconds: float) -> None:
        # Short, because the change may have come between the look and the wait.
        self.client.wait(min(seconds, 0.02))

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """What the banner shows; there are no passwords."""
        return f"{self.backend}://{';'.join(self.servers)}/"

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        more = {"backend": self.as_uri(), "expires": self.expires, "options": self.options}
        return super().__reduce__(args, {**more, **(kwargs or {})})
