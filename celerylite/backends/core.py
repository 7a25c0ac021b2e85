"""`Backend`: what every result store has, made of a writing half, a reading half, settings and retrying."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celerylite import states
from celerylite._state import get_current_app
from celerylite.backends import records
from celerylite.backends.chords import Chords
from celerylite.backends.reading import Reading, Remembered
from celerylite.backends.writing import Writing
from celerylite.exceptions import TimeoutError
from celerylite.utils.log import get_logger
from celerylite.utils.time import get_exponential_backoff_interval

logger = get_logger("celerylite.backends.base")

W_EAGER = (
    "Results are not stored in backend and should not be retrieved when task_always_eager is enabled, "
    "unless task_store_eager_result is enabled."
)
W_COMPRESSION = "The {0} result backend cannot store compressed payloads: result_compression is ignored."
W_FAILURE_EXPIRES = (
    "The {0} result backend does not support result_failure_expires: failures expire as other results do."
)


def unpickle_backend(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A pickled store, in the app that is current where it is unpickled."""
    return cls(*args, app=get_current_app(), **kwargs)


class Backend(Chords, Writing, Reading):
    """What every store can do.

    A store of your own derives from `BaseBackend` and defines `_store_result`, `_get_task_meta_for` and
    `_forget`, or from `KeyValueStoreBackend` and defines `get`, `mget`, `set` and `delete`.
    """

    READY_STATES = states.READY_STATES
    UNREADY_STATES = states.UNREADY_STATES
    EXCEPTION_STATES = states.EXCEPTION_STATES
    TimeoutError = TimeoutError

    #: Seconds between two looks at a store that is polled.
    subpolling_interval: float | None = None
    #: Whether many results can be waited for in one go.
    supports_native_join = False
    #: Whether the store itself deletes what has expired.
    supports_autoexpire = False
    #: Whether results survive a restart of the store.
    persistent = True
    supports_result_compression = False
    supports_failure_expires = False

    retry_policy: dict[str, Any] = {
        "max_retries": 20,
        "interval_start": 0,
        "interval_step": 1,
        "interval_max": 1,
    }

    def __init__(
        self,
        app: Any,
        serializer: str | None = None,
        max_cached_results: int | None = None,
        accept: Any = None,
        expires: Any = None,
        expires_type: Any = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        conf = app.conf
        self.serializer: str = serializer or conf.result_serializer
        accept = conf.result_accept_content if accept is None else accept
        accept = conf.accept_content if accept is None else accept
        self.compression = self.prepare_compression(conf.result_compression)
        self.codec = records.Codec(self.serializer, accept, self.compression)
        self.content_type, self.content_encoding = self.codec.content_type, self.codec.content_encoding
        self.accept = self.codec.accept
        self._cache = Remembered(
            max_cached_results if max_cached_results is not None else conf.result_cache_max
        )
        self.expires = self.prepare_expires(expires, expires_type)
        self.always_retry = conf.result_backend_always_retry
        self.max_sleep_between_retries_ms = conf.result_backend_max_sleep_between_retries_ms
        self.base_sleep_between_retries_ms = conf.result_backend_base_sleep_between_retries_ms
        self.max_retries = conf.result_backend_max_retries
        self.thread_safe = conf.get("result_backend_thread_safe", False)
        self.extended: bool = conf.result_extended
        self.url = url
        if conf.result_failure_expires is not None and not self.supports_failure_expires:
            warnings.warn(W_FAILURE_EXPIRES.format(type(self).__name__), stacklevel=2)

    def as_uri(self, include_password: bool = False) -> str:
        """The URL, with the password masked."""
        from kombu.utils.url import maybe_sanitize_url  # lazy: for banners only

        url = self.url or ""
        shown = url if include_password else maybe_sanitize_url(url)
        return shown[:-1] if shown.endswith(":///") else shown

    # -- settings

    def prepare_expires(self, value: Any, type: Any = None) -> Any:  # noqa: A002 (Celery's name)
        """Seconds after which results are deleted; None is `result_expires`, 0 is never."""
        if value is None:
            value = self.app.conf.result_expires
        if isinstance(value, timedelta):
            value = value.total_seconds()
        return type(value) if value is not None and type is not None else value

    def prepare_persistent(self, enabled: bool | None = None) -> bool:
        """Whether results are to survive a restart."""
        if enabled is not None:
            return enabled
        persistent = self.app.conf.result_persistent
        return self.persistent if persistent is None else persistent

    def prepare_compression(self, compression: str | None) -> str | None:
        """The compression to use; None where this store cannot keep arbitrary bytes."""
        if records.checked_compression(compression) and not self.supports_result_compression:
            warnings.warn(W_COMPRESSION.format(type(self).__name__), stacklevel=2)
            return None
        return compression or None

    # -- what a store may define

    def cleanup(self) -> None:
        """Delete what has expired; called once a day where the store does not do so itself."""

    def process_cleanup(self) -> None:
        """Called when a process has run its last task."""

    def on_task_call(self, producer: Any, task_id: str) -> dict[str, Any]:
        """Called by nobody: a call does not touch the result store."""
        return {}

    # -- trouble

    def _ensure_not_eager(self) -> None:
        conf = self.app.conf
        if conf.task_always_eager and not conf.task_store_eager_result:
            warnings.warn(W_EAGER, RuntimeWarning, stacklevel=3)

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Whether an error of the store may go away by itself."""
        return False

    def on_backend_retryable_error(self, exc: BaseException) -> None:
        """Called before an operation is tried again."""

    def _sleep(self, amount: float) -> None:
        time.sleep(amount)

    def _ensure_retryable(
        self,
        func: Callable[..., Any],
        *args: Any,
        fallback: Callable[[], BaseException] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call; with `result_backend_always_retry` again and again while the error may pass."""
        if not self.always_retry:
            return func(*args, **kwargs)
        retries = 0
        while True:
            try:
                return func(*args, **kwargs)
            except Exception as exc:  # a border: the store's own errors, of whatever library
                if not self.exception_safe_to_retry(exc):
                    raise
                if self.max_retries is not None and retries >= self.max_retries:
                    raise (fallback() if fallback is not None else exc) from exc
                self.on_backend_retryable_error(exc)
                logger.warning(
                    "Failed operation %s. Retrying.",
                    func.__name__,
                    exc_info=exc,
                    extra={"action": "retry_store"},
                )
                pause = get_exponential_backoff_interval(
                    self.base_sleep_between_retries_ms, retries, self.max_sleep_between_retries_ms, True
                )
                self._sleep(pause / 1000)
                retries += 1

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return unpickle_backend, (self.__class__, args, kwargs or {})
