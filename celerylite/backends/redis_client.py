"""Connections of the Redis result store: `brokers.redis_socket` (or redis-py) opens them, `redis_link` uses them.

Threads each borrow one; a forked child starts with none. What writes is tried again while the server is away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from celerylite.brokers.redis_link import REPLY_TIMEOUT, Link, LinkError, Opened, ReplyError, pack
from celerylite.brokers.redis_lua import Script
from celerylite.brokers.redis_socket import Address, open_session
from celerylite.utils.log import get_logger
from celerylite.utils.objects import cached_property

logger = get_logger("celerylite.backends.redis")

#: Celery's default for `redis_socket_timeout`, which would let a connection into a black hole hang for two
#: minutes; any other value is kept.
CELERY_SOCKET_TIMEOUT = 120.0
CONNECT_TIMEOUT = 4.0
#: Seconds after which an idle connection is looked at before it is used.
IDLE_CHECK = 1.0

E_LOST = "Connection to Redis lost: Retry (%s/%s) %s."

RETRY_POLICY = {"max_retries": 20, "interval_start": 0, "interval_step": 1, "interval_max": 1}


def redis_module() -> Any:
    """redis-py; lazy, because it takes 100 ms and nobody needs it before the first result."""
    import redis

    return redis


#: Parameters that a plain socket can be opened with, or that concern only redis-py's pool.
_PLAIN = frozenset(
    (
        "host", "port", "db", "username", "password", "client_name", "max_connections", "retry_on_timeout",
        "socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval", "global_keyprefix",
    )
)  # fmt: skip


class RedisClient:
    """See `redis.RedisBackend`."""

    app: Any
    connparams: dict[str, Any]
    #: What is loaded into the server when a connection is opened.
    scripts: tuple[Script, ...] = ()
    _ConnectionPool: Any = None
    _idle: list[tuple[float, Link]]

    @cached_property
    def retry_policy(self) -> dict[str, Any]:
        """How often, and with what pauses, writing is tried again."""
        policy = dict(RETRY_POLICY)
        policy.update((self.app.conf.result_backend_transport_options or {}).get("retry_policy") or {})
        return policy

    def _call(self, command: bytes) -> Any:
        return self._calls((command,))[0]

    def _calls(self, commands: Iterable[bytes]) -> list[Any]:
        """Send commands and return their replies; raises redis-py's errors, which Celery's users know."""
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
            raise redis_module().ConnectionError(str(exc)) from exc
        except ReplyError as exc:
            raise redis_module().ResponseError(str(exc)) from exc
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

    @cached_property
    def _address(self) -> Address | None:
        """Where a plain socket can connect to; None where it takes redis-py."""
        cls, params = type(self), self.connparams
        own_pool = cls._get_pool is RedisClient._get_pool and cls._create_client is RedisClient._create_client
        if not own_pool or self._ConnectionPool is not None or params.keys() - _PLAIN:
            return None
        return Address(
            host=params["host"], port=params["port"], db=params["db"] or 0,
            username=params.get("username"), password=params["password"], client_name=params["client_name"],
            connect_timeout=params["socket_connect_timeout"] or CONNECT_TIMEOUT,
            timeout=self._reply_timeout, keepalive=bool(params.get("socket_keepalive")),
        )  # fmt: skip

    def _open(self) -> Opened:
        """A fresh connection."""
        if self._address is not None:
            return open_session(self._address)[0]
        connection = self._open_with_redis_py()
        return connection._sock, connection.disconnect  # redis-py has no public name for the socket

    def _open_with_redis_py(self) -> Any:
        pool = self.client.connection_pool
        # RESP 2 is half the work for the reader; redis-py's notices of maintenance (maint_…) need RESP 3.
        options = {
            key: value for key, value in pool.connection_kwargs.items() if not key.startswith("maint_")
        }
        # Trying again is our own business: redis-py would do so for seconds, with no eye on deadlines.
        for name in ("retry_on_timeout", "retry_on_error"):
            options.pop(name, None)
        options.update(protocol=2, socket_timeout=self._reply_timeout, retry=_no_retry())
        if options.get("socket_connect_timeout") is None:
            options["socket_connect_timeout"] = CONNECT_TIMEOUT
        if issubclass(pool.connection_class, redis_module().UnixDomainSocketConnection):
            options.pop("socket_connect_timeout")
        connection = pool.connection_class(**options)
        connection.connect()
        connection._sock.settimeout(self._reply_timeout)
        return connection

    def _open_with_script(self) -> Opened:
        try:
            if self._address is not None:
                # A user who may read but not run scripts is refused here; writing will say so.
                return open_session(self._address, [pack(b"SCRIPT", b"LOAD", one.source) for one in self.scripts])[0]
        except OSError as exc:
            raise LinkError(str(exc)) from exc
        try:
            connection = self._open_with_redis_py()
            for script in self.scripts:
                connection.send_command("SCRIPT", "LOAD", script.source)
            for _ in self.scripts:
                connection.read_response()
        except redis_module().ResponseError:
            pass  # as above
        except (OSError, redis_module().RedisError) as exc:
            raise LinkError(str(exc)) from exc
        return connection._sock, connection.disconnect

    # -- trouble

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Whether an error of the store may go away by itself."""
        redis = redis_module()
        return isinstance(exc, redis.ConnectionError | redis.TimeoutError | OSError)

    def _retrying(
        self,
        action: Callable[[], Any],
        deadline: float | None = None,
        given_up: Callable[[BaseException], BaseException] | None = None,
        **policy: Any,
    ) -> Any:
        """Act; again and again, by the retry policy, while the server is away.

        `deadline` is on the monotonic clock. `given_up` makes the error that is raised in the end, instead of
        redis-py's last one.
        """
        policy = {**self.retry_policy, **policy}
        limit = policy.get("max_retries")
        if policy.get("timeout") is not None:
            deadline = min(deadline or float("inf"), time.monotonic() + policy["timeout"])
        attempt = 0
        while True:
            try:
                return action()
            except (redis_module().ConnectionError, redis_module().TimeoutError) as exc:
                late = deadline is not None and time.monotonic() >= deadline
                if late or (limit is not None and attempt >= limit):
                    if given_up is None:
                        raise
                    raise given_up(exc) from exc
                self._before_retry(exc, attempt, policy, deadline)
                attempt += 1

    def _before_retry(
        self, exc: BaseException, attempt: int, policy: dict[str, Any], deadline: float | None
    ) -> None:
        pause, limit = self._interval(attempt, policy), policy.get("max_retries")
        when = f"in {pause:.2f} seconds" if pause else "now"
        logger.error(
            E_LOST, attempt, "Inf" if limit is None else limit, when, extra={"action": "retry_store"}
        )
        self.on_backend_retryable_error(exc)
        if deadline is not None:
            pause = min(pause, max(0.0, deadline - time.monotonic()))
        self._sleep(pause)

    def on_backend_retryable_error(self, exc: BaseException) -> None:
        """Called before an operation is tried again."""

    def _sleep(self, amount: float) -> None:
        time.sleep(amount)

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
        return redis_module().StrictRedis

    def _get_pool(self, **params: Any) -> Any:
        # The prefix is ours, and a key that redis-py does not know ends the connection.
        params.pop("global_keyprefix", None)
        return self.ConnectionPool(**params)

    @property
    def ConnectionPool(self) -> Any:  # noqa: N802 (Celery's name)
        """The class of connection pools."""
        if self._ConnectionPool is None:
            self._ConnectionPool = redis_module().ConnectionPool
        return self._ConnectionPool


def _no_retry() -> Any:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Retry(NoBackoff(), 0)
