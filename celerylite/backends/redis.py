"""Results on Redis: `celery-task-meta-<id>`, written and published in one trip, and waited for by subscription.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]    rediss://…    redis+socket:///PATH?virtual_host=DB
    sentinel://HOST:PORT;sentinel://HOST:PORT/DB   (with `master_name` in `result_backend_transport_options`)

The connection is redis-py's; what travels on it is read and written by `brokers.redis_link`, which is several times faster.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celerylite import states
from celerylite.backends import redis_address
from celerylite.backends.base import BaseKeyValueStoreBackend, SyncBackendMixin
from celerylite.backends.redis_listener import Listener
from celerylite.backends.waiting import TIMED_OUT
from celerylite.brokers.redis_link import REPLY_TIMEOUT, Link, LinkError, ReplyError, pack
from celerylite.brokers.redis_scripts import Script
from celerylite.exceptions import BackendStoreError, TimeoutError
from celerylite.utils.log import get_logger
from celerylite.utils.objects import cached_property

__all__ = ("RedisBackend", "SentinelBackend", "STORE")

logger = get_logger(__name__)

#: Lua: whether the record under a key says that the task has succeeded. JSON, pickle and msgpack begin with the status.
SUCCEEDED = """
local function succeeded(key)
  local head = redis.call('GETRANGE', key, 0, 63)
  local at = string.find(head, 'status', 1, true)
  return at and string.find(string.sub(head, at + 6, at + 20), 'SUCCESS', 1, true) ~= nil
end
"""

#: Store and publish a record, unless the task has succeeded before. KEYS: the record's key, which is its channel as well.
#: ARGV: record, seconds to live ('' for ever). Returns 1 where it was stored.
STORE = Script(SUCCEEDED + """
if succeeded(KEYS[1]) then return 0 end
if ARGV[2] ~= '' then redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1]) else redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
""")

#: Redis keeps no longer strings.
MAX_VALUE_SIZE = 536_870_912
#: Celery's default, which would let a connection into a black hole hang for two minutes; an explicit other value is kept.
CELERY_SOCKET_TIMEOUT = 120.0
CONNECT_TIMEOUT = 4.0
#: Seconds after which an idle connection is looked at before it is used.
IDLE_CHECK = 1.0

E_LOST = "Connection to Redis lost: Retry (%s/%s) %s."


class RedisBackend(BaseKeyValueStoreBackend, SyncBackendMixin):
    """Results on Redis. Safe to be shared by threads; a forked child starts with no connection."""

    supports_autoexpire = True
    supports_native_join = True
    supports_result_compression = True
    supports_failure_expires = True
    STORE_SCRIPT = STORE
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
        self._idle: list[tuple[float, Link]] = []
        self._listener: Listener | None = None
        self._listener_lock = threading.Lock()
        _after_fork(self._forget_connections)

    def _params_from_url(self, url: str, defaults: dict[str, Any]) -> dict[str, Any]:
        return redis_address.from_url(url, defaults)

    @property
    def db(self) -> int:
        """The number of the database."""
        return self.connparams.get("db") or 0

    @cached_property
    def retry_policy(self) -> dict[str, Any]:  # type: ignore[override]
        """How often, and with what pauses, writing is tried again."""
        policy = dict(super().retry_policy)
        policy.update((self.app.conf.result_backend_transport_options or {}).get("retry_policy") or {})
        return policy

    # -- storing

    def ttl(self, state: str) -> int | None:
        """Seconds that a record in this state lives; None for ever."""
        return (self.failure_expires if state == states.FAILURE else self.expires) or None

    def store(self, task_id: str, record: bytes, state: str | None = None) -> None:
        """Store and publish a record as `record()` made it, in one trip; tried again while the server is away."""
        key = self.get_key_for_task(task_id)
        ttl = self.ttl(state) if state is not None else self.expires
        if len(record) > MAX_VALUE_SIZE:
            raise BackendStoreError("value too large for Redis backend", task_id=task_id, state=state or "")
        self._retrying(lambda: self._store_guarded(task_id, key, record, ttl))

    def _store_guarded(self, task_id: str, key: bytes, record: bytes, ttl: int | None) -> Any:
        if self._hidden_status and self._get_task_meta_for(task_id)["status"] == states.SUCCESS:
            return 0
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
        write = pack(b"SETEX", key, str(ttl).encode(), value) if ttl else pack(b"SET", key, value)
        commands = (pack(b"MULTI"), write, pack(b"PUBLISH", key, value), pack(b"EXEC"))
        self._retrying(lambda: self._calls(commands), **retry_policy)

    def _set_with_state(self, key: Any, value: Any, state: str) -> None:
        self.set(key, value, self.ttl(state) or 0)

    # -- keys and values

    def get(self, key: Any) -> bytes | None:
        """The value of a key, or None."""
        return self._call(pack(b"GET", _bytes(key)))  # type: ignore[no-any-return]

    def mget(self, keys: Iterable[Any]) -> list[bytes | None]:
        """The values of keys, in one trip."""
        return self._call(pack(b"MGET", *map(_bytes, keys)))  # type: ignore[no-any-return]

    def delete(self, key: Any) -> None:
        """Delete a key."""
        self._call(pack(b"DEL", _bytes(key)))

    def incr(self, key: Any) -> int:
        """Count up atomically."""
        return self._call(pack(b"INCR", _bytes(key)))  # type: ignore[no-any-return]

    def expire(self, key: Any, value: int) -> bool:
        """Have a key deleted after so many seconds."""
        return bool(self._call(pack(b"EXPIRE", _bytes(key), str(int(value)).encode())))

    # -- waiting

    def _wait(self, task_id: str, timeout: Any, interval: float, on_message: Any, on_interval: Any) -> dict[str, Any]:
        if task_id in self._cache:
            return self._cache[task_id]  # type: ignore[no-any-return]
        for _, meta in self._await([task_id], timeout, interval, on_message, on_interval, TIMED_OUT):
            return meta
        raise AssertionError("unreachable: one task was waited for")

    def get_many(  # type: ignore[override]
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        max_iterations: int | None = None,
        READY_STATES: frozenset[str] = states.READY_STATES,  # noqa: N803 (Celery's name)
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, record) of each task as it becomes ready: those that are in one trip, then as they are published."""
        if max_iterations is not None or READY_STATES is not states.READY_STATES:
            return super().get_many(
                task_ids, timeout, interval, no_ack, on_message, on_interval, max_iterations, READY_STATES
            )
        text = f"Operation timed out ({timeout})"
        return self._await(list(dict.fromkeys(task_ids)), timeout, interval, on_message, on_interval, text)

    def _await(
        self, task_ids: list[str], timeout: float | None, interval: float, on_message: Any, on_interval: Any, text: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Read, and where something is missing: subscribe, read again, wait."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pending = {self.get_key_for_task(task_id): task_id for task_id in task_ids}
        yield from self._read_pending(pending, on_message)
        if not pending:
            return
        if timeout is not None and timeout <= 0:
            raise TimeoutError(text)
        listener = self.listener
        watch = listener.add(pending)
        try:
            while pending:
                until = deadline
                if on_interval is not None:
                    soon = time.monotonic() + interval
                    until = soon if deadline is None else min(soon, deadline)
                listener.wait(watch, until)
                if watch.error is not None:
                    raise watch.error
                if watch.reread:
                    watch.reread = False
                    yield from self._read_pending(pending, on_message)
                while watch.news:
                    yield from self._published(pending, *watch.news.popleft(), on_message)
                if on_interval is not None:
                    on_interval()
                if pending and deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(text)
        finally:
            listener.remove(watch)

    def _read_pending(self, pending: dict[bytes, str], on_message: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        keys = list(pending)
        values = self._call(pack(b"MGET", *keys)) if len(keys) > 1 else [self._call(pack(b"GET", keys[0]))]
        for key, value in zip(keys, values, strict=True):
            if value is None:
                continue
            meta = self.decode_result(value)
            if meta["status"] in states.READY_STATES:
                if on_message is not None:
                    on_message(meta)
                yield self._found(pending, key, meta)

    def _published(
        self, pending: dict[bytes, str], key: bytes, value: bytes, on_message: Any
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        if key not in pending:
            return
        meta = self.decode_result(value)
        if on_message is not None:
            on_message(meta)
        if meta["status"] in states.READY_STATES:
            yield self._found(pending, key, meta)

    def _found(self, pending: dict[bytes, str], key: bytes, meta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        task_id = pending.pop(key)
        if meta["status"] == states.SUCCESS:
            self._cache[task_id] = meta
        return task_id, meta

    @property
    def listener(self) -> Listener:
        """The subscription of this process."""
        with self._listener_lock:
            if self._listener is None:
                self._listener = Listener(
                    self._open, (OSError, *_redis().RedisError.__mro__[:1]),
                    max_retries=self.retry_policy["max_retries"], pause=self._interval,
                )  # fmt: skip
            return self._listener

    # -- connections

    def _call(self, command: bytes) -> Any:
        return self._calls((command,))[0]

    def _calls(self, commands: Iterable[bytes]) -> list[Any]:
        """Send commands and return their replies; redis-py's errors are raised, as Celery's users know them."""
        commands = tuple(commands)
        link, used = self._borrow()
        try:
            try:
                replies = link.call_many(commands)
            except LinkError:
                if not used:
                    raise
                replies = link.call_many(commands)  # the server had closed it while it was idle
        except LinkError as exc:
            raise _redis().ConnectionError(str(exc)) from exc
        except ReplyError as exc:
            raise _redis().ResponseError(str(exc)) from exc
        except BaseException:
            link.close()  # a signal handler raised: replies may be on their way still
            raise
        self._idle.append((time.monotonic(), link))
        return replies

    def _borrow(self) -> tuple[Link, bool]:
        try:
            since, link = self._idle.pop()
        except IndexError:
            return Link(self._open_with_script, timeout=self._reply_timeout), False
        if time.monotonic() - since > IDLE_CHECK and link.connected and link.readable(0):
            link.drop()  # nothing was asked, so this is the server's goodbye
        return link, link.connected

    @property
    def _reply_timeout(self) -> float:
        given = self.connparams.get("socket_timeout")
        return REPLY_TIMEOUT if given in (None, CELERY_SOCKET_TIMEOUT) else float(given)

    def _open(self) -> Any:
        """A fresh, connected redis-py connection."""
        pool = self.client.connection_pool
        # RESP 2 is half the work for the reader; redis-py's notices of maintenance (maint_…) would need RESP 3.
        options = {key: value for key, value in pool.connection_kwargs.items() if not key.startswith("maint_")}
        options.update(protocol=2, socket_timeout=self._reply_timeout)
        if options.get("socket_connect_timeout") is None:
            options["socket_connect_timeout"] = CONNECT_TIMEOUT
        if issubclass(pool.connection_class, _redis().UnixDomainSocketConnection):
            options.pop("socket_connect_timeout")
        connection = pool.connection_class(**options)
        connection.connect()
        connection._sock.settimeout(self._reply_timeout)
        return connection

    def _open_with_script(self) -> Any:
        try:
            connection = self._open()
            connection.send_command("SCRIPT", "LOAD", STORE.source)
            connection.read_response()
        except _redis().ResponseError:
            pass  # a user who may read but not run scripts: writing will say so
        except (OSError, _redis().RedisError) as exc:
            raise LinkError(str(exc)) from exc
        return connection

    def _forget_connections(self) -> None:
        self._idle = []
        self._listener = None
        self._listener_lock = threading.Lock()
        self.__dict__.pop("client", None)

    # -- trouble

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Whether an error of the store may go away by itself."""
        redis = _redis()
        return isinstance(exc, redis.ConnectionError | redis.TimeoutError | OSError)

    def _retrying(self, write: Callable[[], Any], **policy: Any) -> Any:
        """Write; again and again, by the retry policy, while the server is away."""
        policy = {**self.retry_policy, **policy}
        limit, given_up = policy.get("max_retries"), policy.get("timeout")
        started, attempt = time.monotonic(), 0
        while True:
            try:
                return write()
            except (_redis().ConnectionError, _redis().TimeoutError) as exc:
                late = given_up is not None and time.monotonic() - started >= given_up
                if late or (limit is not None and attempt >= limit):
                    raise
                pause = self._interval(attempt, policy)
                when = f"in {pause:.2f} seconds" if pause else "now"
                logger.error(E_LOST, attempt, limit if limit is not None else "Inf", when, extra={"action": "retry_store"})
                self.on_backend_retryable_error(exc)
                self._sleep(pause)
                attempt += 1

    def _interval(self, attempt: int, policy: dict[str, Any] | None = None) -> float:
        policy = policy or self.retry_policy
        pause = policy["interval_start"] + policy["interval_step"] * attempt
        return float(max(0, min(pause, policy["interval_max"])))

    # -- redis-py's own client, for whoever asks for it

    @cached_property
    def client(self) -> Any:
        """A `redis.StrictRedis` on the results' database."""
        return self._create_client(**self.connparams)

    def _create_client(self, **params: Any) -> Any:
        return self._get_client()(connection_pool=self._get_pool(**params))

    def _get_client(self) -> Any:
        return _redis().StrictRedis

    def _get_pool(self, **params: Any) -> Any:
        # The prefix is ours, and a key that redis-py does not know ends the connection.
        params.pop("global_keyprefix", None)
        return self.ConnectionPool(**params)

    @property
    def ConnectionPool(self) -> Any:  # noqa: N802 (Celery's name)
        """The class of connection pools."""
        if self._ConnectionPool is None:
            self._ConnectionPool = _redis().ConnectionPool
        return self._ConnectionPool

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {"expires": self.expires, "url": self.url, **(kwargs or {})})


class SentinelBackend(RedisBackend):
    """Results on the master that sentinels know; `master_name` stands in `result_backend_transport_options`."""

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
        master = sentinels.master_for(options.get("master_name"), redis_class=self._get_client())
        return master.connection_pool


def _redis() -> Any:
    import redis  # lazy: 100 ms, and not needed before the first result is read or written

    return redis


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(value).encode("utf-8")


def _after_fork(method: Callable[[], None]) -> None:
    reference = weakref.WeakMethod(method)

    def call() -> None:
        bound = reference()
        if bound is not None:
            bound()

    os.register_at_fork(after_in_child=call)
