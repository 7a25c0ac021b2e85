"""Results on Redis: `celery-task-meta-<id>`, stored and published in one trip, waited for by subscription.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]    rediss://…    redis+socket:///PATH?virtual_host=DB
    sentinel://HOST:PORT;sentinel://HOST:PORT/DB   (with `master_name` in `result_backend_transport_options`)

Connections are in `redis_client`, the URL and the settings in `redis_address`, waiting in `redis_waiting`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from celerylite import states
from celerylite.backends import redis_address
from celerylite.backends.base import BaseKeyValueStoreBackend, SyncBackendMixin
from celerylite.backends.read_ahead import ReadAhead
from celerylite.backends.redis_chords import RedisChords
from celerylite.backends.redis_client import RedisClient, redis_module
from celerylite.backends.redis_listener import Listener
from celerylite.backends.redis_waiting import Wait
from celerylite.backends.waiting import NotifiedBackendMixin
from celerylite.brokers.redis_link import pack
from celerylite.brokers.redis_lua import SUCCEEDED, Script
from celerylite.brokers.redis_scripts import COUNT_PARTS, DROP_CHORD, OVERDUE_CHORD, REVOKED
from celerylite.exceptions import BackendStoreError
from celerylite.utils.forks import after_fork

__all__ = ("RedisBackend", "SentinelBackend", "STORE")

#: Store and publish a record, unless the task has succeeded before. KEYS: the record's key, which is its
#: channel as well. ARGV: record, seconds to live ('' for ever). Returns 1 where it was stored.
STORE = Script(
    SUCCEEDED
    + """
if succeeded(KEYS[1]) then return 0 end
if ARGV[2] ~= '' then redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
else redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
"""
)

#: Redis keeps no longer strings.
MAX_VALUE_SIZE = 536_870_912


class RedisBackend(RedisChords, RedisClient, NotifiedBackendMixin, BaseKeyValueStoreBackend, SyncBackendMixin):
    """Results on Redis. Safe to be shared by threads; a forked child starts with no connection."""

    supports_autoexpire = True
    supports_native_join = True
    supports_result_compression = True
    supports_failure_expires = True
    STORE_SCRIPT = STORE
    scripts = (STORE, COUNT_PARTS, DROP_CHORD, OVERDUE_CHORD)
    _MAX_STR_VALUE_SIZE = MAX_VALUE_SIZE

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        db: Any = None,
        password: str | None = None,
        max_connections: int | None = None,
        url: str | None = None,
        connection_pool: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(expires_type=int, **kwargs)
        conf = self.app.conf
        if host and "://" in host:
            url, host = host, None
        self.url = url
        self._ConnectionPool = connection_pool
        self.connparams = redis_address.from_settings(conf, host, port, db, password)
        if max_connections is not None:
            self.connparams["max_connections"] = max_connections
        if url:
            self.connparams = self._params_from_url(url, self.connparams)
        failure = conf.result_failure_expires
        self.failure_expires = self.expires if failure is None else self.prepare_expires(failure, int)
        #: YAML and compressed records hide their status from the script, so it is read beforehand.
        self._hidden_status = bool(self.compression) or self.serializer not in ("json", "pickle", "msgpack")
        self._idle = []
        self._ahead = ReadAhead()
        self._listener: Listener | None = None
        self._listener_lock = threading.Lock()
        after_fork(self._forget_connections)

    def _params_from_url(self, url: str, defaults: dict[str, Any]) -> dict[str, Any]:
        return redis_address.from_url(url, defaults)

    @property
    def status_is_plain(self) -> bool:
        """Whether a script can see in a record that the task has succeeded; else use `store`, which looks."""
        return not self._hidden_status

    @property
    def db(self) -> int:
        """The number of the database."""
        return self.connparams.get("db") or 0

    def revoked_book(self) -> Any:
        """Where revoked tasks are remembered if the broker has no place for them."""
        from celerylite.brokers.redis_revoked import RedisBook  # lazy: only for revokes and workers

        return RedisBook(self._calls, (self._global_keyprefix() + REVOKED).encode())

    # -- storing

    def ttl(self, state: str) -> int | None:
        """Seconds that a record in this state lives; None for ever."""
        return (self.failure_expires if state == states.FAILURE else self.expires) or None

    def store(self, task_id: str, record: Any, state: str | None = None) -> None:
        """Store and publish a record as `record()` made it; tried again while the server is away."""
        key = self.get_key_for_task(task_id)
        state = state or str(getattr(record, "state", ""))
        ttl = self.ttl(state)
        if len(record) > MAX_VALUE_SIZE:
            raise BackendStoreError("value too large for Redis backend", task_id=task_id, state=state)
        self._retrying(lambda: self._store_guarded(task_id, key, record, ttl))

    def _store_guarded(self, task_id: str, key: bytes, record: bytes, ttl: int | None) -> Any:
        if self._hidden_status:
            succeeded = self._get_task_meta_for(task_id)["status"] == states.SUCCESS
            return None if succeeded else self._calls(_unguarded(key, record, ttl))
        expiry = str(ttl).encode() if ttl else b""
        return self._call(pack(b"EVALSHA", STORE.sha, b"1", key, record, expiry))

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        record = self.codec.to_bytes(self._meta(task_id, state, result, traceback, request))
        self.store(task_id, record, state)
        return result

    def set(self, key: Any, value: Any, expires: int | None = None, **retry_policy: Any) -> None:
        """Store and publish a value under any key."""
        key, value = _bytes(key), _bytes(value)
        if len(value) > MAX_VALUE_SIZE:
            raise BackendStoreError("value too large for Redis backend")
        ttl = self.expires if expires is None else expires
        self._retrying(lambda: self._calls(_unguarded(key, value, ttl)), **retry_policy)

    def _set_with_state(self, key: Any, value: Any, state: str) -> None:
        self.set(key, value, self.ttl(state) or 0)

    # -- keys and values

    def get(self, key: Any) -> bytes | None:
        """The value of a key, or None."""
        return self._call(pack(b"GET", _bytes(key)))

    def mget(self, keys: Iterable[Any]) -> list[bytes | None]:
        """The values of keys, in one trip."""
        return self._call(pack(b"MGET", *map(_bytes, keys)))

    def delete(self, key: Any) -> None:
        """Delete a key."""
        self._call(pack(b"DEL", _bytes(key)))

    def incr(self, key: Any) -> int:
        """Count up atomically."""
        return self._call(pack(b"INCR", _bytes(key)))

    def expire(self, key: Any, value: int) -> bool:
        """Have a key deleted after so many seconds."""
        return bool(self._call(pack(b"EXPIRE", _bytes(key), str(int(value)).encode())))

    # -- waiting

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        callback: Any = None,
        propagate: bool = True,
    ) -> Any:
        """Wait until `result` is ready and return its value, or raise its exception."""
        self._ensure_not_eager()
        looked = False
        if on_message is None and result.id not in self._cache:
            others = self._ahead.others(result)
            looked = bool(others) and self._look([result, *others])
        if result._cache is None:
            meta = self._wait(result.id, timeout, interval, on_message, on_interval, looked)
            result._maybe_set_cache(meta)
        return result.maybe_throw(propagate=propagate, callback=callback)

    def _look(self, results: list[Any]) -> bool:
        """Read several results, the first of which is wanted; False where the store is away."""
        try:
            records = self.mget([self.get_key_for_task(result.id) for result in results])
        except (OSError, redis_module().RedisError):
            return False  # the wait to come tries again, by its own rules
        self._ahead.weigh(records)
        for result, record in zip(results, records, strict=True):
            meta = None if record is None else self.decode_result(record)
            # A failure may still be followed by a success, before anybody asks for it.
            if meta is not None and (result is results[0] or meta["status"] == states.SUCCESS):
                result._maybe_set_cache(meta)
        return True

    def _records(self, *args: Any) -> Wait:
        return Wait(self, *args)

    @property
    def listener(self) -> Listener:
        """The subscription of this process."""
        with self._listener_lock:
            if self._listener is None:
                errors = (OSError,) if self._address is not None else (OSError, redis_module().RedisError)
                self._listener = Listener(
                    self._open, errors,
                    max_retries=self.retry_policy["max_retries"], pause=self._interval,
                )  # fmt: skip
            return self._listener

    def _forget_connections(self) -> None:
        self._idle = []
        self._listener = None
        self._listener_lock = threading.Lock()
        self.__dict__.pop("client", None)

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {"expires": self.expires, "url": self.url, **(kwargs or {})})


class SentinelBackend(RedisBackend):
    """Results on the master that sentinels know; its name stands in `result_backend_transport_options`."""

    _SEPARATOR = ";"

    def _params_from_url(self, url: str, defaults: dict[str, Any]) -> dict[str, Any]:
        common = dict(defaults)
        for name in ("host", "port", "db", "password"):
            common.pop(name)
        common["hosts"] = []
        for one in url.split(self._SEPARATOR):
            if one:
                common["hosts"].append(redis_address.from_url(one, defaults))
        common["db"] = common["hosts"][0]["db"]
        common["password"] = common["hosts"][0]["password"]
        return common

    def as_uri(self, include_password: bool = False) -> str:
        """The URLs of all sentinels, with the passwords masked."""
        if include_password or not self.url:
            return self.url or ""
        from kombu.utils.url import maybe_sanitize_url

        shown = [maybe_sanitize_url(one) for one in self.url.split(self._SEPARATOR) if one]
        return self._SEPARATOR.join(one[:-1] if one.endswith(":///") else one for one in shown)

    def _get_pool(self, **params: Any) -> Any:
        from redis.sentinel import Sentinel

        options = dict(self.app.conf.result_backend_transport_options or {})
        params.pop("global_keyprefix", None)
        hosts = [(host["host"], host["port"]) for host in params.pop("hosts")]
        sentinels = Sentinel(
            hosts, min_other_sentinels=options.get("min_other_sentinels", 0),
            sentinel_kwargs=options.get("sentinel_kwargs") or {}, **params,
        )  # fmt: skip
        master = sentinels.master_for(str(options.get("master_name") or ""), redis_class=self._get_client())
        return master.connection_pool


def _unguarded(key: bytes, value: bytes, ttl: int | None) -> tuple[bytes, ...]:
    """The commands that store and publish, whatever is there."""
    write = pack(b"SETEX", key, str(ttl).encode(), value) if ttl else pack(b"SET", key, value)
    return pack(b"MULTI"), write, pack(b"PUBLISH", key, value), pack(b"EXEC")


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(value).encode("utf-8")
